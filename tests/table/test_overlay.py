"""A fresh read of Spark is the base without some keys, and other rows: put together here, without Spark."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.law.order import above
from andes_spark.log.pending import Pending
from andes_spark.settings import Settings
from andes_spark.spark.reads import Overlay, _where_late
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.table.verbs.read import Selection, pin, row_parts
from andes_spark.testing.tables import create
from tests.expires import take
from tests.interleave import World
from tests.interleave_rows import difference

ORDERED = ("int", "two", "decimal", "timestamp", "string")


def overlaid(table: ModTable, version: int) -> pa.Table:
    """Rows of a version as ``read_snapshot`` puts them together."""
    open_table = table._open_table
    inputs = pin(open_table, version).inputs
    shape, names = inputs.shape, tuple(inputs.shape.schema.names)
    alone = EvaluationInput(shape, Pending((), ()), inputs.files)
    parts = row_parts(open_table.storage, alone, Settings(), Selection(names, names, None, None))
    base = pa.concat_tables([shape.arrow.empty_table(), *(part.select(names).cast(shape.arrow) for part in parts)])
    rows = pl.from_arrow(base)
    assert isinstance(rows, pl.DataFrame)
    if inputs.erased:
        rows = rows.clear()
    elif inputs.pending.truncates and inputs.swept is not None:
        sequence = [pl.col(name) for name in shape.columns.sequence]
        rows = rows.filter(above(sequence, [pl.lit(value) for value in inputs.swept]))
    if inputs.pending.rows == 0:
        return rows.to_arrow().cast(shape.arrow)
    overlay = Overlay(open_table.storage, _where_late(inputs), 1)
    evaluation = overlay.evaluate(None, None)
    keys = pl.from_arrow(overlay.keys(evaluation))
    assert isinstance(keys, pl.DataFrame)
    kept = rows.join(keys, on=list(shape.columns.key), how="anti").to_arrow().cast(shape.arrow)
    return pa.concat_tables([kept, evaluation.rows.select(names).cast(shape.arrow)])


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 24))])
def test_base_and_overlay_are_the_rows_of_each_version(seed: int) -> None:
    truncates, sequences = seed % 2 == 0, ORDERED if seed % 4 else ("int", "none")
    world = World(800_000 + seed, nested=0.0, truncates=truncates, sequences=sequences, expiring=0.35)
    for _ in range(8):
        world.step()
    head = len(world.versions)
    for version in range(head):
        if world.vacuums.readable(world, version, head):
            for handle in (world.tables[0], ModTable.open(world.storage)):
                rows = world.rows_of(overlaid(handle, version))
                expected = world.expected(version)
                assert rows == expected, f"version {version}: {difference(rows, expected)}"


@pytest.mark.parametrize(
    ("steps", "row"),
    [
        ("U5 M D8 X10 U3b T4b", None),
        ("U5 M D8 X10 T4b", None),
        ("U5 M T8 X10 U3b", "U3b"),
        ("U5 M D8 X10 U3b", "U3b"),
        ("U5 M X10 U3b", "U5"),
        ("D7 M X10 U3b", "U3b"),
        ("U5 M X10 D6", "U5"),
    ],
)
def test_keys_that_cross_an_expire(steps: str, row: str | None) -> None:
    table = create(MemoryStorage())
    for step in steps.split():
        take(table, step)
    rows = overlaid(table, table.version)
    assert rows["a"].to_pylist() == ([] if row is None else [row])
    assert rows.equals(table.to_arrow())
