"""Rows in any order, read back in pieces by ranges of the key: in memory up to a size, beyond it from a local file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from andes_spark.base.runs import ordered
from andes_spark.run.spill import Spill


class SortedRows:
    """A collection of rows; a context manager, since it may keep a local file.

    Args:
        schema: of the rows; values of the key are not NULL.
        key: names of the key columns.
        memory_bytes: Arrow bytes of the rows that are kept in memory, and of a piece.
    """

    def __init__(self, schema: pa.Schema, key: tuple[str, ...], memory_bytes: int) -> None:
        self._schema = schema
        self._key = key
        self._memory_bytes = max(1, memory_bytes)
        self._parts: list[pa.Table] = []
        self._size = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._spill: Spill | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spill is not None:
            self._spill.__exit__(kind, error, trace)
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, rows: pa.Table) -> None:
        """Add rows.

        Raises:
            StorageFullError: the local disk is full.
        """
        if rows.num_rows == 0:
            return
        self._parts.append(rows)
        self._size += rows.nbytes
        if self._size > self._memory_bytes:
            self._write()

    def pieces(self) -> Iterator[pa.Table]:
        """Yield all rows, once: each piece holds all rows of a range of keys, in no order, ranges ascending."""
        if self._spill is None:
            if self._parts:
                yield pa.concat_tables(self._parts)
            return
        self._write()
        self._spill.close()
        yield from self._spill.merged(self._spill.runs, self._memory_bytes)

    def _write(self) -> None:
        if not self._parts:
            return
        if self._spill is None:
            self._folder = tempfile.TemporaryDirectory(prefix="andes-rows-")
            self._spill = Spill(Path(self._folder.name), self._schema, self._key, ())
        rows = pa.concat_tables(self._parts)
        self._parts, self._size = [], 0
        self._spill.add(ordered(rows, self._key))
