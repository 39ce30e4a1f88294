"""Live files of a Delta table in Arrow columns, one row per ``add`` action, shared by the states of many versions.

Statistics stay JSON text. They are read into typed columns, one column of the table at a time, when they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.delta.action_columns import ADD, ActionRow, as_kind, plain, to_columns, union
from andes_spark.delta.data_file import ARROW_TAG, EXPANSION, DataFile
from andes_spark.delta.paths import decode_path
from andes_spark.delta.ranges import Ranges, partition_ranges, range_type, read_statistics
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import LogDamagedError
from andes_spark.schema.arrow_values import array_of, indices_of, numpy_of, scalar_of
from andes_spark.schema.schema import DataType

Ints = npt.NDArray[np.int64]
_SPECIAL = r"[%:]|^\.?/|(^|/)\.\.(/|$)"
"""Paths that are not their own decoded form, or that may be refused."""


class Segment:
    """Files of one checkpoint, or of many entries.

    Args:
        adds: the actions.

    Raises:
        LogDamagedError: an action lacks a path or a size, or has a malformed vector.
        UnsupportedTableError: an absolute path, or a vector of an unsupported kind; ``feature``.
    """

    def __init__(self, adds: pa.StructArray) -> None:
        self.adds = adds
        paths, sizes = adds.field("path"), adds.field("size")
        if paths.null_count or sizes.null_count:
            raise LogDamagedError("an add action without a path or a size")
        self.locations = _decoded(paths)
        self.sizes: Ints = numpy_of(sizes).astype(np.int64, copy=False)
        self.deleted: Ints = np.zeros(len(adds), np.int64)
        self._vectors = self._read_vectors()
        self._records: Ints | None = None
        self._ranges: dict[tuple[str, DataType], Ranges] = {}
        self._hashes: Ints | None = None
        self._by_hash: Ints | None = None

    def __len__(self) -> int:
        return len(self.adds)

    @classmethod
    def of_actions(cls, actions: list[Mapping[str, Any]]) -> Segment:
        """Build a segment of raw actions."""
        return cls(to_columns(actions, ADD))

    def extended(self, rows: Ints, more: Segment) -> Segment:
        """Build a segment of some rows of this one and all of another; typed columns that both have are kept."""
        kind = union(self.adds.type, more.adds.type)
        parts = [as_kind(self.adds.take(indices_of(rows)), kind), as_kind(more.adds, kind)]
        joined = Segment(pa.concat_arrays(parts))
        if self._records is not None:
            joined._records = np.concatenate([self._records[rows], more.records])
        joined._ranges = {
            column: ranges.pick(rows).followed_by(more._ranges[column])
            for column, ranges in self._ranges.items()
            if column in more._ranges
        }
        return joined

    @property
    def records(self) -> Ints:
        """Number of records of each file, ``UNKNOWN`` where statistics lack it."""
        if self._records is None:
            self._records, _ = read_statistics(self._texts(), {})
        return self._records

    @property
    def arrow_bytes(self) -> Ints:
        """Size of the rows of each file in Arrow's memory format, estimated for files of other writers."""
        estimates = self.sizes * EXPANSION
        if not self._has("tags") or not len(self):
            return estimates
        texts = pl.from_arrow(pc.map_lookup(self.adds.field("tags"), scalar_of(ARROW_TAG, pa.string()), "last"))
        assert isinstance(texts, pl.Series)
        known = texts.str.extract("^([0-9]{1,18})$").cast(pl.Int64)
        values: Ints = np.where(known.is_null().to_numpy(), estimates, known.fill_null(0).to_numpy())
        return values

    def ranges(self, name: str, type_: DataType, *, partition: bool) -> Ranges | None:
        """Return the ranges of a column; None for a type without ranges."""
        if range_type(type_) is None:
            return None
        # The type of a column may become wider, and its ranges with it.
        column = (name, type_)
        if column not in self._ranges:
            if partition:
                self._ranges[column] = partition_ranges(self._partition_texts(name), type_)
            else:
                self._records, ranges = read_statistics(self._texts(), {name: type_})
                self._ranges[column] = ranges[name]
        return self._ranges[column]

    def file(self, row: int) -> DataFile:
        """Return the file of a row."""
        return DataFile(
            self.adds.field("path")[row].as_py(),
            self._partition_values(row),
            int(self.sizes[row]),
            ActionRow(self.adds, row),
            self._vectors.get(row),
            None if self._records is None else int(self._records[row]),
        )

    def location(self, row: int) -> str:
        """Return the path of a file in the table's folder."""
        location: str = self.locations[row].as_py()
        return location

    def row(self, location: str) -> int | None:
        """Return the row of a file; None if it is not in the segment."""
        if self._hashes is None:
            hashes = np.fromiter((hash(text) for text in self.locations.to_pylist()), np.int64, len(self))
            self._by_hash = np.argsort(hashes, kind="stable")
            self._hashes = hashes[self._by_hash]
        assert self._by_hash is not None
        hashed = hash(location)
        at = int(np.searchsorted(self._hashes, hashed))
        while at < len(self._hashes) and self._hashes[at] == hashed:
            row = int(self._by_hash[at])
            if self.location(row) == location:
                return row
            at += 1
        return None

    def repeated_path(self) -> bool:
        """Return whether two actions name one file."""
        return len(pc.unique(self.locations)) < len(self)

    def _read_vectors(self) -> dict[int, VectorDescriptor]:
        if self.adds.type.get_field_index("deletionVector") < 0:
            return {}
        column = self.adds.field("deletionVector")
        vectors = {}
        for row in np.flatnonzero(numpy_of(column.is_valid())).tolist():
            vectors[row] = VectorDescriptor.from_json(plain(column[row]))
            self.deleted[row] = vectors[row].cardinality
        return vectors

    def _texts(self) -> list[str | None]:
        texts: list[str | None] = self.adds.field("stats").to_pylist() if self._has("stats") else [None] * len(self)
        return texts

    def _partition_texts(self, name: str) -> list[str | None]:
        if not self._has("partitionValues"):
            return [None] * len(self)
        values = pc.map_lookup(self.adds.field("partitionValues"), scalar_of(name, pa.string()), "last")
        texts: list[str | None] = values.to_pylist()
        return texts

    def _partition_values(self, row: int) -> Mapping[str, str | None]:
        values = plain(self.adds.field("partitionValues")[row]) if self._has("partitionValues") else None
        return values or {}

    def _has(self, name: str) -> bool:
        return bool(self.adds.type.get_field_index(name) >= 0)


def _decoded(paths: pa.Array) -> pa.Array:
    """Paths in the table's folder from those of the log."""
    special = np.flatnonzero(numpy_of(pc.match_substring_regex(paths, _SPECIAL)))
    if not len(special):
        if any(text == "" for text in pc.unique(pc.utf8_slice_codeunits(paths, 0, 1)).to_pylist()):
            decode_path("")
        return paths
    texts = paths.to_pylist()
    return array_of([decode_path(text) for text in texts], pa.string())
