"""Convert: an existing Delta table, or a folder of Parquet files, becomes a table of this library in place.

The rows are checked first. Then a Delta entry upgrades the table, and manifest 0 commits the log of mods on it, as for
a new table. If the process ends between the two, the same call finishes it; until then it is a Delta table.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, fields

from andes_spark.base.adopt import CheckedRows, check_rows
from andes_spark.base.metadata import base_configuration
from andes_spark.delta import actions
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.entries import create_entry, read_commit
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import CommitConflictError, CommitUnknownError, OptionError
from andes_spark.log.advisory import Advisory
from andes_spark.log.clock import CheckedClock, check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.lease import MergeLease, MergeNote
from andes_spark.log.log import Log
from andes_spark.model.adoption_options import ConvertOptions
from andes_spark.model.definition import Definition
from andes_spark.model.documents import encode
from andes_spark.model.manifest import Counts, Manifest, Origin, manifest_path
from andes_spark.model.options import CreateOptions
from andes_spark.run.steps import Progress, Steps
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.adoption.source import Plan, Source, find_source, plan_entry, with_adds
from andes_spark.table.open_table import shape_of
from andes_spark.table.verbs.create import define, exists, refuse_remains

_DEFINITION = "andes_convert"
"""Parameter of the Delta entry: the definition, by which an interrupted convert is known."""
_SHARE = 8
"""Part of the byte budget that keys take in memory; each has several forms there at once."""


@dataclass(frozen=True)
class _TakenIn:
    """A Delta table with the entry that takes it in.

    Attributes:
        entry: this entry.
        table_id: UUID of the table.
        state: state of the Delta table at the entry.
        rows: number of rows.
    """

    entry: Commit
    table_id: str
    state: DeltaState
    rows: int


def convert(storage: Storage, options: ConvertOptions, settings: Settings, progress: Progress | None) -> Log:
    """Convert what is in a folder; return the log of the table. See ``ModTable.convert``."""
    steps = Steps(storage, progress)
    log = Log(storage, settings)
    for _ in range(settings.commit_attempts):
        with steps.step("read the table"):
            _refuse_table(storage)
            source = find_source(storage, options.partitions)
            definition = _define(source, options)
        adopted = _interrupted(storage, source, definition)
        if adopted is None:
            _refuse_partitions(source, options)
            plan, checked = _check(storage, source, definition, settings, steps)
            with steps.step("check the clock"):
                clock = check_clock(log, begun=log.clock())
            with steps.step("commit to Delta"):
                adopted = _commit_entry(storage, settings, definition, plan, checked)
        else:
            clock = check_clock(log, begun=log.clock())
        if adopted is not None:
            with steps.step("commit"):
                _commit_log(log, definition, adopted, clock)
            _leave_hints(log, adopted)
            return log
    raise CommitConflictError(
        f"{storage.url}: other writers committed to the Delta table first {settings.commit_attempts} times while its "
        "rows were checked; stop them, and convert again",
        table=storage.url,
    )


def _refuse_table(storage: Storage) -> None:
    if storage.size(manifest_path(0)) is not None:
        raise exists(storage)
    refuse_remains(storage)


def _define(source: Source, options: ConvertOptions) -> Definition:
    chosen = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "partitions"}
    chosen["comment"] = source.description if options.comment is None else options.comment
    return define(source.schema, CreateOptions(**chosen, partition_by=source.partition_by))


def _interrupted(storage: Storage, source: Source, definition: Definition) -> _TakenIn | None:
    """Entry of an interrupted convert with the same definition, if it is the newest: its rows were checked then."""
    if source.state is None:
        return None
    entry = read_commit(storage, source.state.version)
    parameters = {} if entry is None else (entry.commit_info or {}).get("operationParameters", {})
    if entry is None or parameters.get(_DEFINITION) != encode(definition).decode():
        return None
    rows = sum(file.live_records or 0 for file in source.state.files.values())
    return _TakenIn(entry, next(iter(entry.txns)), source.state, rows)


def _refuse_partitions(source: Source, options: ConvertOptions) -> None:
    if options.partitions is not None and source.folder is None:
        raise OptionError(
            "partitions is for Parquet files; a Delta table says its partition columns itself", option="partitions"
        )


def _check(
    storage: Storage, source: Source, definition: Definition, settings: Settings, steps: Steps
) -> tuple[Plan, CheckedRows]:
    """Plan the Delta entry, and check all rows."""
    shape = shape_of(definition, storage.url)
    plan = plan_entry(source, definition, base_configuration(definition), str(uuid.uuid4()))
    with steps.step("check the rows"):
        checked = check_rows(storage, plan.state.files, shape, memory_bytes=settings.byte_budget // _SHARE)
    return with_adds(plan, checked.adds), checked


def _commit_entry(
    storage: Storage, settings: Settings, definition: Definition, plan: Plan, checked: CheckedRows
) -> _TakenIn | None:
    """Commit the Delta entry; None if another writer took its version."""
    # A manifest since the check would be of another convert.
    _refuse_table(storage)
    commit_id = str(uuid.uuid4())
    info = actions.commit_info(
        "CONVERT",
        timestamp_ms=time.time_ns() // 1_000_000,
        commit_id=commit_id,
        parameters={_DEFINITION: encode(definition).decode()},
        read_version=None if plan.before is None else plan.before.version,
        previous=None if plan.before is None else plan.before.commit_id,
    )
    stored = create_entry(storage, plan.state.version, [info, *plan.actions], seconds=settings.commit_seconds)
    if stored is None:
        raise CommitUnknownError(
            f"{storage.url}: the store does not say whether the table was converted; convert it again",
            table=storage.url,
        )
    if stored.commit_id != commit_id:
        return None
    return _TakenIn(stored, next(iter(stored.txns)), plan.after(stored), checked.rows)


def _commit_log(log: Log, definition: Definition, adopted: _TakenIn, clock: CheckedClock) -> None:
    draft = Draft(
        operation="convert",
        table_id=adopted.table_id,
        counts=Counts(received=adopted.rows, upserts=adopted.rows),
        definition=definition,
        origin=Origin(delta_version=adopted.entry.version, rows=adopted.rows),
    )

    def admit(manifest: Manifest) -> Manifest | None:
        raise exists(log.storage)

    commit(log, draft, clock=clock, admit=admit)


def _leave_hints(log: Log, adopted: _TakenIn) -> None:
    """Leave a checkpoint and the note that leads to it: the Delta log may be long, or begin late."""
    storage, advisory = log.storage, Advisory(log.table)

    def leave() -> None:
        state = adopted.state
        written = write_checkpoint(storage, state, now_ms=log.clock())
        MergeLease(storage, log.clock).release(
            MergeNote(
                delta_version=adopted.entry.version,
                commit_id=adopted.entry.commit_id,
                applied=0,
                newest=adopted.entry.version,
                checkpoint=adopted.entry.version if written else state.checkpoint,
            )
        )

    advisory.later(
        storage.scheduler, "writing a checkpoint", leave, consequence="opening the table takes more requests"
    )
    advisory.report("the table is converted")
