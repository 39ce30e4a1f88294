"""Where the stored objects of a table name keys: every object below its folder is decoded.

A key is named by a row with it, by a file's range that begins or ends with it, and by a text of another writer that is
the key. Salted hashes, positions of rows and numbers of versions name none, and names of batches, tags and jobs are not
looked at. No statistics are trusted: rows are read and compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.base.files import TableShape
from andes_spark.delta import seal
from andes_spark.delta.data_file import KEYS_TAG
from andes_spark.delta.paths import LOG_FOLDER, decode_path
from andes_spark.errors import AndesError, NotFoundError
from andes_spark.log.mod_files import QUARANTINE_SCHEMA
from andes_spark.model.values import shown, to_json
from andes_spark.storage.interface import ObjectInfo, Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.sync.iceberg.files import FACE_FOLDER
from andes_spark.sync.iceberg.manifests import gone_files

_PREFIX = 32
"""Characters of a text in the statistics of the Delta log."""
_MILLISECONDS = 23
"""Characters of a time to the millisecond, as in the statistics of the Delta log."""
_NO_VALUES = (".bin", ".crc")
_OURS = ("_andes/", f"{LOG_FOLDER}/")
UNKNOWN = "not decoded"
"""Of objects that are no part of the table, and of no known form."""
DAMAGED = "damaged"
_ENTRY = f"{LOG_FOLDER}/"
_LEDGER = "_andes/ledger/"
_QUARANTINE = "_andes/quarantine/"
_FACE = f"{FACE_FOLDER}/"


@dataclass(frozen=True)
class Mention:
    """An object that names keys.

    Attributes:
        path: path below the table's folder.
        what: ``rows``, ``range``, ``refused rows`` or ``text``; ``damaged`` for an object of the table that cannot be
            decoded, ``not decoded`` for one of others.
        count: number of mentions.
    """

    path: str
    what: str
    count: int


class Keys:
    """Keys that are searched, in all forms that stored objects have of them.

    Args:
        frame: key columns, each key once.
        shape: shape of the table.
    """

    def __init__(self, frame: pl.DataFrame, shape: TableShape) -> None:
        self.frame = frame
        self.shape = shape
        self.columns = list(shape.columns.key)
        table = frame.to_arrow().cast(pa.schema([shape.arrow.field(name) for name in self.columns]))
        rows = list(zip(*(table[name] for name in self.columns), strict=True))
        self._exact = {_text(list(map(to_json, row))) for row in rows}
        self._shown = {tuple(_plain(shown(value.as_py())) for value in row) for row in rows}
        self._bounds = {tuple(map(_shortened, row)) for row in self._shown}
        only = len(self.columns) == 1 and pa.types.is_string(table.schema.field(0).type)
        self.texts = frozenset(value.as_py() for (value,) in rows) if only else frozenset[str]()

    def is_exact(self, values: Any) -> bool:
        """Return whether a tuple in the form of manifests is one of the keys."""
        return isinstance(values, list) and _text(values) in self._exact

    def is_bound(self, values: Mapping[str, Any]) -> bool:
        """Return whether the bounds of a file, by column, are those of one of the keys, as far as they tell."""
        if not all(name in values for name in self.columns):
            return False
        return tuple(_shortened(_plain(values[name])) for name in self.columns) in self._bounds

    def is_row(self, row: Mapping[str, Any]) -> bool:
        """Return whether a refused row, with values of any types, has one of the keys."""
        return tuple(_plain(row.get(name)) for name in self.columns) in self._shown

    def is_text(self, value: str) -> bool:
        """Return whether a text is one of the keys, as it is or as a literal of SQL."""
        if not self.texts or not value:
            return False
        if value in self.texts:
            return True
        parts = value.split("'") if "'" in value else value.split('"')
        return any(part in self.texts for part in parts[1:-1])

    def among(self, rows: pl.DataFrame, folders: Mapping[str, str] | None = None) -> pl.Series:
        """Tell for each row whether it has one of the keys.

        Args:
            rows: key columns, in types of any schema.
            folders: values of key columns that the rows lack, as text.
        """
        lacking = [name for name in self.columns if name not in rows.columns]
        rows = rows.with_columns(pl.lit((folders or {})[name]).alias(name) for name in lacking)
        typed = rows.select(pl.col(name).cast(kind, strict=False) for name, kind in self.frame.schema.items())
        marked = self.frame.with_columns(pl.lit(True).alias("_andes_named"))
        joined = typed.join(marked, on=self.columns, how="left", maintain_order="left")
        return joined["_andes_named"].fill_null(False)

    @cached_property
    def size(self) -> int:
        """The number of keys that are searched."""
        return self.frame.height


def _text(values: list[Any]) -> str:
    return json.dumps(values)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _shortened(text: str) -> str:
    is_time = len(text) > _MILLISECONDS and text[4:5] == "-" and text[10:11] == "T"
    return text[:_MILLISECONDS] if is_time else text[:_PREFIX]


def mentions(
    storage: Storage, keys: Keys, *, checked: Callable[[ObjectInfo], object] = lambda info: None
) -> list[Mention]:
    """Decode all objects of a table; return those that name keys, or that cannot be decoded.

    Args:
        storage: the table's folder.
        keys: keys that are searched.
        checked: called with each object.
    """
    infos = list(storage.list())
    existing = frozenset(info.path for info in infos)
    found_mentions: list[Mention] = []
    for info, answer in in_windows(storage.scheduler, partial(_mentions_in, storage, keys, existing), infos):
        found_mentions += answer.result()
        checked(info)
    return found_mentions


def _mentions_in(storage: Storage, keys: Keys, existing: Collection[str], info: ObjectInfo) -> list[Mention]:
    path, name = info.path, info.path.rpartition("/")[2]
    counts: dict[str, int] = {}
    try:
        if name.endswith(".parquet"):
            counts = _in_parquet(storage, keys, existing, path)
        elif path.startswith(_ENTRY) and name.endswith((".json", ".crc")) and name[0] != ".":
            counts = _in_lines(storage.get(path), keys, existing)
        elif path.startswith(_FACE) and name.endswith(".avro"):
            counts = {"range": gone_files(storage, path, existing)}
        elif not name.endswith(_NO_VALUES):
            document = json.loads(storage.get(path) or b"{}")
            is_ours = path.startswith(_OURS)
            counts = _in_document(document, keys) if is_ours else {"text": sum(map(keys.is_text, _texts(document)))}
    except NotFoundError:
        return []  # deleted since it was listed
    except (AndesError, pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError, RecursionError):
        counts = {DAMAGED if path.startswith(_OURS) or name.endswith(".parquet") else UNKNOWN: 1}
    return [Mention(path, kind, count) for kind, count in counts.items() if count]


def _in_parquet(storage: Storage, keys: Keys, existing: Collection[str], path: str) -> dict[str, int]:
    with storage.open_input(path) as source, pq.ParquetFile(source) as file:
        names = file.schema_arrow.names
        if path.startswith(_ENTRY):
            return _in_actions(file, keys, existing)
        if path.startswith(_LEDGER):
            return {}
        if path.startswith(_QUARANTINE):
            # Others hold positions of mods that the law set aside.
            frames = _groups(file, ["row"]) if set(QUARANTINE_SCHEMA.names) <= set(names) else ()
            return {"refused rows": sum(len(named_rows(rows["row"], keys)) for rows in frames)}
        folders = _folder_values(path)
        stored = [name for name in keys.columns if name in names]
        if stored and set(keys.columns) <= {*stored, *folders}:
            return {"rows": sum(int(keys.among(rows, folders).sum()) for rows in _groups(file, stored))}
        return {}


def _folder_values(path: str) -> dict[str, str]:
    """Values of partition columns by the names of folders: files of other writers lack these columns."""
    parts = (part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)
    return {unquote(name): unquote(value) for name, value in parts}


def _groups(file: pq.ParquetFile, columns: list[str]) -> Iterator[pl.DataFrame]:
    for group in range(file.num_row_groups):
        frame = pl.from_arrow(file.read_row_group(group, columns=columns))
        assert isinstance(frame, pl.DataFrame)
        yield frame


def named_rows(rows: Iterable[str | None], keys: Keys) -> list[int]:
    """Return the numbers of the refused rows that have one of the keys; a row is a JSON object of any values."""
    named = []
    for number, text in enumerate(rows):
        row = {} if text is None else json.loads(text)
        if isinstance(row, dict) and keys.is_row(row):
            named.append(number)
    return named


def _in_actions(file: pq.ParquetFile, keys: Keys, existing: Collection[str]) -> dict[str, int]:
    """Mentions in a checkpoint of the Delta log."""
    counts: dict[str, int] = {}
    kinds = [kind for kind in ("add", "remove") if kind in file.schema_arrow.names]
    for group in range(file.num_row_groups):
        for row in file.read_row_group(group, columns=kinds).to_pylist():
            for action in filter(None, row.values()):
                _add(counts, _in_action({**action, "tags": dict(action.get("tags") or ())}, keys, existing))
    return counts


def _in_lines(data: bytes, keys: Keys, existing: Collection[str]) -> dict[str, int]:
    """Mentions in an entry of the Delta log, a JSON object in each line, or in the checksum of a version."""
    counts: dict[str, int] = {}
    for line in filter(bytes.strip, data.split(b"\n")):
        for kind, action in json.loads(line).items():
            for add in action if kind == "allFiles" else ():
                _add(counts, _in_action(add, keys, existing))
            if kind in ("add", "remove"):
                _add(counts, _in_action(action, keys, existing))
            elif kind == "commitInfo" and seal.TAG not in (action.get("tags") or {}):
                # Of another writer: a condition of a DELETE, say.
                _add(counts, {"text": sum(map(keys.is_text, _texts(action)))})
    return counts


def _in_action(action: Mapping[str, Any], keys: Keys, existing: Collection[str]) -> dict[str, int]:
    """Mentions in the description of a data file. That of an existing file says nothing that its rows do not."""
    if decode_path(action["path"]) in existing:
        return {}
    stats = json.loads(action["stats"]) if action.get("stats") else action.get("stats_parsed") or {}
    ends = [stats.get("minValues") or {}, stats.get("maxValues") or {}]
    named = any(map(keys.is_bound, ends))
    quoted = (action.get("tags") or {}).get(KEYS_TAG)
    named |= quoted is not None and any(map(keys.is_exact, _ranges(json.loads(quoted))))
    return {"range": int(named)}


def _ranges(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _in_document(value: Any, keys: Keys) -> dict[str, int]:
    """Ranges of keys in a document; names of batches, tags and jobs are texts that only look like keys."""
    ends = value.get("keys") if isinstance(value, dict) else None
    if isinstance(ends, dict) and any(keys.is_exact(ends.get(name)) for name in ("low", "high")):
        return {"range": 1}
    counts: dict[str, int] = {}
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _add(counts, _in_document(member, keys))
    return counts


def _texts(value: Any) -> Iterator[str]:
    """All texts in any JSON."""
    if isinstance(value, str):
        yield value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(member)


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for kind, count in more.items():
        counts[kind] = counts.get(kind, 0) + count
