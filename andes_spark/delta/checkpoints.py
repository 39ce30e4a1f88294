"""Finding and reading checkpoints of the Delta log; ``checkpoint_writer`` writes them.

Format: the Delta protocol, "Checkpoints" and "Checkpoint Schema": Parquet files that hold every live action
of one version, in one file or in parts. While the entries below them exist, checkpoints only save work,
and callers ignore a missing or damaged one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.delta import statistics as stats
from andes_spark.delta.action_columns import ADD, as_kind, union
from andes_spark.delta.paths import LOG_FOLDER
from andes_spark.errors import FileDamagedError, UnsupportedTableError
from andes_spark.schema.arrow_values import array_of

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage

HINT_PATH = f"{LOG_FOLDER}/_last_checkpoint"

_NAME = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
_NAME_V2 = re.compile(r"\d{20}\.checkpoint\.[0-9a-fA-F-]{36}\.(json|parquet)")
_KINDS = ("protocol", "metaData", "txn", "add", "remove", "checkpointMetadata", "sidecar")
_PARSED = ("stats_parsed", "partitionValues_parsed")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        version: Delta version of the state.
        paths: path of its file, or of all its parts in order.
    """

    version: int
    paths: tuple[str, ...]

    @property
    def is_single(self) -> bool:
        """Whether it is one file, with the name that its version tells."""
        return self.paths == (checkpoint_path(self.version),)


@dataclass(frozen=True)
class Contents:
    """Contents of a checkpoint: raw actions as in the log.

    Attributes:
        protocol, metadata: the one action of that kind.
        txns: newest version of each application.
        domains: ``domainMetadata`` of each domain.
        adds: live files, in columns.
        parts: Parquet bytes of the files, for ``read_removed``.
        other_actions: whether it holds actions of other kinds.
    """

    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    txns: dict[str, int] = field(default_factory=dict)
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    adds: pa.StructArray = field(default_factory=lambda: array_of([], ADD))
    parts: tuple[bytes, ...] = ()
    other_actions: bool = False


class Finder:
    """Collects file names of a listing and assembles them to checkpoints."""

    def __init__(self) -> None:
        self.has_v2 = False
        self._parts: dict[tuple[int, int], dict[int, str]] = {}

    def see(self, name: str) -> bool:
        """Add the name of a file in the log's folder; return whether it is part of a checkpoint."""
        if match := _NAME.fullmatch(name):
            part, parts = int(match[2] or 1), int(match[3] or 1)
            self._parts.setdefault((int(match[1]), parts), {})[part] = f"{LOG_FOLDER}/{name}"
        elif _NAME_V2.fullmatch(name):
            self.has_v2 = True
        else:
            return False
        return True

    def complete(self) -> list[Checkpoint]:
        """Return complete checkpoints, newest first, and within a version by number of parts."""
        checkpoints = []
        for (version, parts), paths in sorted(self._parts.items(), key=lambda entry: (-entry[0][0], entry[0][1])):
            # A multi-part checkpoint with a missing part must be ignored (protocol).
            if all(part in paths for part in range(1, parts + 1)):
                checkpoints.append(Checkpoint(version, tuple(paths[part] for part in range(1, parts + 1))))
        return checkpoints


def read_hint(storage: Storage) -> int | None:
    """Read the version in ``_last_checkpoint``; None if the file is missing or malformed."""
    return hinted_version(storage.find(HINT_PATH))


def hinted_version(data: bytes | None) -> int | None:
    """Parse the version in the bytes of ``_last_checkpoint``; None if they are missing or malformed."""
    if data is None:
        return None
    try:
        version = json.loads(data)["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return version if type(version) is int and 0 <= version < 10**20 else None


def read(storage: Storage, checkpoint: Checkpoint) -> Contents:
    """Read a checkpoint.

    Raises:
        FileDamagedError: a file is missing, unreadable, or lacks required actions; ``path``.
        UnsupportedTableError: a checkpoint of the V2 format with sidecar files; ``feature``.
    """
    contents, adds, parts, others = Contents(), list[pa.StructArray](), [], False
    for path in checkpoint.paths:
        data = storage.find(path)
        if data is None:
            raise _damaged(path, "it is missing")
        try:
            others |= _read_part(data, contents, adds)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        parts.append(data)
    if not contents.protocol or not contents.metadata:
        raise _damaged(checkpoint.paths[0], "it has no protocol or no metadata")
    return replace(contents, adds=_joined(adds), parts=tuple(parts), other_actions=others)


def checkpoint_path(version: int) -> str:
    """Return the path of the single-file checkpoint of a version."""
    return f"{LOG_FOLDER}/{version:020d}.checkpoint.parquet"


def read_removed(parts: Iterable[bytes]) -> list[pa.StructArray]:
    """Read the ``remove`` actions in the Parquet bytes of a checkpoint's parts."""
    removed = []
    for data in parts:
        file = pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us")
        if "remove" in file.schema_arrow.names:
            rows = file.read(columns=["remove"], use_threads=False).column("remove").drop_null()
            removed.append(rows.combine_chunks())
    return removed


def _joined(parts: list[pa.StructArray]) -> pa.StructArray:
    kind = parts[0].type
    for part in parts[1:]:
        kind = union(kind, part.type)
    return pa.concat_arrays([as_kind(part, kind) for part in parts])


def _read_part(data: bytes, contents: Contents, adds: list[pa.StructArray]) -> bool:
    """Read one file, append its live files; return whether it holds actions of kinds that ``Contents`` lacks."""
    file = pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us")
    schema = file.schema_arrow
    if "sidecar" in schema.names and _rows(file.read(columns=["sidecar"], use_threads=False), "sidecar"):
        raise UnsupportedTableError(
            "the table has checkpoints of the V2 format whose actions are in sidecar files, which this release cannot "
            "read; delete them if the log entries below them still exist",
            feature="v2Checkpoint",
        )
    columns = [name for name in ("protocol", "metaData", "txn", "domainMetadata") if name in schema.names]
    stored = [member.name for member in schema.field("add").type]
    columns += [f"add.{name}" for name in stored if name not in _PARSED]
    # Without threads: one of Arrow's threads may release Python's bytes after the interpreter has ended, which aborts.
    table = file.read(columns=columns, use_threads=False)
    for raw in _rows(table, "protocol"):
        contents.protocol.update(_without_nulls(raw))
    for raw in _rows(table, "metaData"):
        contents.metadata.update(_metadata(raw))
    for raw in _rows(table, "txn"):
        contents.txns[raw["appId"]] = raw["version"]
    for raw in _rows(table, "domainMetadata"):
        contents.domains[raw["domain"]] = raw
    added = _adds(table)
    if "stats_parsed" in stored:
        added = _with_stats(added, file)
    adds.append(added)
    others = [name for name in schema.names if name not in _KINDS]
    return any(_rows(file.read(columns=[name], use_threads=False), name) for name in others)


def _parsed_stats(file: pq.ParquetFile) -> list[dict[str, Any] | None]:
    """Read ``stats_parsed`` of the ``add`` actions."""
    columns = (file.schema.column(index) for index in range(len(file.schema.names)))
    int96 = {column.path for column in columns if column.physical_type == "INT96"}
    adds = file.read(columns=["add.path", "add.stats_parsed"], use_threads=False).column("add").drop_null()
    structs = pc.struct_field(adds, "stats_parsed")
    parsed: list[dict[str, Any] | None] = structs.cast(_zoned(structs.type, "add.stats_parsed", int96)).to_pylist()
    return parsed


def _zoned(kind: pa.DataType, path: str, int96: Collection[str]) -> pa.DataType:
    """Add the zone UTC to types that Spark wrote as INT96, which is always in UTC."""
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_zoned(f.type, f"{path}.{f.name}", int96)) for f in kind])
    return pa.timestamp("us", "UTC") if path in int96 else kind


def _rows(table: pa.Table, name: str) -> list[dict[str, Any]]:
    if name not in table.column_names:
        return []
    rows: list[dict[str, Any]] = table.column(name).drop_null().to_pylist()
    return rows


def _adds(table: pa.Table) -> pa.StructArray:
    """The ``add`` actions, without members that none of them has."""
    rows = table.column("add").drop_null().combine_chunks()
    members = dict(zip((field.name for field in rows.type), rows.flatten(), strict=True))
    needed = [
        field for field in rows.type if field.name in ("path", "size") or members[field.name].null_count < len(rows)
    ]
    return pa.StructArray.from_arrays([members[field.name] for field in needed], fields=needed)


def _with_stats(adds: pa.StructArray, file: pq.ParquetFile) -> pa.StructArray:
    """The ``add`` actions with statistics as JSON, taken from ``stats_parsed`` where they are stored there only."""
    members = dict(zip((field.name for field in adds.type), adds.flatten(), strict=True))
    texts = members["stats"].to_pylist() if "stats" in members else [None] * len(adds)
    if None not in texts:
        return adds
    parsed = _parsed_stats(file)
    members["stats"] = pa.array(
        [
            text if text is not None or values is None else stats.dumps(values)
            for text, values in zip(texts, parsed, strict=True)
        ],
        pa.string(),
    )
    return pa.StructArray.from_arrays(list(members.values()), names=list(members))


def _metadata(raw: dict[str, Any]) -> dict[str, Any]:
    value = _without_nulls(raw)
    value["configuration"] = dict(raw.get("configuration") or ())
    form = dict(raw.get("format") or {})
    form["options"] = dict(form.get("options") or ())
    value["format"] = form
    return value


def _without_nulls(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if value is not None}


def _damaged(path: str, problem: str) -> FileDamagedError:
    return FileDamagedError(
        f"checkpoint {path}: {problem}; delete the file if the log entries below it still exist", path=path
    )
