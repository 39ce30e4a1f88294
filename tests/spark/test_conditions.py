"""Conditions of an apply: judged alike by Spark and by Arrow, or refused before anything happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import OptionError, SchemaMismatchError
from tests.spark.batches import (
    SIMPLE,
    create,
    forms,
    frame_of,
    in_partitions,
    reader_of,
    shown,
    simple_rows,
    table_of,
)

CONDITIONS: list[tuple[str, Callable[[Any], Any], Any]] = [
    ("op = 'D'", lambda f: f.op == "D", pl.col("op") == "D"),
    ("op <> 'U'", lambda f: f.op != "U", pl.col("op") != "U"),
    ("NOT (op = 'U')", lambda f: ~(f.op == "U"), ~(pl.col("op") == "U")),
    ("op IN ('D', 'X')", lambda f: f.op.isin("D", "X"), pl.col("op").is_in(["D", "X"])),
    ("op NOT IN ('U', 'X')", lambda f: ~f.op.isin("U", "X"), ~pl.col("op").is_in(["U", "X"])),
    ("op LIKE 'D%'", lambda f: f.op.like("D%"), pl.col("op").str.starts_with("D")),
    ("op IS NULL", lambda f: f.op.isNull(), pl.col("op").is_null()),
    ("op = 'D' OR flag", lambda f: (f.op == "D") | f.flag, (pl.col("op") == "D") | pl.col("flag")),
    ("op = 'D' AND flag", lambda f: (f.op == "D") & f.flag, (pl.col("op") == "D") & pl.col("flag")),
    ("op = 'é' OR op = ''", lambda f: (f.op == "é") | (f.op == ""), pl.col("op").is_in(["é", ""])),
    ("seq IN (101, 105, 109) AND `op` = 'D'", lambda f: (f.seq % 4 == 1) & (f.op == "D"), None),
    ("seq * 2 - 6 = 200", lambda f: f.seq == 103, pl.col("seq") == 103),
    ("SEQ + 0.5 = 103.5", lambda f: f.seq == 103, None),
    ("flag IS NOT TRUE", lambda f: ~f.flag.eqNullSafe(True), ~pl.col("flag").eq_missing(True)),
    ("op IS DISTINCT FROM 'D'", lambda f: ~f.op.eqNullSafe("D"), pl.col("op").ne_missing("D")),
    ("length(op) = 2 OR op LIKE 'D_'", lambda f: f.op.isin("D ", "DX"), None),
    ("seq = 103", lambda f: f.seq / 2 == 51.5, pl.col("seq") / 2 == 51.5),
    ("upper(op) = 'É' OR lower(op) = 'd'", lambda f: f.op.isin("é", "D", "d"), pl.col("op").is_in(["é", "D", "d"])),
    (
        "coalesce(flag, seq BETWEEN 103 AND 104 OR seq BETWEEN 106 AND 107)",
        lambda f: (f.flag.isNotNull() & f.flag) | (f.flag.isNull() & f.seq.isin(103, 104, 106, 107)),
        pl.col("flag").fill_null((pl.col("seq") - 105).abs().is_between(1, 2)),
    ),
    ("CASE WHEN op = 'D' THEN true ELSE false END", lambda f: f.op.eqNullSafe("D"), pl.col("op").eq_missing("D")),
]


def jobs_since(spark, group: str) -> int:
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(group))


@pytest.mark.slow
@pytest.mark.parametrize("on_null", ["quarantine", "upsert"])
def test_conditions_are_judged_alike(spark, tmp_path, on_null):
    ops = ["D", "U", None, "d", "D ", "", "DX", "é", "X", "D", None, "U"]
    flags = [True, False, None, True, False, None, True, None, True, False, True, None]
    batch = table_of(simple_rows(), SIMPLE, op=ops).append_column("flag", pa.array(flags))
    for number, (sql, column, expression) in enumerate(CONDITIONS):
        outcomes = []
        # A column that no condition uses is one too many.
        used = batch.drop_columns([name for name in ("op", "flag") if name not in sql])
        frame = in_partitions(spark, used, 2)
        tries: list[tuple[Any, Any]] = [(used, sql), (frame, sql), (frame, column(frame))]
        if expression is not None:
            tries.append((used, expression))
        for at, (mods, condition) in enumerate(tries):
            table = create(tmp_path / f"{number}-{at}")
            result = table.apply(mods, apply_as_deletes=condition, on_null_operation=on_null, max_quarantined=12)
            outcomes.append((result.counts, [row["id"] for row in shown(table)]))
        assert all(outcome == outcomes[0] for outcome in outcomes), (sql, outcomes)


def test_all_three_conditions_together_are_judged_alike(spark, tmp_path):
    ops = ["I", "U", "D", "T", "?", None, "I", "both", "D", "I", "I", "I"]
    batch = table_of(simple_rows(), SIMPLE, op=ops)
    conditions: dict[str, Any] = {
        "apply_as_upserts": "op IN ('I', 'U', 'both')",
        "apply_as_deletes": "op = 'D' OR op = 'both'",
        "apply_as_truncates": "op = 'T'",
    }
    outcomes = []
    for name, mods, settings in forms(spark, batch):
        table = create(tmp_path / name, settings=settings)
        result = table.apply(mods, **conditions, max_quarantined=3)
        reasons = table.quarantined().column("reason").to_pylist()
        outcomes.append((result.counts, reasons, shown(table)))
        table.merge()
        assert shown(table) == outcomes[-1][2]
    assert all(outcome == outcomes[0] for outcome in outcomes)
    counts, reasons, rows = outcomes[0]
    assert (counts.upserts, counts.deletes, counts.truncates, counts.quarantined) == (6, 2, 1, 3)
    assert set(reasons) == {"unknown operation"}
    assert [row["id"] for row in rows] == [6, 9, 10, 11]


FLOATS = [
    ("f > 0.1", [1, 2]),
    ("f = 0.1", []),
    ("f = 0.5", [2]),
    ("f IN (0.1, 0.5)", [2]),
    ("f BETWEEN 0.1 AND 0.2", [1]),
    ("st.x > 0.1 AND st.x < 0.5", [1]),
    ("f > 1e-1", [1, 2]),
    ("coalesce(f, 0.25) = 0.25", [3]),
    ("f < 16777217", [1, 2]),
]


@pytest.mark.parametrize(("text", "ids"), FLOATS)
def test_floats_are_compared_as_doubles(spark, tmp_path, text, ids):
    table = ModTable.create(tmp_path / "t", "id BIGINT, f FLOAT, st STRUCT<x: FLOAT>", primary_key=["id"])
    rows = pa.table(
        {
            "id": [1, 2, 3],
            "f": pa.array([0.1, 0.5, None], pa.float32()),
            "st": pa.array([{"x": 0.1}, {"x": 0.5}, None], pa.struct([("x", pa.float32())])),
        }
    )
    table.apply(rows, batch_id=("t", 1))
    assert table.to_arrow(filter=text)["id"].to_pylist() == ids
    assert [row["id"] for row in table.read().where(text).orderBy("id").collect()] == ids
    for number, mods in enumerate((rows, table.read()), start=2):
        counts = table.apply(mods, apply_as_deletes=text, on_null_operation="upsert", batch_id=("t", number)).counts
        assert counts.deletes == len(ids), number
        table.apply(rows, batch_id=("back", number))


@pytest.mark.parametrize(
    "text",
    [
        'op = "D"',
        "op LIKE '100\\%'",
        "substr(op, -1) = 'D'",
        "op RLIKE 'D'",
        "seq / 2 = 51.5",
        "seq * seq * seq > 0",
        "op || 'x' = 'Dx'",
        "at > TIMESTAMP '2026-01-01 00:00:00'",
        "amount > '0.1'",
        "at >= DATE '2024-01-01'",
        "ok = '1'",
        " or ".join(["op = 'D'"] * 2_500),
    ],
)
def test_text_that_engines_read_differently_is_refused_on_every_path(spark, tmp_path, text):
    batch = table_of(simple_rows(), SIMPLE, op=["D"] * 12)
    table = create(tmp_path / "t")
    for mods in (batch, pl.from_arrow(batch), reader_of(batch), frame_of(spark, batch)):
        with pytest.raises(OptionError) as caught:
            table.apply(mods, apply_as_deletes=text)
        assert caught.value.option == "apply_as_deletes"
    assert table.version == 0


def test_conditions_that_cannot_be_are_refused(spark, tmp_path):
    batch = table_of(simple_rows(), SIMPLE, op=["D"] * 12)
    frame = frame_of(spark, batch)
    table = create(tmp_path / "t")
    for mods, condition in (
        (frame, "op ="),
        (frame, "op = 'D') or (op = 'U'"),
        (frame, "nothing = 1"),
        (frame, "op"),
        (frame, "count(*) > 1"),
        (frame, "explode(array(true, false))"),
        (frame, pl.col("op") == "D"),
        (frame, 7),
        (batch, "op ="),
        (batch, "op"),
        (batch, frame.op == "D"),
        (batch, 7),
    ):
        with pytest.raises(OptionError) as caught:
            table.apply(mods, apply_as_deletes=condition)
        assert caught.value.option == "apply_as_deletes", condition
        assert not str(caught.value).rstrip().endswith(":"), condition
    with pytest.raises(SchemaMismatchError, match="nothing"):
        table.apply(batch, apply_as_deletes="nothing = 1")
    for twice in (frame.select("*", "op"), frame.select("*", frame.op.alias("name"))):
        with pytest.raises(SchemaMismatchError, match="given more than once"):
            table.apply(twice, apply_as_deletes="op = 'D'")
    assert table.version == 0


def test_columns_of_the_conditions_alone_are_dropped_others_refused_before_any_job(spark, tmp_path):
    from pyspark.sql import functions as F

    batch = table_of(simple_rows(), SIMPLE, op=["U"] * 12).append_column("why", pa.array(["x"] * 12))
    table = create(tmp_path / "t")
    frame = frame_of(spark, batch)
    table.apply(frame, apply_as_deletes="op = 'D' AND why = 'y'")
    table.apply(frame, apply_as_deletes=(frame.op == "D") & (F.col("why") == "y"))
    table.apply(frame.drop("why"), apply_as_deletes="op = 'D' OR id < 0")
    spark.sparkContext.setJobGroup("mine", "none may run")
    bad = frame.withColumnRenamed("name", "nome").withColumn("amount", F.lit("text")).withColumn("seq", F.lit(1.5))
    for mods in (bad, bad.withColumn("op2", F.lit(1))):
        with pytest.raises(SchemaMismatchError) as caught:
            table.apply(mods, apply_as_deletes="op = 'D'")
        error = caught.value
        assert {"nome", "why"} <= set(error.fields["extra"])
        assert set(error.fields["wrong_type"]) == {"amount", "seq"}
        assert "op" not in error.fields["extra"]
    # A batch of deletes may lack columns, so what is missing is named when nothing but upserts can come.
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(frame.drop("op", "why", "name", "ok").withColumn("zz", F.lit(1)))
    assert (caught.value.missing, caught.value.extra) == (("name", "ok"), ("zz",))
    twice = frame.drop("op", "why").select("*", F.col("name"))
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(twice)
    assert caught.value.duplicate == ("name",)
    both = frame.drop("op", "why").withColumn("NAMED", F.col("name")).toDF(*frame.drop("op", "why").columns, "NAME")
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(both)
    assert caught.value.duplicate == ("name", "NAME")
    assert jobs_since(spark, "mine") == 0
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    spark.sparkContext.setLocalProperty("spark.job.description", None)
    assert table.version == 3


@pytest.mark.parametrize("as_text", [True, False])
def test_a_condition_on_a_column_that_is_not_stored_logs_no_error(spark, tmp_path, as_text):
    pytest.importorskip("pyspark.logger", reason="errors of queries are logged from Spark 4.0 on")
    from pyspark.logger import PySparkLogger
    from pyspark.sql import functions as F

    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Handler()
    loggers = [PySparkLogger.getLogger(name) for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger")]
    frame = frame_of(spark, table_of(simple_rows(), SIMPLE, op=["D"] * 12)).withColumnRenamed("op", "Op")
    table = create(tmp_path / "t")
    for logger in loggers:
        logger.addHandler(handler)
    try:
        assert table.apply(frame, apply_as_deletes="Op = 'D'" if as_text else F.col("Op") == "D").deletes == 12
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert records == []
    assert not any(logger.disabled for logger in loggers)
