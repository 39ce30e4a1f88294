"""The published hash of rows, format 1, and the digest of a batch.

Equal rows have equal hashes whatever engine, order, chunking or width of integer they came in. Format 1:

- A **cell** is 17 bytes: a tag (0 NULL, 1 a value, 2 the column is absent), then 16 bytes, all zero unless
  the tag is 1. Numbers are little-endian.

      boolean                      0 or 1
      byte, short, integer, long   two's complement, sign-extended to 16 bytes
      float, double                the IEEE double; each NaN as 0x7ff8000000000000, -0.0 as 0.0
      decimal                      the unscaled value at the scale of the table, two's complement
      date                         days since 1970-01-01, as an integer
      timestamp, timestamp_ntz     microseconds since 1970-01-01T00:00:00 (UTC), as an integer
      string                       the hash of its UTF-8 bytes
      binary                       the hash of its bytes
      array                        the hash of the cells of its elements, one after the other
      struct                       the hash of the cells of its fields
      map                          the hash of the cells of key, value, key, value ... in stored order

- The **hash of bytes** b is H(b, 0). H(b, r) is MurmurHash3_x64_128 with seed r if b has at most 1024 bytes,
  its two words in little-endian order. Else b is cut into pieces of 1024 bytes (the last may be shorter),
  each hashed with seed r, and H(b, r) = H(those hashes one after the other, r + 1). So long values need not
  be hashed from one end to the other.
- The **hash of a row** is MurmurHash3_x64_128, seed 0, of the operation (one byte: 0 upsert, 1 delete,
  2 truncate) and the cells of the chosen columns in their order.
- The **digest** of a batch is ``andes1:`` and 32 hexadecimal digits: the bytes of MurmurHash3_x64_128,
  seed 0, of the sum of all hashes of rows as 128-bit integers, modulo 2^128 (16 bytes), and the number of
  rows (8 bytes).

Nothing here is proof against forgery: it tells a retry from another batch, not a friend from an enemy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.law.hashing import murmur3
from andes_spark.law.hashing.murmur3 import Bytes, Integers, Words
from andes_spark.schema import arrow_types, nested
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema

CELL = 17
PREFIX = "andes1:"
NULL, VALUE, ABSENT = 0, 1, 2

_PIECE = 1024
_MASK_128 = (1 << 128) - 1
_NAN = np.uint64(0x7FF8000000000000)
_NUMBERS = {
    "byte": np.int8,
    "short": np.int16,
    "integer": np.int32,
    "long": np.int64,
    "date": np.int32,
    "timestamp": np.int64,
    "timestamp_ntz": np.int64,
}


@dataclass
class Digest:
    """The digest of a batch as it grows; parts made apart are merged by addition.

    Attributes:
        total: the sum of the hashes of rows, modulo 2^128.
        rows: number of rows.
    """

    total: int = 0
    rows: int = 0

    def add(self, hashes: Words) -> None:
        """Take in rows, given the result of ``row_hashes``."""
        self._change(_sum(hashes), len(hashes))

    def subtract(self, hashes: Words) -> None:
        """Take rows out that were added before."""
        self._change(-_sum(hashes), -len(hashes))

    def merge(self, other: Digest) -> None:
        """Take in all rows of another digest."""
        self._change(other.total, other.rows)

    def hexdigest(self) -> str:
        """Return the digest as text: ``andes1:`` and 32 hexadecimal digits."""
        content = self.total.to_bytes(16, "little") + self.rows.to_bytes(8, "little")
        return PREFIX + murmur3.hash_one(content).hex()

    def _change(self, total: int, rows: int) -> None:
        if self.rows + rows < 0:
            raise OptionError(f"cannot take {-rows} rows out of a digest of {self.rows}")
        self.total = (self.total + total) & _MASK_128
        self.rows += rows


def row_hashes(
    table: pa.Table,
    schema: Schema,
    columns: Sequence[str],
    *,
    op: pa.Array | pa.ChunkedArray,
    present: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> Words:
    """Hash rows.

    Args:
        table: rows in the Arrow types of ``schema``, as ``conform`` gives them.
        schema: the columns of the table.
        columns: names of the hashed columns, in order; a column that ``table`` lacks is absent from all rows.
        op: the operation of each row, int8, never null.
        present: for columns that some rows lack, which rows have them.

    Returns:
        An array of shape (rows, 2) of little-endian words: the low and the high word of each hash.

    Raises:
        OptionError: a column that the schema lacks or that is of another Arrow type; ``column``.
    """
    parts = [_column(table, schema.field(name), None if present is None else present.get(name)) for name in columns]
    if op.type != pa.int8() or op.null_count:
        raise OptionError(f"operations must be int8 without NULLs, not {op.type} with {op.null_count}")
    operations = np.concatenate([_fixed(chunk, np.int8) for chunk in _chunks(op)] or [np.zeros(0, np.int8)])
    if len(operations) != table.num_rows:
        raise OptionError(f"{len(operations)} operations were given for {table.num_rows} rows")
    return _hash_cells(parts, table.num_rows, operations.view(np.uint8))


def cells(array: pa.Array | pa.ChunkedArray, type_: dt.DataType) -> Bytes:
    """Return the cells of values: an array of shape (values, 17).

    Args:
        array: values in the Arrow type that ``arrow_types.to_arrow`` gives for the type.
        type_: their type.

    Raises:
        OptionError: values of another Arrow type.
    """
    return _cell_bytes(_of_chunks(array, type_))


def hash_bytes(data: Bytes, starts: Integers, lengths: Integers, *, level: int = 0) -> Words:
    """Return the hash of each part of a buffer, of any length, in an array of shape (parts, 2).

    Args:
        data: the buffer.
        starts: offset of each part.
        lengths: length of each part in bytes.
        level: number of earlier reductions of these bytes: r of the format.
    """
    long = lengths > _PIECE
    if not long.any():
        return murmur3.hash_ranges(data, starts, lengths, seed=level)
    result = np.empty((len(starts), 2), dtype=np.uint64)
    result[~long] = murmur3.hash_ranges(data, starts[~long], lengths[~long], seed=level)
    starts, lengths = starts[long], lengths[long]
    counts = -(-lengths // _PIECE)
    ends = np.cumsum(counts)
    offset = (np.arange(ends[-1]) - np.repeat(ends - counts, counts)) * _PIECE
    sizes = np.minimum(np.repeat(lengths, counts) - offset, _PIECE)
    pieces = murmur3.hash_ranges(data, np.repeat(starts, counts) + offset, sizes, seed=level)
    reduced = pieces.view(np.uint8).reshape(-1)
    result[long] = hash_bytes(reduced, (ends - counts) * 16, counts * 16, level=level + 1)
    return result


@dataclass(frozen=True)
class _Cells:
    """Cells by their parts: a tag and two words for each value. Words are zero unless the tag is VALUE."""

    tags: Bytes
    low: Words
    high: Words


def _sum(hashes: Words) -> int:
    # Halves of words, since a sum of up to 2^32 of them fits a word.
    low = int(np.sum(hashes[:, 0] & np.uint64(0xFFFFFFFF)))
    middle = int(np.sum(hashes[:, 0] >> np.uint64(32)))
    return low + (middle << 32) + (int(np.sum(hashes[:, 1])) << 64)


def _column(table: pa.Table, field: dt.Field, present: npt.NDArray[np.bool_] | None) -> _Cells:
    rows = table.num_rows
    if field.name not in table.schema.names:
        return _without(_Cells(np.full(rows, VALUE, np.uint8), *_zeros(rows)), np.zeros(rows, np.bool_))
    try:
        cells = _of_chunks(table.column(field.name), field.type)
    except OptionError as error:
        raise OptionError(f"column {field.name!r}: {error.message}", column=field.name) from error
    return cells if present is None else _without(cells, present)


def _without(cells: _Cells, present: npt.NDArray[np.bool_]) -> _Cells:
    """The cells with ABSENT where a row lacks the column."""
    return _Cells(
        np.where(present, cells.tags, np.uint8(ABSENT)),
        np.where(present, cells.low, np.uint64(0)),
        np.where(present, cells.high, np.uint64(0)),
    )


def _of_chunks(array: pa.Array | pa.ChunkedArray, type_: dt.DataType) -> _Cells:
    arrow_type = arrow_types.to_arrow(type_)
    if not array.type.equals(arrow_type):
        raise OptionError(f"values of the Arrow type {array.type} cannot be hashed as {arrow_type}: conform them")
    chunks = [_of_array(chunk, type_) for chunk in _chunks(array)]
    if len(chunks) == 1:
        return chunks[0]
    return _Cells(
        np.concatenate([np.zeros(0, np.uint8), *(chunk.tags for chunk in chunks)]),
        np.concatenate([np.zeros(0, np.uint64), *(chunk.low for chunk in chunks)]),
        np.concatenate([np.zeros(0, np.uint64), *(chunk.high for chunk in chunks)]),
    )


def _chunks(array: pa.Array | pa.ChunkedArray) -> Iterator[pa.Array]:
    yield from (chunk for chunk in getattr(array, "chunks", [array]) if len(chunk))


def _of_array(array: pa.Array, type_: dt.DataType) -> _Cells:
    """Cells of an array that is not empty."""
    low, high = _payload(array, type_)
    if not array.null_count:
        return _Cells(np.full(len(array), VALUE, dtype=np.uint8), low, high)
    valid = _bits(array.buffers()[0], array)
    # Below a NULL anything may lie.
    return _Cells(valid, np.where(valid, low, np.uint64(0)), np.where(valid, high, np.uint64(0)))


def _payload(array: pa.Array, type_: dt.DataType) -> tuple[Words, Words]:
    """The 16 bytes of each value as two words; of a NULL anything."""
    match type_:
        case dt.Decimal():
            pairs = _fixed(array, np.dtype("<u8"), width=2).reshape(-1, 2)
            return pairs[:, 0], pairs[:, 1]
        case dt.Array(element):
            offsets, elements = nested.list_parts(array)
            return _hash_lists(_cell_bytes(_inner(elements, element)), offsets)
        case dt.Map(key, value):
            offsets, keys, values = nested.map_parts(array)
            both = np.hstack([_cell_bytes(_inner(keys, key)), _cell_bytes(_inner(values, value))])
            return _hash_lists(both, offsets)
        case dt.Struct(fields):
            parts = [_inner(array.field(i), field.type) for i, field in enumerate(fields)]
            return _words(_hash_structs(parts, len(array)))
    if type_ in (dt.STRING, dt.BINARY):
        return _hash_strings(array)
    if type_ in (dt.FLOAT, dt.DOUBLE):
        return _doubles(array, np.float32 if type_ == dt.FLOAT else np.float64), _zeros(len(array))[0]
    if type_ == dt.BOOLEAN:
        return _bits(array.buffers()[1], array).astype(np.uint64), _zeros(len(array))[0]
    integers = _fixed(array, _NUMBERS[type_.name]).astype(np.int64)
    return integers.view(np.uint64), (integers >> np.int64(63)).view(np.uint64)


def _inner(array: pa.Array, type_: dt.DataType) -> _Cells:
    return _of_array(array, type_) if len(array) else _Cells(np.zeros(0, np.uint8), *_zeros(0))


def _zeros(size: int) -> tuple[Words, Words]:
    return np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.uint64)


def _words(hashes: Words) -> tuple[Words, Words]:
    return hashes[:, 0], hashes[:, 1]


def _fixed(array: pa.Array, kind: Any, *, width: int = 1) -> npt.NDArray[Any]:
    """The values of a fixed-width array without copying; ``width`` numbers each."""
    values = np.frombuffer(array.buffers()[1], dtype=kind)
    return values[array.offset * width : (array.offset + len(array)) * width]


def _bits(bitmap: pa.Buffer, array: pa.Array) -> Bytes:
    """One byte, 0 or 1, for each bit of the array's part of a bitmap."""
    first = array.offset // 8
    last = (array.offset + len(array) + 7) // 8
    packed = np.frombuffer(bitmap, dtype=np.uint8)[first:last]
    skip = array.offset - first * 8
    return np.unpackbits(packed, bitorder="little")[skip : skip + len(array)]


def _doubles(array: pa.Array, kind: Any) -> Words:
    # Adding 0.0 makes -0.0 into 0.0 and changes nothing else; signalling NaNs may warn on the way.
    with np.errstate(invalid="ignore"):
        doubles: npt.NDArray[np.float64] = _fixed(array, kind).astype(np.float64) + 0.0
    bits = doubles.view(np.uint64)
    bits[np.isnan(doubles)] = _NAN
    return bits


def _hash_strings(array: pa.Array) -> tuple[Words, Words]:
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    starts = offsets[:-1].astype(np.int64)
    content = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
    return _words(hash_bytes(content, starts, offsets[1:] - starts))


def _hash_lists(elements: Bytes, offsets: Integers) -> tuple[Words, Words]:
    """Hash the cells of lists; ``elements`` has one row for each element (or entry of a map)."""
    starts = offsets[:-1] * elements.shape[1]
    return _words(hash_bytes(elements.reshape(-1), starts, np.diff(offsets) * elements.shape[1]))


def _hash_structs(parts: Sequence[_Cells], rows: int) -> Words:
    length = CELL * len(parts)
    if length <= _PIECE:
        return _hash_cells(parts, rows, None)
    content = np.hstack([_cell_bytes(part) for part in parts])
    return hash_bytes(content.reshape(-1), np.arange(rows) * length, np.full(rows, length))


def _hash_cells(parts: Sequence[_Cells], rows: int, operations: Bytes | None) -> Words:
    """Hash the cells of each row, behind its operation if there is one."""
    head = 0 if operations is None else 1
    length = head + CELL * len(parts)
    result = np.empty((rows, 2), dtype=np.uint64)
    buffer = np.zeros((min(rows, murmur3.GROUP), -(-length // 16) * 16), dtype=np.uint8)
    # Group by group, so that the bytes of the rows never leave the processor's cache.
    for start in range(0, rows, murmur3.GROUP):
        group = slice(start, start + murmur3.GROUP)
        lines = buffer[: min(rows - start, murmur3.GROUP)]
        if operations is not None:
            lines[:, 0] = operations[group]
        _lay_out(parts, group, lines, head)
        result[group] = murmur3.hash_rows(lines.view("<u8"), length)
    return result


def _cell_bytes(part: _Cells) -> Bytes:
    lines = np.empty((len(part.tags), CELL), dtype=np.uint8)
    if len(lines):
        _lay_out([part], slice(None), lines, 0)
    return lines


def _lay_out(parts: Sequence[_Cells], group: slice, lines: Bytes, position: int) -> None:
    """Write the cells of a group of rows side by side into ``lines``, from a position on."""
    for index, part in enumerate(parts):
        cell = np.dtype({"names": ["tag", "low", "high"], "formats": ["u1", "<u8", "<u8"], "offsets": [0, 1, 9]})
        target = np.ndarray(len(lines), cell, buffer=lines, offset=position + CELL * index, strides=(lines.shape[1],))
        target["tag"] = part.tags[group]
        target["low"] = part.low[group]
        target["high"] = part.high[group]
