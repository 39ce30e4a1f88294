"""The base after each kind of merge, and after Delta's own upkeep between merges, as every reader sees it."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema, Settings
from andes_spark.spark.arrow_frames import arrow_table
from tests.conformance.test_delta_protocol import READERS, write_deltas_checkpoint

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DDL = """k BIGINT, name STRING, seq BIGINT, s STRING, d DECIMAL(20,3), g DOUBLE, ts TIMESTAMP, arr ARRAY<INT>,
    st STRUCT<x: INT, y: STRING>, part STRING"""
COLUMNS = Schema.from_ddl(DDL).to_arrow()
PARTS = ["a b/c=%41é'\"", "x", None, "[0]*?"]
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
Row = dict[str, Any]


class Oracle:
    """The law in a few lines: for each key its greatest mod, nothing at or below a truncate."""

    def __init__(self, key: tuple[str, ...]) -> None:
        self.key = key
        self.state: dict[tuple[Any, ...], tuple[int, Row | None]] = {}
        self.mark = -1

    def upsert(self, rows: list[Row], names: list[str] | None = None) -> None:
        for row in rows:
            key = tuple(row[name] for name in self.key)
            seq, old = self.state.get(key, (-1, None))
            if row["seq"] >= seq and row["seq"] > self.mark and not (row["seq"] == seq and old is None):
                new = row if names is None else {**(old or {}), **{n: row[n] for n in (*names, "seq", *self.key)}}
                self.state[key] = (row["seq"], new)

    def delete(self, rows: list[Row]) -> None:
        for row in rows:
            key = tuple(row[name] for name in self.key)
            if row["seq"] >= self.state.get(key, (-1, None))[0] and row["seq"] > self.mark:
                self.state[key] = (row["seq"], None)

    def truncate(self, seq: int) -> None:
        self.mark = max(self.mark, seq)
        self.state = {key: entry for key, entry in self.state.items() if entry[0] > seq}

    @property
    def rows(self) -> list[Row]:
        rows = [row for _, row in self.state.values() if row is not None]
        return sorted(rows, key=lambda row: tuple(row[name] for name in self.key))


class Scenario:
    """A table and its oracle, driven side by side."""

    def __init__(self, path: Path, key: tuple[str, ...], **options: Any) -> None:
        self.key = key
        self.random = random.Random(7)
        self.seq = 0
        self.oracle = Oracle(key)
        rows = self.rows(range(400))
        self.oracle.upsert(rows)
        self.table = ModTable.create(
            path,
            DDL,
            primary_key=key,
            sequence_by=["seq"],
            merge="manual",
            data=pa.Table.from_pylist(rows, schema=COLUMNS),
            **options,
        )

    def rows(self, keys: range | list[int], *, late: bool = False) -> list[Row]:
        mods = []
        for k in keys:
            self.seq += 1
            n = self.random.randrange(1000)
            mods.append(
                {
                    "k": k,
                    "name": f"näme {k % 50}",
                    "seq": self.seq - (300 if late else 0),
                    "s": None if n % 5 == 0 else f"v{n}'",
                    "d": Decimal(n).scaleb(-3),
                    "g": n / 3,
                    "ts": START + datetime.timedelta(microseconds=n),
                    "arr": [n, None],
                    "st": None if n % 7 == 0 else {"x": n, "y": None},
                    "part": PARTS[k % 4],
                }
            )
        return mods

    def some(self, number: int) -> list[int]:
        return sorted(self.random.sample(range(500), number))

    def upserts(self, number: int = 60, *, late: bool = False) -> None:
        rows = self.rows(self.some(number), late=late)
        self.oracle.upsert(rows)
        self.table.apply(pa.Table.from_pylist(rows, schema=COLUMNS))

    def deletes(self, number: int = 40) -> None:
        rows = self.rows(self.some(number))
        self.oracle.delete(rows)
        data = pa.Table.from_pylist(rows, schema=COLUMNS)
        self.table.apply(data.select([*self.key, "seq"]), apply_as_deletes="true")

    def partials(self, number: int = 40) -> None:
        existing = [row["k"] for row in self.oracle.rows]
        rows = self.rows(sorted(self.random.sample(existing, number)))
        self.oracle.upsert(rows, ["s", "arr"])
        data = pa.Table.from_pylist(rows, schema=COLUMNS)
        self.table.apply(data.select([*self.key, "seq", "s", "arr"]), column_list=["s", "arr"])

    def truncate(self) -> None:
        at = self.seq - 90
        self.oracle.truncate(at)
        row = dict.fromkeys(COLUMNS.names) | {"seq": at}
        self.table.apply(pa.Table.from_pylist([row], schema=COLUMNS), apply_as_truncates="true")

    def check(self, spark: SparkSession, step: str) -> None:
        """All readers of the merged table, and the library itself, against the oracle."""
        expected = self.oracle.rows
        assert self.shown(self.table.to_arrow()) == expected, step
        for name, read in READERS.items():
            assert self.shown(read(spark, self.table.url)) == expected, (step, name)

    def shown(self, arrow_rows: pa.Table) -> list[Row]:
        schema = pa.schema([field.with_nullable(True) for field in COLUMNS])
        table = pa.Table.from_arrays([arrow_rows[column.name].cast(column.type) for column in schema], schema=schema)
        rows: list[Row] = table.to_pylist()
        return sorted(rows, key=lambda row: tuple(row[name] for name in self.key))


def optimize(spark: SparkSession, table: ModTable) -> None:
    spark.sql(f"OPTIMIZE delta.`{table.url}`")


def vacuum(spark: SparkSession, table: ModTable) -> None:
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    try:
        spark.sql(f"VACUUM delta.`{table.url}` RETAIN 0 HOURS")
    finally:
        spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")


def purge(spark: SparkSession, table: ModTable) -> None:
    spark.sql(f"REORG TABLE delta.`{table.url}` APPLY (PURGE)")


def checkpoint(spark: SparkSession, table: ModTable) -> None:
    write_deltas_checkpoint(spark, table.url)


VARIANTS: dict[str, dict[str, Any]] = {
    "vectors": {"key": ("k",)},
    "rewritten": {"key": ("k",), "deletion_vectors": False},
    "partitioned": {"key": ("k",), "partition_by": ["part"]},
    "string keys": {"key": ("name", "k"), "partition_by": ["part"], "deletion_vectors": False},
}


@pytest.fixture(params=list(VARIANTS))
def scenario(request, tmp_path) -> Scenario:
    options = dict(VARIANTS[request.param])
    settings = Settings(compact_bytes=0, checkpoint_interval=4)
    return Scenario(tmp_path / "a táble", options.pop("key"), settings=settings, **options)


def test_all_readers_see_the_oracles_rows_after_each_kind_of_merge(spark, scenario):
    scenario.check(spark, "load")
    kinds: list[tuple[str, Callable[[], None]]] = [
        ("upserts", scenario.upserts),
        ("deletes", scenario.deletes),
        ("late", lambda: scenario.upserts(late=True)),
        ("partials", scenario.partials),
        ("truncate", scenario.truncate),
    ]
    for name, run in kinds:
        run()
        assert scenario.shown(scenario.table.to_arrow()) == scenario.oracle.rows, f"pending {name}"
        assert scenario.table.merge().status == "merged"
        scenario.check(spark, name)
    for _ in range(3):
        scenario.upserts(20)
        scenario.deletes(10)
        scenario.table.merge()
    packing = ModTable.open(scenario.table.url, settings=Settings(compact_files=2))
    scenario.upserts(30)
    result = packing.merge()
    assert result.compaction.files_removed > 1
    scenario.check(spark, "pack")
    assert packing.verify().ok


@pytest.mark.parametrize("variant", ["vectors", "partitioned"])
def test_deltas_own_upkeep_between_merges_changes_nothing(spark, tmp_path, variant):
    options = dict(VARIANTS[variant])
    scenario = Scenario(tmp_path / "t", options.pop("key"), settings=Settings(compact_bytes=0), **options)
    log = tmp_path / "t" / "_andes"
    for upkeep in (optimize, checkpoint, purge, vacuum):
        scenario.upserts()
        scenario.deletes()
        scenario.table.merge()
        scenario.partials()
        before = sorted((path.relative_to(log), path.stat().st_size) for path in log.rglob("*") if path.is_file())
        upkeep(spark, scenario.table)
        after = sorted((path.relative_to(log), path.stat().st_size) for path in log.rglob("*") if path.is_file())
        assert before == after, upkeep.__name__
        assert scenario.shown(scenario.table.to_arrow()) == scenario.oracle.rows, upkeep.__name__
        assert scenario.table.merge().status == "merged"
        scenario.check(spark, upkeep.__name__)
    assert scenario.table.status().foreign is None


@pytest.mark.parametrize("variant", ["vectors", "partitioned"])
def test_all_readers_see_the_newest_state_after_a_vacuum(spark, tmp_path, variant):
    """Time travel of Delta to a state whose files are deleted fails, and Delta goes on with the rest."""
    options = dict(VARIANTS[variant])
    scenario = Scenario(tmp_path / "t", options.pop("key"), settings=Settings(compact_bytes=0), **options)
    scenario.upserts()
    scenario.deletes()
    scenario.table.merge()
    optimize(spark, scenario.table)
    scenario.upserts(300)
    scenario.table.merge()
    tagged = scenario.shown(scenario.table.to_arrow())
    scenario.table.tag("kept")
    for _ in range(2):
        scenario.upserts(400)
        scenario.table.merge()
    purge(spark, scenario.table)
    scenario.upserts(30)
    scenario.table.merge()
    result = scenario.table.vacuum("0 seconds")
    assert {"data files", "deletion vectors", "mod files"} <= result.kinds.keys()
    scenario.check(spark, "vacuum")
    assert scenario.shown(scenario.table.to_arrow(tag="kept")) == tagged
    assert scenario.shown(read_at(spark, scenario.table, tag="kept")) == tagged
    with pytest.raises(Exception, match=r"(?i)FILE_NOT_EXIST|not exist|not found|missing"):
        arrow_table(spark.read.format("delta").option("versionAsOf", 0).load(scenario.table.url))
    checkpoint(spark, scenario.table)
    optimize(spark, scenario.table)
    scenario.deletes()
    scenario.table.merge()
    scenario.check(spark, "after")
    checked = scenario.table.verify()
    assert (checked.problems, checked.missing) == ((), ())


def read_at(spark: SparkSession, table: ModTable, **version: Any) -> pa.Table:
    return arrow_table(ModTable.open(table.url, spark=spark).read(**version))


def test_a_merge_by_delta_itself_is_valid_and_then_named(spark, tmp_path):
    """Delta's writers can go on with the base: what they do is valid Delta, and a foreign write to us."""
    from andes_spark.errors import ForeignWriteError

    scenario = Scenario(tmp_path / "t", ("k",))
    scenario.deletes()
    scenario.table.merge()
    spark.sql(
        f"MERGE INTO delta.`{scenario.table.url}` t USING (SELECT 1L AS k) s ON t.k = s.k "
        "WHEN MATCHED THEN UPDATE SET s = 'theirs'"
    )
    for name, read in READERS.items():
        rows = scenario.shown(read(spark, scenario.table.url))
        assert [row["s"] for row in rows if row["k"] == 1] in (["theirs"], []), name
    if any(row["k"] == 1 for row in scenario.oracle.rows):
        scenario.upserts(5)
        with pytest.raises(ForeignWriteError) as caught:
            scenario.table.merge()
        assert caught.value.operation == "MERGE"
