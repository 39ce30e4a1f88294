"""Whatever is interleaved with whatever, Spark shows the rows that the oracle gives, at every version."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import VersionExpiredError
from andes_spark.spark.arrow_frames import arrow_table
from tests.interleave import World
from tests.interleave_rows import difference
from tests.spark.batches import HERE, TASKS

FEWEST = 5
SHARE = 50
STEPS = 4
FILTERS: dict[str, Any] = {
    "a = 'x' OR b = 0": lambda row: row["a"] == "x" or row["b"] == 0,
    "part IS NULL": lambda row: row["part"] is None,
    "must = 'm' AND a IS NOT NULL": lambda row: row["must"] == "m" and row["a"] is not None,
}


class Watched:
    """A world on disk, and a handle of its own that reads it with Spark, here or in tasks."""

    def __init__(self, spark: Any, folder: str, seed: int) -> None:
        self.random = random.Random(seed)
        partials, expiring = seed % 2 == 0 or None, 0.3 if seed % 3 == 0 else 0.08
        self.world = World(seed, folder=folder, nested=0.0, partials=partials, expiring=expiring)
        self.spark = spark
        self.table = ModTable.open(folder, spark=spark, settings=TASKS if seed % 8 == 7 else HERE)

    def check(self, version: int | None) -> None:
        """Compare a version, None for the newest, whole and filtered."""
        world = self.world
        head = len(world.versions) - 1
        if version is not None and not world.vacuums.readable(world, version, head):
            with pytest.raises(VersionExpiredError):
                self.table.read(version=version)
            return
        frame = self.table.read(version=version)
        at = head if version is None else version
        fields = [*world.schema, *(pa.field(name, kind) for name, kind in world.alters.at(at).items())]
        schema = pa.schema([field.with_nullable(True) for field in fields])
        assert frame.columns == schema.names
        expected = world.expected(at)
        rows = world.rows_of(arrow_table(frame).cast(schema))
        assert rows == expected, f"version {version}: {difference(rows, expected)}"
        text = self.random.choice(tuple(FILTERS))
        names = world.alters.names(at)
        kept = [row for _, row in expected.values() if FILTERS[text](dict(zip(names, row, strict=True)))]
        assert frame.where(text).count() == len(kept), f"version {version} where {text}"


@pytest.mark.slow
def test_interleavings_equal_the_oracle(spark, tmp_path, pytestconfig):
    count = max(FEWEST, pytestconfig.getoption("--interleavings") // SHARE)
    for seed in range(400_000, 400_000 + count):
        watched = Watched(spark, str(tmp_path / str(seed)), seed)
        try:
            for _ in range(STEPS):
                watched.world.step()
                watched.check(None)
            watched.check(watched.random.randrange(len(watched.world.versions)))
            watched.world.finish()
            watched.check(None)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {watched.world}: {type(error).__name__}: {error}") from error
