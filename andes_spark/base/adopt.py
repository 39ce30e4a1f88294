"""Check of the rows of an existing Delta table before it becomes the base of a table of this library.

Keys must be unique, and neither they nor sequences may be NULL. Only these columns are read, whichever engine wrote
the files; above the memory that is given, keys are sorted in a local file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.base.files import OpenFile, TableShape
from andes_spark.base.load import repeated_keys
from andes_spark.base.runs import ordered
from andes_spark.base.sorted_rows import SortedRows
from andes_spark.delta import statistics
from andes_spark.delta.actions import Action
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import Files
from andes_spark.delta.partition_values import parse_partition_value
from andes_spark.delta.vectors import load_vector, to_positions
from andes_spark.errors import BadModsError, DuplicateKeyError, UnsupportedTableError
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import WINDOW, in_windows

_SHARE = 8
"""Part of the memory that the columns of a file take as they are read."""
_SMALL_ROWS = 16 * 1024
"""Rows of a file, whose values may take more memory than in the file, up to which it is read ahead."""


@dataclass
class CheckedRows:
    """Rows of the base that were checked for keys, and are those of a table of this library.

    Attributes:
        rows: number of live rows.
        adds: actions that add files again whose statistics lack the number of rows, with it; merges need it.
    """

    rows: int = 0
    adds: list[Action] = field(default_factory=list)


def check_rows(storage: Storage, files: Files, shape: TableShape, *, memory_bytes: int) -> CheckedRows:
    """Check the live rows of a Delta table.

    Args:
        storage: the table's folder.
        files: its live files.
        shape: shape of the table that it becomes.
        memory_bytes: Arrow bytes of keys that are kept in memory.

    Raises:
        DuplicateKeyError: rows share a key; ``keys`` names some.
        BadModsError: NULL in a key or sequence column; ``reasons``.
        FileDamagedError: a file is missing or cannot be read, or has another number of rows than the log says.
        UnsupportedTableError: partition values that readers interpret differently, deleted rows without a key, or days
            of another calendar.
    """
    check = _Check(storage, shape, memory_bytes)
    key = shape.columns.key
    with SortedRows(check.key_schema, key, memory_bytes) as keys:
        for file, answer in in_windows(storage.scheduler, check.open, files.values()):
            for rows in check.live_keys(file, *answer.result()):
                keys.add(rows)
        check.refuse_nulls()
        for piece in keys.pieces():
            repeated = repeated_keys(ordered(piece, key), shape.columns)
            if repeated:
                raise DuplicateKeyError(
                    f"{shape.table}: rows share the keys {repeated}; delete all but one row of each, choose other key "
                    "columns, or create a table in another folder and apply() the rows, which keeps the one with the "
                    "highest sequence",
                    table=shape.table,
                    keys=repeated,
                )
    return check.result


class _Check:
    def __init__(self, storage: Storage, shape: TableShape, memory_bytes: int) -> None:
        self._storage = storage
        self._shape = shape
        self._batch_bytes = max(1, memory_bytes // _SHARE)
        self._nulls: Counter[str] = Counter()
        self._partitions: set[tuple[str, str | None]] = set()
        self.key_schema = pa.schema([shape.arrow.field(name).with_nullable(True) for name in shape.columns.key])
        self.result = CheckedRows()

    def open(self, file: DataFile) -> tuple[OpenFile, pa.Table | None]:
        """Open a file and read its footer, and its columns if they are small: files are opened beside each other."""
        opened, columns = OpenFile(self._storage, file.location, file, self._shape), self._shape.columns.narrow
        opened.check_calendar()
        small = opened.rows <= _SMALL_ROWS and opened.stored_bytes(columns) <= self._batch_bytes // WINDOW
        return opened, opened.read(columns) if small else None

    def live_keys(self, file: DataFile, opened: OpenFile, read: pa.Table | None) -> Iterator[pa.Table]:
        """Yield the keys of the live rows of a file; count NULLs and rows."""
        self._check_partition(file)
        if file.num_records is None:
            self.result.adds.append(with_records(file, opened.rows))
        deleted = None if file.vector is None else to_positions(load_vector(self._storage, file.vector))
        first = 0
        batches = opened.batches(self._shape.columns.narrow, self._batch_bytes) if read is None else [read]
        for data in batches:
            rows = data
            if deleted is not None:
                live = np.ones(data.num_rows, np.bool_)
                low, high = np.searchsorted(deleted, [first, first + data.num_rows])
                live[deleted[low:high] - first] = False
                rows = data.filter(pa.array(live))
                self._refuse_dead_nulls(file, data, rows)
            first += data.num_rows
            self.result.rows += rows.num_rows
            yield self._without_nulls(rows)

    def _refuse_dead_nulls(self, file: DataFile, rows: pa.Table, live: pa.Table) -> None:
        """Merges read the keys of deleted rows too, before they leave these rows out."""
        for name in rows.column_names:
            if rows[name].null_count > live[name].null_count:
                table = self._shape.table
                raise UnsupportedTableError(
                    f"{table}: {file.location} has deleted rows with NULL in {name!r}; rewrite the file without them: "
                    f"REORG TABLE delta.`{table}` APPLY (PURGE)",
                    table=table,
                    column=name,
                    feature="deleted rows without a key",
                )

    def _without_nulls(self, rows: pa.Table) -> pa.Table:
        for name in rows.column_names:
            self._nulls[name] += rows[name].null_count
        keys = rows.select(self.key_schema.names)
        for name in keys.column_names:
            if keys[name].null_count:
                keys = keys.filter(pc.is_valid(keys[name]))
        return keys

    def _check_partition(self, file: DataFile) -> None:
        for name in self._shape.partition_by:
            text = file.partition_values.get(name)
            if (name, text) in self._partitions:
                continue
            try:
                parse_partition_value(text, self._shape.schema.field(name).type)
            except UnsupportedTableError as error:
                raise UnsupportedTableError(
                    f"{self._shape.table}: column {name!r}: {error.message}",
                    **{**error.fields, "table": self._shape.table, "column": name},
                ) from error
            self._partitions.add((name, text))

    def refuse_nulls(self) -> None:
        """Refuse NULLs in key and sequence columns."""
        reasons = {f"NULL in {name!r}": count for name, count in self._nulls.items() if count}
        if reasons:
            described = ", ".join(f"{count} rows with {reason}" for reason, count in reasons.items())
            raise BadModsError(
                f"{self._shape.table}: {described}: key and sequence columns are never NULL; delete or update these "
                "rows, or choose other columns",
                table=self._shape.table,
                quarantined=sum(reasons.values()),
                reasons=reasons,
            )


def with_records(file: DataFile, rows: int) -> Action:
    """Build the ``add`` of a file again, with the number of its rows in its statistics."""
    stats = statistics.parse_verbatim(file.stats_text)
    stats["numRecords"] = rows
    if file.vector is not None:
        stats.setdefault("tightBounds", False)
    return {"add": {**file.add, "dataChange": False, "stats": statistics.dumps(stats)}}
