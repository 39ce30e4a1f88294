"""What is in a folder that becomes a table: a Delta table, or Parquet files; and the Delta entry that takes it in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from andes_spark.base.parquet_folder import ParquetFolder, read_folder
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.features import obstacles, refusal
from andes_spark.delta.log import load_state
from andes_spark.delta.replay import Replay
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.delta.upgrade import upgraded
from andes_spark.errors import NoSuchTableError, UnsupportedTableError
from andes_spark.model.definition import Definition
from andes_spark.schema.schema import Schema
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class Source:
    """A Delta table or a folder of Parquet files that becomes a table of this library.

    Attributes:
        schema: columns of the rows.
        partition_by: names of the partition columns.
        description: description of the Delta table.
        state: newest state of the Delta table; None for a folder of Parquet files.
        folder: the Parquet files; None for a Delta table.
    """

    schema: Schema
    partition_by: tuple[str, ...]
    description: str | None = None
    state: DeltaState | None = None
    folder: ParquetFolder | None = None


@dataclass(frozen=True)
class Plan:
    """The entry that takes a folder in.

    Attributes:
        before: state of the Delta table before it; None for a folder of Parquet files.
        actions: its actions, without ``commitInfo``.
        state: state of the Delta table with it.
    """

    before: DeltaState | None
    actions: tuple[Action, ...]
    state: DeltaState

    def after(self, entry: Commit) -> DeltaState:
        """Return the state of the Delta table with the entry as it was written."""
        return _after(self.before, entry)


def find_source(storage: Storage, partitions: str | None) -> Source:
    """Read the Delta log of a folder, or the footers of its Parquet files.

    Args:
        storage: the folder.
        partitions: DDL of the columns of partition folders of Parquet files.

    Raises:
        NoSuchTableError: there is neither.
        OptionError: ``partitions`` does not fit the folders of Parquet files.
        UnsupportedTableError: features of the table, by name.
        AndesError: as ``load_state`` and ``read_folder``.
    """
    try:
        state = load_state(storage)
    except NoSuchTableError:
        folder = read_folder(storage, Schema(()) if partitions is None else Schema.from_ddl(partitions))
        return Source(folder.schema, folder.partition_by, folder=folder)
    except UnsupportedTableError as error:
        raise _about(storage, error) from error
    _refuse_features(storage, _with_protocol(state))
    metadata = state.metadata
    schema = Schema.from_json(metadata.schema_json)
    return Source(schema, metadata.partition_columns, metadata.description, state=state)


def _with_protocol(state: DeltaState) -> DeltaState:
    """The state with the protocol that it would get."""
    entry = upgraded(state.protocol, deletion_vectors=True, timestamp_ntz=False)
    return _after(state, Commit(state.version + 1, tuple(entry.items())))


def _refuse_features(storage: Storage, state: DeltaState) -> None:
    error = refusal(obstacles(state))
    if error is not None:
        raise _about(storage, error)


def _about(storage: Storage, error: UnsupportedTableError) -> UnsupportedTableError:
    message = error.message if error.message.startswith(storage.url) else f"{storage.url}: {error.message}"
    return UnsupportedTableError(message, **{**error.fields, "table": storage.url})


def plan_entry(source: Source, definition: Definition, own_properties: Mapping[str, str], table_id: str) -> Plan:
    """Plan the entry that takes a folder in.

    Args:
        source: the folder.
        definition: definition of the table.
        own_properties: properties of the Delta tables of this library.
        table_id: UUID of the table.
    """
    state = source.state
    configuration = {**({} if state is None else state.metadata.configuration), **own_properties}
    protocol = upgraded(
        None if state is None else state.protocol,
        deletion_vectors=definition.deletion_vectors,
        timestamp_ntz='"timestamp_ntz"' in definition.schema,
    )
    metadata = actions.metadata(
        # Delta's own id stays: its streams refuse a table with another one.
        table_id=table_id if state is None else state.metadata.id,
        schema_json=definition.schema,
        partition_columns=definition.partition_by,
        configuration=configuration,
        created_ms=_created(state),
        name=None if state is None else state.metadata.name,
        description=definition.comment,
    )
    adds = [] if source.folder is None else source.folder.adds(configuration)
    entry = (protocol, metadata, actions.txn(table_id, 0), *adds)
    version = 0 if state is None else state.version + 1
    commit = Commit(version, tuple(member for action in entry for member in action.items()))
    return Plan(state, entry, _after(state, commit))


def _after(before: DeltaState | None, entry: Commit) -> DeltaState:
    replay = Replay(before)
    replay.apply(entry)
    return replay.state()


def _created(state: DeltaState | None) -> int:
    created = None if state is None else state.metadata.created
    return time.time_ns() // 1_000_000 if created is None else created


def with_adds(plan: Plan, adds: list[Action]) -> Plan:
    """Add files again in the same entry."""
    return replace(plan, actions=(*plan.actions, *adds))
