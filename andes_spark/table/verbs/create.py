"""Create: version 0 of the Delta table, then version 0 of the log."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.base.load import load_tables
from andes_spark.base.metadata import base_configuration
from andes_spark.base.rows import RowWriter
from andes_spark.delta import actions, paths
from andes_spark.delta.actions import Action
from andes_spark.delta.log import create_entry, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.errors import CommitUnknownError, LogDamagedError, OptionError, TableExistsError
from andes_spark.inputs.rows import Reading, arrow_tables, is_spark
from andes_spark.log.clock import check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.log import Log
from andes_spark.model.definition import Definition, TableSchema
from andes_spark.model.documents import encode
from andes_spark.model.durations import parse_duration
from andes_spark.model.manifest import Counts, Manifest, Origin, manifest_path
from andes_spark.model.options import CreateOptions
from andes_spark.run.telemetry import observed
from andes_spark.schema.casts import NO_CASTS, CastRules, cast_rules
from andes_spark.schema.names import resolve_all, validate_columns
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersion, first_ids
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.sync.iceberg.representable import require_faces
from andes_spark.table.about import about
from andes_spark.table.open_table import shape_of
from andes_spark.table.sessions import input_options

_DEFINITION = "andes_definition"
_FILES_LOOKED_AT = 100
_FILES_NAMED = 3
_OURS = re.compile(
    r"(_andes/.*|_andes_probe-[0-9a-f]{32}|_delta_log/.*|([^/]+=[^/]*/)*part-[0-9a-f-]{36}\.zstd\.parquet"
    r"|deletion_vector_[0-9a-f-]{36}\.bin)",
    re.DOTALL,
)


def read_schema(value: Any) -> Schema:
    """Convert a StructType, DDL string, pyarrow Schema or ``Schema`` to a ``Schema``.

    Raises:
        OptionError: a value of another type, or a syntax error.
        UnsupportedTableError: a type that cannot be stored.
    """
    if isinstance(value, Schema):
        return value
    if isinstance(value, str):
        return Schema.from_ddl(value)
    if isinstance(value, pa.Schema):
        return Schema.from_arrow(value)
    if any(kind.__module__ == "pyspark.sql.types" and kind.__name__ == "StructType" for kind in type(value).__mro__):
        return Schema.from_json(value.json())
    raise OptionError(
        f"schema must be a StructType, a DDL string or a pyarrow Schema, not {type(value).__name__}",
        option="schema",
    )


def schema_of(data: Any, settings: Settings, storage: Storage) -> tuple[Schema, Any]:
    """Return the schema of the rows of an initial load, and the rows, of which nothing is consumed.

    Raises:
        OptionError: ``data`` is None, or not rows.
        UnsupportedTableError: a type that cannot be stored; ``column``.
    """
    if data is None:
        raise OptionError("give schema, or data whose columns the table takes", option="schema")
    if is_spark(data):
        return Schema.from_json(data.schema.json()), data
    rows_again = isinstance(data, pa.Table | pl.DataFrame | pl.LazyFrame) or hasattr(data, "iloc")
    if hasattr(data, "__arrow_c_stream__") and not rows_again:
        data = data if isinstance(data, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(data)
        return Schema.from_arrow(data.schema), data
    reading = _reading(storage, settings)
    return Schema.from_arrow(next(arrow_tables(data, reading)).schema), data


def define(schema: Schema, options: CreateOptions) -> Definition:
    """Check the options of a new table and return its definition.

    Raises:
        OptionError: invalid names, keys and durations, all at once.
        MissingPackageError: a package that a face needs is not installed.
        UnsupportedTableError: a column that a face cannot represent.
    """
    roles = ("primary_key", "sequence_by", "partition_by")
    resolved = {role: resolve_all(getattr(options, role), schema.names) for role in roles}
    options = replace(options, **resolved)  # type: ignore[arg-type]
    checked = validate_columns(
        schema,
        options.primary_key,
        sequence_by=options.sequence_by,
        partition_by=options.partition_by,
        text_sequence=options.text_sequence,
    )
    if options.merge not in ("always", "auto", "manual"):
        parse_duration(options.merge, option="merge", also='"always", "auto", "manual" or ')
    parse_duration(options.lateness, option="lateness")
    parse_duration(options.batch_retention, option="batch_retention")
    columns = checked.with_required(options.sequence_by)
    field_ids = first_ids(columns)
    if options.faces:
        require_faces(SchemaVersion(0, columns, field_ids), options.primary_key, options.partition_by)
    return Definition(
        schemas=(TableSchema(id=0, struct=columns.to_json(), field_ids=field_ids),),
        schema_id=0,
        last_field_id=len(field_ids),
        primary_key=options.primary_key,
        sequence_by=options.sequence_by,
        partition_by=options.partition_by,
        merge=options.merge,
        lateness=options.lateness,
        batch_retention=options.batch_retention,
        deletion_vectors=options.deletion_vectors,
        faces=options.faces,
        comment=options.comment,
        properties=dict(options.properties or {}),
    )


def create_or_open(storage: Storage, schema: Any, data: Any, options: CreateOptions, settings: Settings) -> Log:
    """Create a table, or open an existing one with ``if_not_exists``; return its log. See ``ModTable.create``."""
    if schema is None:
        schema, data = schema_of(data, settings, storage)
    definition = define(read_schema(schema), options)
    rules = cast_rules(options.cast, options.time_zone)
    allow_existing_files = options.allow_existing_files
    try:
        with about(storage.url), observed("create", storage, settings.metrics) as report:
            log = create_table(
                storage, definition, settings, data=data, rules=rules, allow_existing_files=allow_existing_files
            )
            report.version, report.rows = 0, {"upserts": log.manifest(0).counts.upserts}
    except TableExistsError as error:
        if not options.if_not_exists or error.paths:
            raise
        log = Log.open(storage, settings)
        stored = log.definition
        if (stored.primary_key, stored.sequence_by) != (definition.primary_key, definition.sequence_by):
            raise exists(storage, "there is a table with other key or sequence columns here") from None
    return log


def create_table(
    storage: Storage,
    definition: Definition,
    settings: Settings,
    *,
    data: Any = None,
    rules: CastRules = NO_CASTS,
    allow_existing_files: bool = False,
) -> Log:
    """Create a table, with the rows of ``data`` if any; return its log.

    Raises:
        ClockError: this machine's clock differs from the store's; no file is left.
        TableExistsError: the folder contains a table, another Delta table, an unfinished load, or other files without
            ``allow_existing_files``.
        DuplicateKeyError, BadModsError, SchemaMismatchError: rows that cannot be loaded; no file is left.
    """
    if storage.size(manifest_path(0)) is not None:
        raise _created(storage)
    unfinished = _unfinished(storage, definition, loads=data is not None)
    if unfinished is None and not allow_existing_files:
        refuse_other_files(storage)
    if data is not None:
        data = _begun(storage, definition, settings, data, rules)
    log = Log(storage, settings)
    clock = check_clock(log, begun=log.clock())
    table_id = unfinished or str(uuid.uuid4())
    configuration = base_configuration(definition)
    adds: list[Action] = []
    if data is not None:
        adds = load(storage, definition, settings, configuration, data, rules)
    if unfinished is None and not create_base(storage, settings, definition, table_id, configuration, adds):
        storage.delete(paths.decode_path(action["add"]["path"]) for action in adds)
        raise _created(storage)
    rows = sum(_rows_of(action) for action in adds)
    draft = Draft(
        operation="create" if data is None else "load",
        table_id=table_id,
        counts=Counts(received=rows, upserts=rows),
        definition=definition,
        origin=Origin(delta_version=0, rows=rows),
    )

    def admit(manifest: Manifest) -> Manifest | None:
        raise _created(storage)

    commit(log, draft, clock=clock, admit=admit)
    return log


def exists(
    storage: Storage, problem: str = "there is a table here already", remedy: str = "choose another folder"
) -> TableExistsError:
    """Build the error for a folder that contains a table."""
    return TableExistsError(f"{storage.url}: {problem}; open it, or {remedy}", table=storage.url)


def _created(storage: Storage) -> TableExistsError:
    return exists(storage, remedy="pass if_not_exists=True")


def refuse_remains(storage: Storage, *, begun: bool = False) -> None:
    """Refuse a folder with a log that has lost its first manifests: a new log would hide what a backup can restore.

    An interrupted create leaves no file below ``_andes``, since manifest 0 is its first file there.
    """
    remains = next((info.path for info in storage.list("_andes")), None)
    if remains is None and begun and storage.size(entry_path(1)) is not None:
        remains = entry_path(1)
    if remains is None:
        return
    if storage.size(manifest_path(0)) is not None:
        raise exists(storage)  # created meanwhile
    raise LogDamagedError(
        f"{storage.url}: {manifest_path(0)} is missing, and {remains} is there: a table that was here has lost its "
        "manifests; restore them, or delete the folder",
        table=storage.url,
        path=manifest_path(0),
    )


def refuse_other_files(storage: Storage) -> None:
    """Refuse a folder with other files, by one page of a listing.

    Data files with names of this library are ignored, since an interrupted load leaves them.
    """
    first = islice(storage.list(), _FILES_LOOKED_AT)
    others = [info.path for info in first if not _OURS.fullmatch(info.path)]
    if not others:
        return
    named = ", ".join(others[:_FILES_NAMED]) + (", ..." if len(others) > _FILES_NAMED else "")
    parquet = any(path.endswith(".parquet") for path in others)
    raise TableExistsError(
        f"{storage.url}: the folder holds files that are no part of a table ({named}); choose an empty folder, "
        f"{'take Parquet files in by ModTable.convert(), ' if parquet else ''}or pass allow_existing_files=True",
        table=storage.url,
        paths=tuple(others[:_FILES_NAMED]),
    )


def _unfinished(storage: Storage, definition: Definition, *, loads: bool) -> str | None:
    """Return the table id of an interrupted create with the same definition, which stopped after its Delta entry."""
    entry = read_commit(storage, 0)
    parameters = {} if entry is None else (entry.commit_info or {}).get("operationParameters", {})
    if entry is not None and _DEFINITION not in parameters:
        raise TableExistsError(
            f"{storage.url}: there is a Delta table here that has no log of mods; take it in by ModTable.convert() "
            "with its keys, or create the table in another folder, with the rows of this one as data",
            table=storage.url,
        )
    refuse_remains(storage, begun=entry is not None)
    if entry is None:
        return None
    same = parameters[_DEFINITION] == encode(definition).decode()
    if loads or not same or any(entry.of_kind("add")):
        raise TableExistsError(
            f"{storage.url}: an earlier create of another definition, or with rows, was interrupted here; "
            "delete the folder and create the table again",
            table=storage.url,
        )
    return next(iter(entry.txns))


def create_base(
    storage: Storage,
    settings: Settings,
    definition: Definition,
    table_id: str,
    configuration: Mapping[str, str],
    adds: Sequence[Action],
    *,
    operation: str = "CREATE TABLE",
    parameters: Mapping[str, str] | None = None,
) -> bool:
    """Commit entry 0 of the Delta log; return False if there is another one."""
    commit_id = str(uuid.uuid4())
    now = time.time_ns() // 1_000_000
    timestamp_ntz = "timestamp_ntz" in definition.schema
    entry = [
        actions.commit_info(
            operation,
            timestamp_ms=now,
            commit_id=commit_id,
            parameters=parameters or {_DEFINITION: encode(definition).decode()},
        ),
        actions.protocol(deletion_vectors=definition.deletion_vectors, timestamp_ntz=timestamp_ntz),
        actions.metadata(
            table_id=table_id,
            schema_json=definition.schema,
            partition_columns=definition.partition_by,
            configuration=configuration,
            created_ms=now,
            description=definition.comment,
        ),
        actions.txn(table_id, 0),
        *adds,
    ]
    stored = create_entry(storage, 0, entry, seconds=settings.commit_seconds)
    if stored is None:
        raise CommitUnknownError(
            f"{storage.url}: the store does not say whether the table was created; create it again",
            table=storage.url,
        )
    return stored.commit_id == commit_id


def load(
    storage: Storage,
    definition: Definition,
    settings: Settings,
    configuration: Mapping[str, str],
    data: Any,
    rules: CastRules,
) -> list[Action]:
    """Write the rows of an initial load, a Spark DataFrame or Arrow tables, without a commit."""
    shape = shape_of(definition, storage.url)
    writer = RowWriter(shape, dict(configuration), settings.target_file_bytes, settings.threads)
    if is_spark(data):
        from andes_spark.spark.load import load_frame
        from andes_spark.spark.tasks import SparkExecutor

        return load_frame(SparkExecutor(data.sparkSession, storage.url), data, storage, writer, settings, rules)
    return load_tables(data, storage, writer, rules, byte_budget=settings.byte_budget)


def _begun(storage: Storage, definition: Definition, settings: Settings, data: Any, rules: CastRules) -> Any:
    """Check the rows of a load: return a DataFrame of a running session, or Arrow tables, of which the first is read.

    An input that cannot be read changes nothing in the folder.
    """
    if is_spark(data):
        from andes_spark.spark.session import require_running

        require_running(data.sparkSession)
        return data
    schema = Schema.from_json(definition.schema)
    text = frozenset(schema.names) if rules.cast else frozenset()
    reading = replace(_reading(storage, settings), schema=schema, text=text, time_zone=rules.time_zone)
    tables = arrow_tables(data, reading)
    return chain([next(tables)], tables)


def _reading(storage: Storage, settings: Settings) -> Reading:
    """Options of reading the rows of a load."""
    return Reading(
        part_bytes=max(1, settings.byte_budget // 4),
        storage_options=input_options(storage),
        store_seconds=settings.store_seconds,
        option="data",
    )


def _rows_of(action: Action) -> int:
    return int(json.loads(action["add"]["stats"])["numRecords"])
