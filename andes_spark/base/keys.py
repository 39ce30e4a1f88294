"""In-memory cache of base files from merge to merge: keys, deletion vectors, and tombstones."""

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
from andes_spark.base.key_folder import Image, KeyFolder, image_name
from andes_spark.base.packed import PackedIntegers
from andes_spark.delta.vectors import VectorDescriptor, load_vector
from andes_spark.law.keys.normalized import Normalizer, normalizer
from andes_spark.law.order import is_sorted
from andes_spark.schema.arrow_types import as_integers, is_counted, whole
from andes_spark.storage.interface import Storage
from andes_spark.storage.paged_file import FileIndex

Ints = npt.NDArray[np.int64]

_KEPT_ROWS = 100_000
_KEPT_BYTES = 32 * 1024 * 1024
_VECTOR_BYTES = 1_000
_CONTAINER_BYTES = 96
"""Estimated memory of a container of a bitmap."""


@dataclass(frozen=True)
class Keys:
    """The keys of one row group, in memory or in a local folder.

    Attributes:
        integers: keys of one column with ascending integers.
        frame: other keys. Those of tombstone files are kept with their other columns.
        words: of the rows of the frame, or of ``mapped``, if they are sorted by key and their types can be searched.
        packed: in place of ``integers``, where they take less memory so.
        mapped: in place of ``frame``, rows in a file of a local folder.
        in_folder: whether these keys are in such a file, which takes no memory of ours.
    """

    integers: Ints | None
    frame: pl.DataFrame | None
    words: KeyWords | None = None
    packed: PackedIntegers | None = None
    mapped: pa.Table | None = None
    in_folder: bool = False

    @property
    def bytes(self) -> int:
        """The memory of the keys in bytes."""
        if self.in_folder:
            return 0
        if self.packed is not None:
            return self.packed.bytes
        if self.integers is not None:
            return int(self.integers.nbytes)
        words = 0 if self.words is None else int(self.words.values.nbytes)
        return words + (0 if self.frame is None else int(self.frame.estimated_size()))


@dataclass(frozen=True)
class MarkedFile:
    """A file with a footer mark, whose keys may be in a local folder.

    Attributes:
        path: path of the file.
        mark: its footer mark.
        key: names and types of the key columns.
    """

    path: str
    mark: str
    key: tuple[tuple[str, pa.DataType], ...]

    @classmethod
    def of(cls, path: str, mark: str | None, shape: TableShape) -> MarkedFile | None:
        """Return None for a file without a mark."""
        key = tuple((name, shape.arrow.field(name).type) for name in shape.columns.key)
        return None if mark is None else cls(path, mark, key)

    def image(self, group: int) -> str:
        """Return the name of the image of a row group."""
        return image_name(self.path, self.mark, group, self.key)


@dataclass(frozen=True)
class KeyWords:
    """Sorted keys as numbers for binary search.

    Attributes:
        normalizer: normalizer of the keys.
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
    """Keys, layouts and deletion vectors of files, by path. Thread-safe.

    Files never change, so entries stay valid; a vector is looked up by its descriptor, since merges replace it. Entries
    are kept while they fit, and only files that left the table are dropped: with a table larger than the limit, each
    entry would otherwise be evicted before its next use.

    Args:
        limit_bytes: maximum size.
        folder: receives the keys that are read, which take no memory then; None for none.
    """

    def __init__(self, limit_bytes: int, folder: KeyFolder | None = None) -> None:
        self._limit = limit_bytes
        self._folder = folder
        self._recalled: set[str] = set()
        self._keys: dict[tuple[str, int], Keys] = {}
        self._layouts: dict[str, Layout] = {}
        self._vectors: dict[str, tuple[VectorDescriptor, BitMap64]] = {}
        self._indexes: dict[str, FileIndex] = {}
        self._pages: dict[str, int] = {}
        self._size = 0
        self._lock = threading.Lock()

    def retain(self, paths: Collection[str]) -> None:
        """Drop the keys of all files but these."""
        with self._lock:
            self._keys = {place: keys for place, keys in self._keys.items() if place[0] in paths}
            self._layouts = {path: layout for path, layout in self._layouts.items() if path in paths}
            self._vectors = {path: vector for path, vector in self._vectors.items() if path in paths}
            self._indexes = {path: index for path, index in self._indexes.items() if path in paths}
            self._recalled &= set(paths)
            self._pages = {path: pages for path, pages in self._pages.items() if path in paths}
            self._size = sum(keys.bytes for keys in self._keys.values())
            self._size += sum(index.bytes for index in self._indexes.values())
            self._size += sum(_memory(*entry) for entry in self._vectors.values())

    @property
    def keeps_keys(self) -> bool:
        """Whether the limit allows keys at all."""
        return self._limit > 0 or self._folder is not None

    def layout(self, path: str) -> Layout | None:
        """Return the layout of a file, None if not cached."""
        return self._layouts.get(path)

    def put_layout(self, path: str, layout: Layout) -> None:
        """Add the layout of a file."""
        if self.keeps_keys:
            with self._lock:
                self._layouts[path] = layout

    def holds(self, path: str) -> bool:
        """Return whether all keys of a file are cached."""
        layout = self._layouts.get(path)
        return layout is not None and all((path, group) in self._keys for group, _, _ in layout.ranges)

    def find(self, path: str, group: int) -> Keys | None:
        """Return the keys of a row group, None if not cached."""
        return self._keys.get((path, group))

    def put(self, path: str, group: int, keys: Keys) -> None:
        """Add the keys of a row group, within the limit."""
        size = keys.bytes
        with self._lock:
            if (path, group) not in self._keys and self._size + size <= self._limit:
                self._keys[path, group] = keys
                self._size += size

    def put_in_folder(self, file: MarkedFile, layout: Layout, group: int, keys: Keys) -> bool:
        """Write the keys of a row group to the folder, if there is one, and use them from there.

        Integers that cannot be packed stay out: an image would be as large as the column in the file.

        Returns:
            Whether they are there.
        """
        if self._folder is None or keys.integers is not None:
            return False
        image = self._folder.put(file.image(group), image_of(keys, layout.starts))
        if image is not None:
            with self._lock:
                self._keys[file.path, group] = keys_in(image)
        return image is not None

    def recall(self, file: MarkedFile) -> None:
        """Find the keys of a file in the folder, if all of them are there; the folder is searched once."""
        images: list[Image] = []
        with self._lock:
            tried = file.path in self._recalled
            self._recalled.add(file.path)
        while self._folder is not None and not tried:
            image = self._folder.find(file.image(len(images)))
            if image is None:
                return
            images.append(image)
            if len(images) == len(image.starts) - 1:
                break
        if images:
            with self._lock:
                self._keys |= {(file.path, group): keys_in(image) for group, image in enumerate(images)}
                # A row group without a range is always searched.
                self._layouts[file.path] = Layout(
                    images[0].starts, [(group, None, None) for group in range(len(images))]
                )

    def find_vector(self, path: str, descriptor: VectorDescriptor) -> BitMap64 | None:
        """Return the deletion vector of a file, None if this one is not cached."""
        entry = self._vectors.get(path)
        return entry[1] if entry is not None and entry[0] == descriptor else None

    def put_vector(self, path: str, descriptor: VectorDescriptor, vector: BitMap64) -> None:
        """Replace the deletion vector of a file, within the limit; callers must not change it."""
        with self._lock:
            old = self._vectors.pop(path, None)
            self._size -= _memory(*old) if old is not None else 0
            size = _memory(descriptor, vector)
            if self._size + size <= self._limit:
                self._vectors[path] = (descriptor, vector)
                self._size += size

    def find_index(self, path: str) -> FileIndex | None:
        """Return the page index of a file, None if not cached."""
        return self._indexes.get(path)

    def put_index(self, path: str, index: FileIndex) -> None:
        """Add the page index of a file, within the limit."""
        size = index.bytes
        with self._lock:
            if path not in self._indexes and self._size + size <= self._limit:
                self._indexes[path] = index
                self._size += size

    def has_room(self, size: int) -> bool:
        """Return whether keys of a size would be kept."""
        return self._folder is not None or self._size + size <= self._limit

    def note_pages(self, path: str, pages: int) -> int:
        """Count key pages of a file that are read; return how many were read so far."""
        with self._lock:
            self._pages[path] = self._pages.get(path, 0) + pages
            return self._pages[path]


def _memory(descriptor: VectorDescriptor, vector: BitMap64) -> int:
    """Estimate the memory of a vector: a bitmap has a container for each range of 65,536 rows with a deleted one."""
    containers = min(len(vector), (vector.max() >> 16) + 1) if vector else 0
    return _VECTOR_BYTES + _CONTAINER_BYTES * containers + descriptor.size


def read_vector(storage: Storage, path: str, descriptor: VectorDescriptor, cache: KeyCache | None) -> BitMap64:
    """Return the deletion vector of a file, cached if possible; callers must not change it.

    Raises:
        FileDamagedError: as ``load_vector``.
    """
    cached = cache.find_vector(path, descriptor) if cache is not None else None
    if cached is not None:
        return cached
    vector = load_vector(storage, descriptor)
    if cache is not None:
        cache.put_vector(path, descriptor, vector)
    return vector


def read_layout(opened: OpenFile, path: str, shape: TableShape, cache: KeyCache | None) -> Layout:
    """Return the row groups of a file; a file with cached layout and keys is not opened."""
    cached = cache.layout(path) if cache is not None else None
    if cached is not None:
        return cached
    layout = Layout(opened.starts, opened.group_ranges(shape.columns.key[0]))
    if cache is not None:
        cache.put_layout(path, layout)
    return layout


def read_keys(
    opened: OpenFile,
    path: str,
    mark: str | None,
    layout: Layout,
    groups: Sequence[int],
    shape: TableShape,
    cache: KeyCache | None,
) -> list[tuple[int, Keys]]:
    """Return keys of row groups, each with the number of its first row; keys missing in the cache are read together."""
    marked = MarkedFile.of(path, mark, shape)
    keys_by_group: dict[int, Keys] = {}
    for group in groups:
        cached = cache.find(path, group) if cache is not None else None
        if cached is not None:
            keys_by_group[group] = cached
    missing = [group for group in groups if group not in keys_by_group]
    data = opened.read(shape.columns.key, missing) if missing else None
    at = 0
    for group in missing:
        rows = int(layout.starts[group + 1] - layout.starts[group])
        assert data is not None
        keys_by_group[group] = keys_of(data.slice(at, rows), shape)
        at += rows
        if cache is not None:
            keys = packed(keys_by_group[group])
            if marked is None or not cache.put_in_folder(marked, layout, group, keys):
                cache.put(path, group, keys)
    return [(int(layout.starts[group]), keys) for group, keys in keys_by_group.items()]


def keep_keys(cache: KeyCache, path: str, rows: pa.Table, shape: TableShape) -> None:
    """Cache the keys of a new file with one row group, so that the next merge does not read them.

    Args:
        cache: receives the keys.
        path: path of the file.
        rows: of the file, in order.
        shape: shape of the table.
    """
    # Files of this size have one row group.
    if cache.keeps_keys and rows.num_rows <= _KEPT_ROWS and rows.nbytes <= _KEPT_BYTES:
        # A row group without a range is always searched.
        cache.put_layout(path, Layout(np.array([0, rows.num_rows], np.int64), [(0, None, None)]))
        cache.put(path, 0, packed(keys_of(rows.select(list(shape.columns.key)), shape)))


def packed(keys: Keys) -> Keys:
    """Return keys as they are kept in memory: integers packed."""
    small = None if keys.integers is None else PackedIntegers.of(keys.integers)
    return keys if small is None else Keys(None, None, packed=small)


def image_of(keys: Keys, starts: Ints) -> Image:
    """Return keys as they are kept in a local folder."""
    if keys.packed is not None:
        return Image(starts, packed=keys.packed)
    assert keys.frame is not None
    rows = keys.frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return (
        Image(starts, rows=rows)
        if keys.words is None
        else Image(starts, None, rows, keys.words.normalizer, keys.words.values)
    )


def keys_in(image: Image) -> Keys:
    """Return the keys of an image."""
    if image.packed is not None:
        return Keys(None, None, packed=image.packed, in_folder=True)
    words = None if image.normalizer is None else KeyWords(image.normalizer, image.words)
    return Keys(None, None, words, mapped=image.rows, in_folder=True)


def keys_of(data: pa.Table, shape: TableShape) -> Keys:
    """Convert key columns to their form for searches."""
    if is_integral(shape):
        values = as_integers(data.column(0))
        if bool((values[1:] > values[:-1]).all()):
            return Keys(values, None)
    frame = pl.from_arrow(data)
    assert isinstance(frame, pl.DataFrame)
    return Keys(None, frame, _words_of(data, frame))


def _words_of(data: pa.Table, frame: pl.DataFrame) -> KeyWords | None:
    columns = [whole(column) for column in data.columns]
    word_maker = normalizer(columns)
    if word_maker is None:
        return None
    words = word_maker.words(columns)
    ascend = bool((words[1:] >= words[:-1]).all())
    return KeyWords(word_maker, words) if ascend and (word_maker.exact or is_sorted(frame, frame.columns)) else None


def is_integral(shape: TableShape) -> bool:
    """Return whether the key is one column of integers, dates or timestamps."""
    if len(shape.columns.key) != 1:
        return False
    return is_counted(shape.arrow.field(shape.columns.key[0]).type)
