"""Batches of every kind: Arrow, polars, pandas, a stream, Spark in the process and in tasks, are one batch."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema
from andes_spark.errors import BadModsError, BatchConflictError, SchemaMismatchError, SequenceTieError
from andes_spark.model.events import mods_of
from tests.spark.batches import (
    EVERY,
    HERE,
    SIMPLE,
    TASKS,
    create,
    every_rows,
    forms,
    frame_of,
    in_partitions,
    parquet_frame,
    shown,
    side_by_side,
    simple_rows,
    spark_rows,
    table_of,
)


def described(spark) -> str | None:
    text: str | None = spark.sparkContext.getLocalProperty("spark.job.description")
    return text


def test_a_batch_is_one_batch_whatever_it_comes_as(spark, tmp_path):
    ops: list[str | None] = ["D" if i % 5 == 1 else "U" for i in range(12)]
    batch = table_of(simple_rows(), SIMPLE, op=ops)
    expected = [row for row in simple_rows() if row["id"] % 5 != 1]
    sent = list(forms(spark, batch))
    results = {}
    for name, mods, settings in sent:
        table = create(tmp_path / name, settings=settings)
        result = table.apply(mods, apply_as_deletes="op = 'D'", batch_id=("feed", 1), strict_replay=True)
        assert (result.received, result.upserts, result.deletes) == (12, 9, 3), name
        assert shown(table) == expected, name
        manifest = table.manifest(1)
        (entry,) = manifest.batches
        results[name] = (entry.digest, manifest.counts)
        assert table.merge().counts.mods == 12
        assert shown(table) == expected, name
        assert table.verify().ok, name
    assert len(set(map(str, results.values()))) == 1, results

    table = ModTable.open(tmp_path / "arrow")
    for name, mods, settings in forms(spark, batch):
        reopened = ModTable.open(tmp_path / "arrow", settings=settings)
        result = reopened.apply(mods, apply_as_deletes="op = 'D'", batch_id=("feed", 1), strict_replay=True)
        assert (result.replayed, result.version, result.received) == (True, 1, 12), name
    assert table.version == 1
    assert sum(1 for path in (tmp_path / "arrow" / "_andes" / "mods").rglob("*") if path.is_file()) == 1
    other = batch.set_column(2, "name", pa.array(["other"] * 12))
    for mods, settings in ((in_partitions(spark, other), TASKS), (in_partitions(spark, other), HERE), (other, HERE)):
        with pytest.raises(BatchConflictError) as caught:
            ModTable.open(tmp_path / "arrow", settings=settings).apply(
                mods, apply_as_deletes="op = 'D'", batch_id=("feed", 1), strict_replay=True
            )
        assert caught.value.version == 1


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_every_type_goes_in_and_comes_out(spark, tmp_path, zone):
    kept = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", zone)
    try:
        loaded, changed = table_of(every_rows(0, 8), EVERY), table_of(every_rows(4, 8), EVERY)
        # Through a file, since Spark would infer other types from values.
        frames = [parquet_frame(spark, tmp_path / f"{n}.parquet", rows) for n, rows in enumerate((loaded, changed))]
        expected: list[dict[str, Any]] | None = None
        for name, data, mods, settings in (
            ("arrow", loaded, changed, HERE),
            ("here", frames[0], frames[1], HERE),
            ("tasks", frames[0], frames[1], TASKS),
        ):
            table = create(tmp_path / name, EVERY, data=data, settings=settings)
            table.apply(mods)
            fresh, arrow = spark_rows(table.read(), table), shown(table)
            assert fresh == arrow
            expected = expected or arrow
            assert len(arrow) == 12
            assert arrow == expected, name
            table.merge()
            assert shown(table) == expected, name
            assert spark_rows(table.read(), table) == expected, name
            schema = Schema.from_json(table.read().schema.json())
            assert [(f.name, f.type) for f in schema] == [(f.name, f.type) for f in table.schema], name
            assert table.verify().ok, name
        assert [row["g"] for row in expected or ()][:2] == ["NaN", -1 / 7]
    finally:
        spark.conf.set("spark.sql.session.timeZone", kept)


def test_deletes_may_lack_columns_and_upserts_may_not(spark, tmp_path):
    narrow = frame_of(spark, table_of(simple_rows(), SIMPLE, op=["D"] * 12)).select("id", "seq", "op")
    for settings in (HERE, TASKS):
        table = create(tmp_path / f"{settings.byte_budget}", data=table_of(simple_rows(0, 12, 1), SIMPLE))
        table = ModTable.open(table.url, settings=settings)
        assert table.apply(narrow.where("id < 5"), apply_as_deletes="op = 'D'").deletes == 5
        assert len(shown(table)) == 7
        with pytest.raises(SchemaMismatchError) as caught:
            table.apply(narrow, apply_as_deletes="op = 'D' AND id < 5")
        assert set(caught.value.fields["missing"]) == {"name", "amount", "day", "at", "score", "ok"}
        assert table.version == 1


@pytest.mark.parametrize("settings", [HERE, TASKS], ids=["here", "tasks"])
def test_bad_mods_are_set_aside_or_refused_by_tasks(spark, tmp_path, settings):
    rows = simple_rows()
    rows[3]["id"] = rows[7]["seq"] = rows[8]["id"] = None
    frame = in_partitions(spark, table_of(rows, SIMPLE))
    table = create(tmp_path / "t", settings=settings)
    with pytest.raises(BadModsError) as caught:
        table.apply(frame, max_quarantined=2)
    assert caught.value.quarantined == 3
    assert caught.value.reasons == {"null key: id": 2, "null sequence: seq": 1}
    assert len(caught.value.fields["examples"]) == 3
    assert table.version == 0
    assert not [path for path in (tmp_path / "t" / "_andes").rglob("*.parquet") if path.is_file()]
    result = table.apply(frame, max_quarantined=3)
    assert (result.received, result.upserts, result.quarantined) == (12, 9, 3)
    assert sorted(table.quarantined()["reason"].to_pylist()) == ["null key", "null key", "null sequence"]
    assert len(shown(table)) == 9


@pytest.mark.parametrize("settings", [HERE, TASKS], ids=["here", "tasks"])
def test_repeats_across_partitions(spark, tmp_path, settings):
    one = table_of(simple_rows(), SIMPLE)
    both = side_by_side(spark, one, one.slice(2, 5))
    table = create(tmp_path / "t", settings=settings)
    result = table.apply(both, batch_id=("s", 1))
    assert (result.received, result.upserts, result.collapsed) == (17, 12, 5)
    assert shown(table) == simple_rows()
    assert table.apply(one, batch_id=("s", 1)).replayed
    assert sum(entry.rows for entry in mods_of(table.manifest(1).events)) == 12

    changed = one.slice(2, 5).set_column(2, "name", pa.array(["other"] * 5))
    differing = side_by_side(spark, one, changed)
    with pytest.raises(SequenceTieError) as caught:
        table.apply(differing)
    assert {key["id"] for key in caught.value.fields["keys"]} <= {2, 3, 4, 5, 6}
    assert caught.value.keys
    deletes = one.slice(2, 1).append_column("op", pa.array(["D"]))
    tie = side_by_side(spark, one.append_column("op", pa.array(["U"] * 12)), deletes)
    with pytest.raises(SequenceTieError) as caught:
        table.apply(tie, apply_as_deletes="op = 'D'")
    assert caught.value.keys == [{"id": 2}]
    # Within one task, while others have written theirs.
    fine = table_of(simple_rows(100, 12), SIMPLE)
    with pytest.raises(SequenceTieError):
        table.apply(side_by_side(spark, fine, pa.concat_tables([one, changed])))
    assert table.version == 1
    assert len(list((tmp_path / "t" / "_andes" / "mods").rglob("*.parquet"))) == len(mods_of(table.manifest(1).events))


def test_one_job_an_apply_and_the_frame_is_evaluated_once(spark, tmp_path):
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    attempts = tmp_path / "seen"
    attempts.mkdir()

    @F.udf("bigint")
    def once(value):
        import uuid

        (attempts / f"{value}-{uuid.uuid4()}").touch()
        return value

    frame = spark.range(0, 12, 1, 3).select(
        once(F.col("id")).alias("id"),
        F.col("id").alias("seq"),
        *(F.lit(None).cast(kind).alias(name) for name, kind in (part.split() for part in SIMPLE.split(", ")[2:])),
    )
    settings_before = {(row["key"], row["value"]) for row in spark.sql("SET").collect()}
    spark.sparkContext.setJobDescription("what the caller does")
    spark.sparkContext.setJobGroup("the caller's", "what the caller does")
    for number, settings in enumerate((HERE, TASKS), 1):
        table = create(tmp_path / f"t{number}", settings=settings)
        result = table.apply(frame, apply_as_deletes="id < 0")
        jobs = {step.name: step.spark_jobs for step in result.steps if step.spark_jobs}
        assert jobs == ({"write mods": 1} if settings is HERE else {"write mods": 1, "check across parts": 1})
        assert len(list(attempts.iterdir())) == 12 * number
        if settings is HERE:
            assert sum(step.spark_jobs for step in table.merge().steps) == 0
    assert described(spark) == "what the caller does"
    assert spark.sparkContext.getLocalProperty("spark.jobGroup.id") == "the caller's"
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    spark.sparkContext.setLocalProperty("spark.job.description", None)
    assert {(row["key"], row["value"]) for row in spark.sql("SET").collect()} == settings_before
    # A condition that a column short does not resolve is asked about; pyspark's own errors stay as they are.
    with pytest.raises(AnalysisException, match="nothing"):
        frame.select("nothing")


def test_jobs_say_what_they_are_for(spark, tmp_path):
    from pyspark.sql import functions as F

    names = spark.sparkContext.accumulator(0)
    frame = in_partitions(spark, table_of(simple_rows(), SIMPLE))
    descriptions = tmp_path / "descriptions"
    descriptions.mkdir()

    @F.udf("bigint")
    def spy(value):
        from pyspark import TaskContext

        names.add(1)
        context = TaskContext.get()
        assert context is not None
        text = context.getLocalProperty("spark.job.description") or ""
        (descriptions / text.encode().hex()).touch()
        return value

    table = create(tmp_path / "t", settings=TASKS)
    table.apply(frame.withColumn("id", spy("id")))
    [text] = [bytes.fromhex(path.name).decode() for path in descriptions.iterdir()]
    assert text == f"andes apply {table.url} v1: write mods"
    assert names.value == 12


def test_empty_frames_and_partitions(spark, tmp_path):
    empty = frame_of(spark, table_of(simple_rows(), SIMPLE)).where("id < 0")
    for settings in (HERE, TASKS):
        table = create(tmp_path / f"{settings.byte_budget}", data=empty, settings=settings)
        result = table.apply(empty)
        assert (result.version, result.received) == (1, 0)
        one = frame_of(spark, table_of(simple_rows(0, 1), SIMPLE)).repartition(7)
        assert table.apply(one).upserts == 1
        assert table.read().count() == 1
        table.merge()
        assert shown(table) == simple_rows(0, 1)


def test_partials_are_the_same_in_tasks(spark, tmp_path):
    loaded = table_of(simple_rows(0, 12, 1), SIMPLE)
    partial = table_of(simple_rows(), SIMPLE).append_column(
        "carried", pa.array([["name", "score"], ["name"], [], None] * 3, pa.list_(pa.string()))
    )
    listed = table_of(simple_rows(3, 6, 1000), SIMPLE).select(["id", "seq", "amount"])
    results = []
    for name, settings, make in (
        ("arrow", HERE, lambda table: table),
        ("here", HERE, lambda table: in_partitions(spark, table)),
        ("tasks", TASKS, lambda table: in_partitions(spark, table)),
    ):
        table = create(tmp_path / name, data=make(loaded), settings=settings)
        first = table.apply(make(partial), columns_to_update="carried").counts
        second = table.apply(make(listed), column_list=["amount"]).counts
        third = table.apply(make(table_of(simple_rows(0, 4, 5000), SIMPLE)), ignore_null_updates=True).counts
        rows = spark_rows(table.read(), table)
        assert rows == shown(table)
        merged = table.merge().counts
        assert shown(table) == rows
        assert table.verify().ok
        results.append((first, second, third, rows, merged))
    assert results[0] == results[1]
    assert results[0] == results[2]
