"""Statistics of data files, in the JSON form of the Delta protocol ("Per-file Statistics").

Written from the footers of the files that this library writes, by the conventions of Delta's own writer
(``StatisticsCollection.scala``); ``bounds.column_range`` reads them back.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from andes_spark.errors import OptionError
from andes_spark.schema.schema import Schema, Struct

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = [
    "dumps",
    "footer_columns",
    "indexed_columns",
    "parse",
    "parse_verbatim",
    "statistics",
    "to_wide_bounds",
    "truncate_max",
    "truncate_min",
]

STRING_PREFIX = 32
DEFAULT_INDEXED = 32

Path = tuple[str, ...]

_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_DAY = _EPOCH.toordinal()
_MICROSECOND = datetime.timedelta(microseconds=1)
_PER_SECOND = {"milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_LAST_CHARACTER = "\U0010ffff"
_NAME = re.compile(r"\s*(`(?:[^`]|``)+`|[^`.,\s][^`.,]*)\s*([.,]|$)")


class _Number(str):
    """A JSON number as text, so that it is written again to the last digit."""

    __slots__ = ()


class Leaf(NamedTuple):
    """A column of Parquet: ``flat`` unless it lies within a list or map."""

    path: Path
    type: pa.DataType
    flat: bool


def indexed_columns(
    schema: Schema, partition_columns: Collection[str], configuration: Mapping[str, str]
) -> frozenset[Path]:
    """Return the columns with statistics in a table: paths of fields that are no structs.

    Follows ``delta.dataSkippingStatsColumns`` (names as in SQL, compared without case) or else
    ``delta.dataSkippingNumIndexedCols`` (number of columns from the left, 32 if not set, -1 for all).

    Raises:
        OptionError: a property that cannot be read.
    """
    paths = [path for path in _schema_paths(schema) if path[0] not in partition_columns]
    names = configuration.get("delta.dataSkippingStatsColumns")
    if names is not None:
        listed = [tuple(part.lower() for part in name) for name in _multipart_names(names)]
        folded = ((path, tuple(part.lower() for part in path)) for path in paths)
        return frozenset(path for path, low in folded if any(low[: len(name)] == name for name in listed))
    count = configuration.get("delta.dataSkippingNumIndexedCols", str(DEFAULT_INDEXED))
    try:
        limit = int(count)
    except ValueError:
        raise OptionError(f"delta.dataSkippingNumIndexedCols is {count!r}, not a number") from None
    return frozenset(paths if limit < 0 else paths[:limit])


def statistics(
    file_metadata: pq.FileMetaData,
    schema: pa.Schema,
    indexed: Collection[Path] | None = None,
    *,
    nan_free: Collection[Path] = (),
) -> dict[str, Any]:
    """Build Delta's statistics of a file from its Parquet footer.

    Args:
        file_metadata: the footer of the file.
        schema: the Arrow schema of its columns.
        indexed: columns with statistics (``indexed_columns``); None for all.
        nan_free: floating-point columns known to hold no NaN. Only these get a maximum: Parquet's leaves
            NaN out, while to Spark NaN is greater than every number.

    Returns:
        ``numRecords``, ``minValues``, ``maxValues``, ``nullCount`` and ``tightBounds``; serialize it once,
        by ``dumps``. Values that the footer lacks are left out.
    """
    leaves = list(_leaves(schema))
    if len(leaves) != file_metadata.num_columns:
        raise ValueError(f"a schema of {len(leaves)} columns for a file of {file_metadata.num_columns}")
    minima: dict[str, Any] = {}
    maxima: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    for index, leaf in enumerate(leaves):
        if not leaf.flat or (indexed is not None and leaf.path not in indexed):
            continue
        if file_metadata.schema.column(index).physical_type == "INT96":
            continue  # without an order
        chunks = [
            file_metadata.row_group(group).column(index).statistics for group in range(file_metadata.num_row_groups)
        ]
        if any(chunk is None or not chunk.has_null_count for chunk in chunks):
            continue
        null_count = sum(chunk.null_count for chunk in chunks)
        _put(nulls, leaf.path, null_count)
        low, high = _extremes(leaf, file_metadata.schema.column(index), chunks)
        if low is not None:
            _put(minima, leaf.path, low)
        if high is not None and (not pat.is_floating(leaf.type) or leaf.path in nan_free):
            _put(maxima, leaf.path, high)
    return {
        "numRecords": file_metadata.num_rows,
        "minValues": minima,
        "maxValues": maxima,
        "nullCount": nulls,
        "tightBounds": True,
    }


def footer_columns(schema: pa.Schema, nan_free: Collection[Path] = ()) -> list[str]:
    """Return the columns that may have statistics in the Parquet footer (``write_statistics`` of ``ParquetWriter``).

    All but lists, maps and floating-point columns that may hold NaN. Arrow leaves NaN out of the footer's
    maximum, while Spark, to which NaN is the greatest number, skips row groups by it: ``x > 5`` would lose
    rows. Spark's own writer drops the statistics where it meets a NaN.
    """
    return [
        ".".join(leaf.path)
        for leaf in _leaves(schema)
        if leaf.flat and (not pat.is_floating(leaf.type) or leaf.path in nan_free)
    ]


def dumps(value: Any) -> str:
    """Serialize statistics as JSON: decimals as exact numbers, times as Delta writes them, nulls left out."""
    if isinstance(value, Mapping):
        members = (f"{_json_text(k)}:{dumps(v)}" for k, v in value.items() if v is not None)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dumps(element) for element in value) + "]"
    if isinstance(value, _Number | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return json.dumps(_iso_time(value.replace(tzinfo=None), utc=value.tzinfo is not None))
    if isinstance(value, datetime.date):
        return json.dumps(value.isoformat())
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(str(value))
    return _json_text(value) if isinstance(value, str) else json.dumps(value)


def parse(text: str | None) -> dict[str, Any]:
    """Parse statistics with exact numbers; an empty dict if they are missing or unreadable."""
    if not text:
        return {}
    try:
        value = json.loads(text, parse_float=decimal.Decimal)
    except (ValueError, RecursionError, decimal.InvalidOperation):
        return {}
    return value if isinstance(value, dict) else {}


def to_wide_bounds(text: str | None, *, num_records: int, deleted: int) -> str:
    """Convert statistics for a file with a new deletion vector: unchanged, except ``tightBounds`` false.

    Args:
        text: current statistics; None if the file has none.
        num_records: rows in the file, deleted ones included.
        deleted: rows that its current vector removes.

    If bounds were tight beside a vector, null counts were of live rows; a count of all live rows becomes one of
    all rows (Delta: ``updateStatsToWideBounds``).
    """
    stats = parse_verbatim(text)
    if not stats:
        return dumps({"numRecords": num_records, "tightBounds": False})
    if stats.get("tightBounds") is False:
        assert text is not None
        return text
    counts = stats.get("nullCount")
    if deleted and isinstance(counts, dict):
        stats["nullCount"] = _all_null_counts(counts, num_records - deleted, num_records)
    stats["tightBounds"] = False
    return dumps(stats)


def parse_verbatim(text: str | None) -> dict[str, Any]:
    """Parse statistics, with numbers kept as text to write them again."""
    if not text:
        return {}
    try:
        value = json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def truncate_max(text: str, prefix: int = STRING_PREFIX) -> str | None:
    """Return a string of about ``prefix`` UTF-16 units that is not below ``text``; None if there is none.

    As Delta's ``truncateMaxStringAgg``: a prefix with a tie-breaker that is above the character cut off.
    """
    units = _utf16_length(text)
    if units <= prefix:
        return text
    length = used = 0
    while used < prefix:
        used += _utf16_length(text[length])
        length += 1
    while used <= 2 * prefix:
        if length >= len(text):
            return text
        if text[length] == _LAST_CHARACTER:
            used += 2
            length += 1
        else:
            return text[:length] + ("\x7f" if text[length] < "\x7f" else _LAST_CHARACTER)
    return None


def truncate_min(text: str, prefix: int = STRING_PREFIX) -> str:
    """Return the prefix of a string that represents its minimum."""
    return text[:prefix]


def _json_text(text: str) -> str:
    """Encode a JSON string without escaping its characters.

    arrow-json, and with it delta-rs, polars and DuckDB, joins the escaped halves of a character from U+20000 on to
    another one. Half a character, which only statistics of other writers can hold, has no bytes and stays escaped.
    """
    halved = any("\ud800" <= character <= "\udfff" for character in text)
    return json.dumps(text, ensure_ascii=halved)


def _utf16_length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _schema_paths(schema: Schema) -> Iterator[Path]:
    def walk(fields: Sequence[Any], above: Path) -> Iterator[Path]:
        for field in fields:
            path = (*above, field.name)
            if isinstance(field.type, Struct):
                yield from walk(field.type.fields, path)
            else:
                yield path

    return walk(schema.fields, ())


def _multipart_names(text: str) -> Iterator[Path]:
    position = 0
    parts: list[str] = []
    while position < len(text):
        match = _NAME.match(text, position)
        if match is None:
            raise OptionError(f"delta.dataSkippingStatsColumns is not a list of columns: {text!r}")
        quoted, separator = match[1].strip(), match[2]
        parts.append(quoted[1:-1].replace("``", "`") if quoted.startswith("`") else quoted)
        if separator != ".":
            yield tuple(parts)
            parts = []
        position = match.end()


def _leaves(fields: Any, above: Path = (), flat: bool = True) -> Iterator[Leaf]:
    """List the Parquet columns of Arrow fields, in Parquet's order."""
    for field in fields:
        path = (*above, field.name)
        kind = field.type
        if pat.is_struct(kind):
            yield from _leaves(kind, path, flat)
        elif pat.is_map(kind):
            yield from _leaves([kind.key_field, kind.item_field], path, False)
        elif pat.is_nested(kind):
            yield from _leaves([kind.value_field], path, False)
        else:
            yield Leaf(path, kind.value_type if pat.is_dictionary(kind) else kind, flat)


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _extremes(leaf: Leaf, column: pq.ColumnSchema, chunks: list[pq.Statistics]) -> tuple[Any, Any]:
    """Least and greatest value as JSON values, None if there is none or the footer lacks it."""
    if pat.is_boolean(leaf.type) or pat.is_binary(leaf.type) or pat.is_large_binary(leaf.type):
        return None, None
    chunks = [chunk for chunk in chunks if chunk.num_values]
    if not chunks or not all(chunk.has_min_max for chunk in chunks):
        return None, None
    comparable = _comparable(leaf.type)
    low = min(comparable(chunk.min_raw) for chunk in chunks)
    high = max(comparable(chunk.max_raw) for chunk in chunks)
    if pat.is_string(leaf.type) or pat.is_large_string(leaf.type) or pat.is_string_view(leaf.type):
        return _text_extremes(low, high)
    if pat.is_decimal(leaf.type):
        scale = leaf.type.scale
        return decimal.Decimal(f"{low}E-{scale}"), decimal.Decimal(f"{high}E-{scale}")
    if pat.is_date(leaf.type):
        return _iso_date(low), _iso_date(high)
    if pat.is_timestamp(leaf.type):
        logical = json.loads(column.logical_type.to_json())
        per_second, utc = _PER_SECOND[logical["timeUnit"]], bool(logical["isAdjustedToUTC"])
        low, high = low * 1_000_000 // per_second, high * 1_000_000 // per_second
        return _iso_micros(low, utc=utc), _iso_micros(high, utc=utc)
    if pat.is_floating(leaf.type):
        return low if math.isfinite(low) else None, high if math.isfinite(high) else None
    return low, high


def _text_extremes(low: bytes, high: bytes) -> tuple[str | None, str | None]:
    try:
        return truncate_min(low.decode()), truncate_max(high.decode())
    except UnicodeDecodeError:
        return None, None


def _comparable(kind: pa.DataType) -> Callable[[Any], Any]:
    if pat.is_decimal(kind):
        return lambda raw: int.from_bytes(raw, "big", signed=True) if isinstance(raw, bytes) else raw
    return lambda raw: raw


def _iso_date(days: int) -> str | None:
    try:
        return datetime.date.fromordinal(days + _EPOCH_DAY).isoformat()
    except (ValueError, OverflowError):
        return None


def _iso_micros(micros: int, *, utc: bool) -> str | None:
    try:
        return _iso_time(_EPOCH + micros * _MICROSECOND, utc=utc)
    except OverflowError:
        return None


def _iso_time(value: datetime.datetime, *, utc: bool) -> str:
    """ISO text truncated (downwards) to milliseconds."""
    return value.isoformat(timespec="milliseconds") + ("Z" if utc else "")


def _all_null_counts(counts: dict[str, Any], live: int, physical: int) -> dict[str, Any]:
    raised: dict[str, Any] = {}
    for name, count in counts.items():
        if isinstance(count, dict):
            raised[name] = _all_null_counts(count, live, physical)
        else:
            raised[name] = physical if count == str(live) else count
    return raised
