"""Difference of two states of the base: the rows that a foreign write added, changed and removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.files import TableShape, numbered_files
from andes_spark.delta.files import Files
from andes_spark.log.pending import Pending
from andes_spark.model.display import count_text
from andes_spark.table.history.comparison import CHANGE_TYPE, Comparison
from andes_spark.table.open_table import OpenTable

DELETED, INSERTED, UPDATED = "delete", "insert", "update_postimage"
"""Kinds of changed rows."""


@dataclass(frozen=True)
class RowCounts:
    """Numbers of rows by what a foreign write did to them.

    Attributes:
        added: rows whose keys had no row before.
        changed: rows that have other values than before.
        removed: rows whose keys have none any more.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0

    def text(self) -> str:
        """Describe the counts."""
        counts = {"added": self.added, "changed": self.changed, "removed": self.removed}
        parts = [f"{count_text(count, 'rows')} {verb}" for verb, count in counts.items() if count]
        return ", ".join(parts) or "no row changed"


def changed_rows(open_table: OpenTable, shape: TableShape, before: Files, after: Files) -> Iterator[pa.RecordBatch]:
    """Yield the rows by which two states differ, with the kind of each change, in the order of the keys.

    Only files that are not in both are read. Keys are unique in both states.

    Args:
        open_table: the table.
        shape: shape of the rows.
        before: files of the earlier state.
        after: files of the later state.
    """
    none = Pending((), ())
    sides = [EvaluationInput(shape, none, numbered_files(files)) for files in (before, after)]
    comparison = Comparison(
        storage=open_table.storage,
        settings=open_table.settings,
        before=sides[0],
        after=sides[1],
        touched=None,
        earlier=0,
        later=0,
        time=0,
        names=tuple(shape.columns.narrow),
        before_images=False,
    )
    yield from comparison.batches(comparison.ranges())


def count_rows(batches: Iterator[pa.RecordBatch]) -> RowCounts:
    """Count changed rows by their kind."""
    counts: Counter[str] = Counter()
    for batch in batches:
        for kind in batch.column(CHANGE_TYPE).value_counts().to_pylist():
            counts[kind["values"]] += kind["counts"]
    return RowCounts(counts[INSERTED], counts[UPDATED], counts[DELETED])
