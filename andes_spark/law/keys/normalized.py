"""Normalized keys: tuples of columns as 64-bit words in the tuples' order, which sort and search as numbers do.

After Graefe, "Implementing Sorting in Database Systems", ACM Computing Surveys 38 (3), 2006. Bits that are the same
in all rows take no room: a digit takes four bits, a common prefix none, so that a region and a number of ten digits
fit one word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.schema.arrow_types import as_integers, is_counted

Words = npt.NDArray[np.uint64]

_WORD = 64
_BYTES = 8
_ROWS = 8_192
"""At a time, so that what is made on the way stays in the processor's cache."""
_LONGEST = 512
"""So many bytes of a text are looked at; a column with a longer one is not exact."""
_INSIDE = np.array([(1 << _WORD) - (1 << 8 * (_BYTES - count)) for count in range(_BYTES + 1)], np.uint64)
"""For a number of bytes: the bits of a big-endian word that they are."""


@dataclass(frozen=True)
class Form:
    """Place of a column in words.

    Attributes:
        low: the least number; of text 0.
        runs: bits of the column, the highest first: number of the column's own word, lowest bit, number of bits.
    """

    low: int
    runs: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Normalizer:
    """Encoder of tuples as words.

    Equal tuples have equal words, whatever tuples they are. Of the tuples that the normalizer was made for, a
    greater one never has a lesser word.

    Attributes:
        forms: of the columns, as far as they fit.
        exact: whether different tuples, of those that it was made for, have different words.
    """

    forms: tuple[Form, ...]
    exact: bool

    def words(self, columns: Sequence[pa.Array]) -> Words:
        """Return the word of each row of columns without NULLs."""
        used = [(form, _source(column)) for form, column in zip(self.forms, columns, strict=False) if form.runs]
        result = np.zeros(len(columns[0]), np.uint64)
        for start in range(0, len(result), _ROWS):
            rows = slice(start, start + _ROWS)
            words = result[rows]
            for form, source in used:
                for number, lowest, bits in form.runs:
                    picked = source.words(number, rows, form.low) >> np.uint64(lowest)
                    picked &= np.uint64((1 << bits) - 1)
                    if bits < _WORD:
                        words <<= np.uint64(bits)
                    words |= picked
        return result


def normalizer(columns: Sequence[pa.Array]) -> Normalizer | None:
    """Return the normalizer for some tuples.

    Args:
        columns: strings, integers, dates or timestamps.

    Returns:
        None for no rows, and for columns with NULLs or of other types.
    """
    if not len(columns[0]) or any(column.null_count or not _is_fit(column.type) for column in columns):
        return None
    lows: list[int] = []
    differing: list[list[int]] = []
    left = _WORD
    for column in columns:
        source = _source(column)
        lows.append(source.low())
        differing.append(_differing(source, lows[-1], len(column), left))
        left -= sum(map(int.bit_count, differing[-1]))
        if left < 0 or not source.distinguishes:
            return _normalizer(lows, differing, exact=False)
    # Bits that are the same between others that differ: kept if there is room, since each gap takes time.
    return _normalizer(lows, differing, gaps=True, exact=True) or _normalizer(lows, differing, exact=True)


def _normalizer(
    lows: Sequence[int], differing: Sequence[Sequence[int]], *, gaps: bool = False, exact: bool
) -> Normalizer | None:
    """The normalizer of the differing bits, as far as they fit; None if they do not and it should be exact."""
    forms: list[Form] = []
    room = _WORD
    for low, words in zip(lows, differing, strict=True):
        runs: list[tuple[int, int, int]] = []
        for number, differ in enumerate(words):
            for lowest, bits in _runs(differ, gaps=gaps):
                used = min(bits, room)
                if used:
                    runs.append((number, lowest + bits - used, used))
                room -= used
                if used < bits:
                    return None if exact else Normalizer((*forms, Form(low, tuple(runs))), exact=False)
        forms.append(Form(low, tuple(runs)))
    return Normalizer(tuple(forms), exact)


def _runs(differ: int, *, gaps: bool) -> list[tuple[int, int]]:
    """Runs of ones, the highest first, as lowest bit and length; with gaps all of them as one."""
    runs: list[tuple[int, int]] = []
    while differ:
        top = differ.bit_length()
        lowest = (differ & -differ).bit_length() - 1 if gaps else (differ ^ ((1 << top) - 1)).bit_length()
        runs.append((lowest, top - lowest))
        differ &= (1 << lowest) - 1
    return runs


def _differing(source: _Source, low: int, size: int, room: int) -> list[int]:
    """Return the differing bits of each word of a column, for as many words as there is room."""
    differing: list[int] = []
    for number in range(source.count):
        ones, common = np.uint64(0), ~np.uint64(0)
        for start in range(0, size, _ROWS):
            words = source.words(number, slice(start, start + _ROWS), low)
            ones |= np.bitwise_or.reduce(words)
            common &= np.bitwise_and.reduce(words)
        differing.append(int(ones ^ common))
        room -= differing[-1].bit_count()
        if room < 0:
            break
    return differing


class _Numbers:
    """Numbers as their differences to the least one: one word each, which is exact."""

    count = 1
    distinguishes = True

    def __init__(self, column: pa.Array) -> None:
        self._values = as_integers(column)

    def low(self) -> int:
        return int(self._values.min())

    def words(self, number: int, rows: slice, low: int) -> Words:
        return self._values[rows].view(np.uint64) - np.uint64(low % (1 << _WORD))


class _Text:
    """Text in words of eight bytes, padded with 0."""

    def __init__(self, column: pa.Array) -> None:
        _, offset_buffer, content = column.buffers()
        kind = np.int64 if pat.is_large_string(column.type) else np.int32
        offsets = np.frombuffer(offset_buffer, kind)[column.offset : column.offset + len(column) + 1]
        first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
        self._data = np.frombuffer(content, np.uint8)[first:last] if last > first else np.zeros(0, np.uint8)
        self._starts, self._first = offsets[:-1], first
        self._lengths = np.diff(offsets)
        self._shortest, self._longest = (int(self._lengths.min()), int(self._lengths.max())) if len(column) else (0, 0)

    @property
    def count(self) -> int:
        """Words for each text."""
        return -(-min(self._longest, _LONGEST) // _BYTES)

    @property
    def distinguishes(self) -> bool:
        """Whether different texts have different words."""
        # A byte 0 equals the padding of a shorter text.
        varies = self._shortest < self._longest
        return self._longest <= _LONGEST and not (varies and self._data.min() == 0)

    def low(self) -> int:
        return 0

    def words(self, number: int, rows: slice, low: int) -> Words:
        start = number * _BYTES
        if start >= self._longest:
            return np.zeros(len(self._lengths[rows]), np.uint64)
        if self._shortest == self._longest >= _BYTES:
            return self._of_one_length(start, rows)
        size = len(self._data)
        anywhere = np.ndarray(size + 1, ">u8", self._padded, 0, (1,))
        at = self._starts[rows].astype(np.int64) + (start - self._first)
        words = anywhere[np.minimum(at, size)].astype(np.uint64)
        if self._shortest < start + _BYTES:
            words &= _INSIDE.take(np.clip(self._lengths[rows] - start, 0, _BYTES))
        return words

    def _of_one_length(self, start: int, rows: slice) -> Words:
        """Texts of one length follow each other at equal distance."""
        length = self._longest
        # The last word of a text begins within it, and not so that it would end behind it.
        at = min(start, length - _BYTES)
        size = len(self._lengths[rows])
        words = np.ndarray(size, ">u8", self._data, rows.start * length + at, (length,)).astype(np.uint64)
        words <<= np.uint64(8 * (start - at))
        return words

    @cached_property
    def _padded(self) -> npt.NDArray[np.uint8]:
        return np.concatenate([self._data, np.zeros(_BYTES, np.uint8)])


_Source = _Numbers | _Text
"""A column as words in its order."""


def _source(column: pa.Array) -> _Source:
    return _Text(column) if _is_text(column.type) else _Numbers(column)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind))


def _is_fit(kind: pa.DataType) -> bool:
    return _is_text(kind) or is_counted(kind)
