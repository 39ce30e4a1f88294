"""What a merge needs of base files, kept in memory from merge to merge: keys, deletion vectors, and tombstones."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.files import OpenFile, TableShape
from andes_spark.delta.vectors import VectorDescriptor, load_vector
from andes_spark.law.keys.normalized import Normalizer, normalizer
from andes_spark.law.order import is_sorted
from andes_spark.schema.arrow_types import as_integers, is_counted, whole
from andes_spark.storage.interface import Storage

Ints = npt.NDArray[np.int64]

_KEPT_ROWS = 100_000
_KEPT_BYTES = 32 * 1024 * 1024
_VECTOR_BYTES = 1_000
_CONTAINER_BYTES = 96
"""Measured: 971 bytes for a vector of 5 rows, descriptor and path included, 7,352 for one of 100 in 76 containers."""


@dataclass(frozen=True)
class Keys:
    """Keys of one row group.

    Attributes:
        integers: where the key is a single column of ascending integers.
        frame: else. Tombstone files are kept whole, as group 0, with their other columns.
        words: of the frame's rows, where it is sorted by key and of types that can be searched.
    """

    integers: Ints | None
    frame: pl.DataFrame | None
    words: KeyWords | None = None

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        if self.integers is not None:
            return int(self.integers.nbytes)
        words = 0 if self.words is None else int(self.words.values.nbytes)
        return words + (0 if self.frame is None else int(self.frame.estimated_size()))


@dataclass(frozen=True)
class KeyWords:
    """Sorted keys as numbers to be searched.

    Attributes:
        normalizer: made for them.
        values: the word of each row, ascending.
    """

    normalizer: Normalizer
    values: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Layout:
    """The row groups of a file: first rows, and ranges of the first key column; see ``OpenFile``."""

    starts: Ints
    ranges: list[tuple[int, Any, Any]]


class KeyCache:
    """Keys, layouts and deletion vectors of files, by path. Threads may share it.

    Files never change, so that an entry is never wrong; the vector of a file is another after each merge that marks
    rows in it, and is asked for by its descriptor. What fits is kept, and only files that left the table are given up:
    a table larger than the limit would else push out each entry before its next use.

    Args:
        limit_bytes: how much is kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: dict[tuple[str, int], Keys] = {}
        self._layouts: dict[str, Layout] = {}
        self._vectors: dict[str, tuple[VectorDescriptor, BitMap64]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def retain(self, paths: Collection[str]) -> None:
        """Forget all files but these."""
        with self._lock:
            self._held = {place: keys for place, keys in self._held.items() if place[0] in paths}
            self._layouts = {path: layout for path, layout in self._layouts.items() if path in paths}
            self._vectors = {path: vector for path, vector in self._vectors.items() if path in paths}
            self._size = sum(keys.bytes for keys in self._held.values())
            self._size += sum(_memory(*held) for held in self._vectors.values())

    @property
    def keeps_keys(self) -> bool:
        """Whether there is room for any keys at all."""
        return self._limit > 0

    def layout(self, path: str) -> Layout | None:
        """The layout of a file, if it is kept."""
        return self._layouts.get(path)

    def put_layout(self, path: str, layout: Layout) -> None:
        """Keep the layout of a file: a few numbers for each row group."""
        if self._limit:
            with self._lock:
                self._layouts[path] = layout

    def find(self, path: str, group: int) -> Keys | None:
        """The keys of a row group, if they are kept."""
        return self._held.get((path, group))

    def put(self, path: str, group: int, keys: Keys) -> None:
        """Keep the keys of a row group, if there is room."""
        size = keys.bytes
        with self._lock:
            if (path, group) not in self._held and self._size + size <= self._limit:
                self._held[path, group] = keys
                self._size += size

    def find_vector(self, path: str, descriptor: VectorDescriptor) -> BitMap64 | None:
        """The deletion vector of a file, if this very one is kept."""
        held = self._vectors.get(path)
        return held[1] if held is not None and held[0] == descriptor else None

    def put_vector(self, path: str, descriptor: VectorDescriptor, vector: BitMap64) -> None:
        """Keep the deletion vector of a file in place of an older one, if there is room; it must not be changed."""
        with self._lock:
            old = self._vectors.pop(path, None)
            self._size -= _memory(*old) if old is not None else 0
            size = _memory(descriptor, vector)
            if self._size + size <= self._limit:
                self._vectors[path] = (descriptor, vector)
                self._size += size


def _memory(descriptor: VectorDescriptor, vector: BitMap64) -> int:
    """Bytes that a vector takes: a bitmap has a container for each 65,536 rows that it has one of, of 96 at least."""
    containers = min(len(vector), (vector.max() >> 16) + 1) if vector else 0
    return _VECTOR_BYTES + _CONTAINER_BYTES * containers + descriptor.size


def read_vector(storage: Storage, path: str, descriptor: VectorDescriptor, cache: KeyCache | None) -> BitMap64:
    """The deletion vector of a file, from the cache if it is there; not to be changed.

    Raises:
        FileDamagedError: as ``load_vector``.
    """
    held = cache.find_vector(path, descriptor) if cache is not None else None
    if held is not None:
        return held
    vector = load_vector(storage, descriptor)
    if cache is not None:
        cache.put_vector(path, descriptor, vector)
    return vector


def read_layout(opened: OpenFile, path: str, shape: TableShape, cache: KeyCache | None) -> Layout:
    """The row groups of a file; a file whose layout and keys are kept is not even opened."""
    held = cache.layout(path) if cache is not None else None
    if held is not None:
        return held
    layout = Layout(opened.starts, opened.group_ranges(shape.columns.key[0]))
    if cache is not None:
        cache.put_layout(path, layout)
    return layout


def read_keys(
    opened: OpenFile, path: str, layout: Layout, groups: Sequence[int], shape: TableShape, cache: KeyCache | None
) -> list[tuple[int, Keys]]:
    """Keys of row groups, each with the number of its first row; those that the cache lacks are read at once."""
    found: dict[int, Keys] = {}
    for group in groups:
        held = cache.find(path, group) if cache is not None else None
        if held is not None:
            found[group] = held
    missing = [group for group in groups if group not in found]
    data = opened.read(shape.columns.key, missing) if missing else None
    at = 0
    for group in missing:
        rows = int(layout.starts[group + 1] - layout.starts[group])
        assert data is not None
        found[group] = keys_of(data.slice(at, rows), shape)
        at += rows
        if cache is not None:
            cache.put(path, group, found[group])
    return [(int(layout.starts[group]), keys) for group, keys in found.items()]


def keep_keys(cache: KeyCache, path: str, rows: pa.Table, shape: TableShape) -> None:
    """Keep the keys of a file that was just written as one row group, so that the next merge need not read them.

    Args:
        cache: takes them.
        path: of the file.
        rows: of the file, in their order.
        shape: of the table.
    """
    # Files of this size have one row group.
    if cache.keeps_keys and rows.num_rows <= _KEPT_ROWS and rows.nbytes <= _KEPT_BYTES:
        # Without a range the row group is always searched.
        cache.put_layout(path, Layout(np.array([0, rows.num_rows], np.int64), [(0, None, None)]))
        cache.put(path, 0, keys_of(rows.select(list(shape.columns.key)), shape))


def keys_of(data: pa.Table, shape: TableShape) -> Keys:
    """Key columns in the form that they are searched in."""
    if is_integral(shape):
        values = as_integers(data.column(0))
        if bool((values[1:] > values[:-1]).all()):
            return Keys(values, None)
    frame = pl.from_arrow(data)
    assert isinstance(frame, pl.DataFrame)
    return Keys(None, frame, _words_of(data, frame))


def _words_of(data: pa.Table, frame: pl.DataFrame) -> KeyWords | None:
    columns = [whole(column) for column in data.columns]
    found = normalizer(columns)
    if found is None:
        return None
    words = found.words(columns)
    ascend = bool((words[1:] >= words[:-1]).all())
    return KeyWords(found, words) if ascend and (found.exact or is_sorted(frame, frame.columns)) else None


def is_integral(shape: TableShape) -> bool:
    """Whether the key is one column of integers, dates or timestamps."""
    if len(shape.columns.key) != 1:
        return False
    return is_counted(shape.arrow.field(shape.columns.key[0]).type)
