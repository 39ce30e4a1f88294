"""Fresh and pinned reads as Spark DataFrames: the rows, the plan, the names."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema
from andes_spark.errors import NoSuchVersionError, OptionError
from andes_spark.spark.arrow_frames import arrow_table
from tests.spark.batches import HERE, SIMPLE, TASKS, create, rows_of, shown, simple_rows, spark_rows, table_of

PLACES = pytest.mark.parametrize("settings", [HERE, TASKS], ids=["here", "tasks"])


@pytest.fixture(autouse=True)
def adaptive(spark):
    """Plans as Spark makes them by default: what a fresh read costs is decided there."""
    kept = spark.conf.get("spark.sql.adaptive.enabled")
    spark.conf.set("spark.sql.adaptive.enabled", "true")
    yield
    spark.conf.set("spark.sql.adaptive.enabled", kept)


def plan_of(frame) -> str:
    text: str = frame._jdf.queryExecution().executedPlan().toString()
    return text


def scans(frame) -> list[str]:
    """The scans of Parquet in a plan, a line each."""
    return [line for line in plan_of(frame).splitlines() if "FileScan parquet" in line]


def deletes(ids: list[int], seq: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "seq": pa.array([seq] * len(ids), pa.int64())})


@pytest.mark.slow
@PLACES
def test_a_fresh_read_is_what_a_merge_would_make(spark, tmp_path, settings):
    table = create(tmp_path / "t", data=table_of(simple_rows(0, 40, 100), SIMPLE), settings=settings)
    steps: list[tuple[str, pa.Table, dict[str, Any]]] = [
        ("upserts", table_of(simple_rows(30, 15, 500), SIMPLE), {}),
        ("late", table_of(simple_rows(0, 5, 1), SIMPLE), {}),
        ("deletes", deletes([3, 4, 35, 99], 700), {"apply_as_deletes": "true"}),
        ("late after a delete", table_of(simple_rows(3, 2, 300), SIMPLE), {}),
        ("late delete", deletes([10], 5), {"apply_as_deletes": "true"}),
        ("partials", table_of(simple_rows(8, 4, 800), SIMPLE).select(["id", "seq", "name"]), {"column_list": ["name"]}),
        ("truncate", deletes([0], 125), {"apply_as_truncates": "true"}),
        ("after it", table_of(simple_rows(4, 4, 116), SIMPLE), {}),
        ("only a truncate", deletes([0], 600), {"apply_as_truncates": "true"}),
    ]
    versions = {0: shown(table)}
    for number, (name, mods, options) in enumerate(steps, 1):
        version = table.apply(mods, **options).version
        frame = table.read()
        frame_rows = spark_rows(frame, table)
        assert frame_rows == shown(table), name
        versions[version] = frame_rows
        if number % 3 == 0:
            assert frame.count() == len(frame_rows), name
            table.merge()
            assert spark_rows(table.read(), table) == frame_rows, name
            assert spark_rows(frame, table) == frame_rows, f"{name}: what was read before the merge"
    assert len({str(rows) for rows in versions.values()}) >= 6
    for version in (0, 3, 5, 8):
        assert spark_rows(table.read(version=version), table) == versions[version], version
    with pytest.raises(NoSuchVersionError):
        table.read(version=len(steps) + 1)


@PLACES
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("BIGINT", [1, 2]),
        ("STRING", ["a", "b"]),
        ("DECIMAL(9,2)", [Decimal("1.00"), Decimal("2.00")]),
        ("BINARY", [b"a", b"b"]),
    ],
)
def test_a_key_that_a_partial_mod_and_then_a_delete_reach_is_gone(spark, tmp_path, settings, kind, keys):
    """Nothing is written then: Spark took the table of deleted keys, behind two empty chunks, for an empty one."""
    table = ModTable.create(
        tmp_path / "t", f"k {kind}, s BIGINT, v STRING, w STRING",
        primary_key=["k"], sequence_by=["s"], merge="manual", settings=settings,
    )  # fmt: skip
    type_ = table.schema.to_arrow().field("k").type
    table.apply(pa.table({"k": pa.array(keys, type_), "s": [1, 1], "v": ["x", "x"], "w": ["y", "y"]}))
    table.merge()
    mods = pa.table({"k": pa.array(keys[:1] * 2, type_), "s": [2, 3], "v": ["z", "z"], "op": ["U", "D"]})
    table.apply(mods, apply_as_deletes="op = 'D'", column_list=["v"])
    assert table.to_arrow()["k"].to_pylist() == keys[1:]
    for frame in (table.read(), table.read(version=2)):
        assert [row["v"] for row in frame.collect()] == ["x"]
    table.merge()
    assert table.read().count() == 1


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_NTZ", "DATE", "DECIMAL(12,3)", "STRING", "INT"])
def test_a_truncate_is_the_same_for_every_type_of_sequence(spark, tmp_path, kind):
    start = datetime.datetime(2024, 3, 10, 1, 30)  # Clocks in New York skip an hour that night.
    make: dict[str, Any] = {
        "TIMESTAMP": lambda n: (start + datetime.timedelta(minutes=15 * n)).replace(tzinfo=datetime.UTC),
        "TIMESTAMP_NTZ": lambda n: start + datetime.timedelta(minutes=15 * n),
        "DATE": lambda n: start.date() + datetime.timedelta(days=n),
        "DECIMAL(12,3)": lambda n: Decimal(n * 1001).scaleb(-3),
        "STRING": lambda n: f"é'\\{n:04}",
        "INT": lambda n: n - 5,
    }
    of = make[kind]
    ddl = f"k STRING, s {kind}, u INT"
    arrow = Schema.from_ddl(ddl).to_arrow()
    rows = pa.Table.from_pylist([{"k": f"k{n}", "s": of(n), "u": n} for n in range(12)], schema=arrow)
    table = ModTable.create(
        tmp_path / "t", ddl, primary_key=["k"], sequence_by=["s", "u"], data=rows, merge="manual",
        text_sequence=kind == "STRING",
    )  # fmt: skip
    cut = pa.Table.from_pylist([{"k": None, "s": of(6), "u": 6}], schema=arrow)
    table.apply(cut, apply_as_truncates="true")
    kept = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        for _ in range(2):
            assert [row["k"] for row in shown(table)] == ["k10", "k11", "k7", "k8", "k9"]
            assert spark_rows(table.read(), table) == shown(table)
            table.merge()
    finally:
        spark.conf.set("spark.sql.session.timeZone", kept)


@PLACES
def test_without_a_sequence_the_last_version_wins(spark, tmp_path, settings):
    table = ModTable.create(
        tmp_path / "t",
        SIMPLE,
        primary_key=["id"],
        merge="manual",
        data=table_of(simple_rows(0, 10), SIMPLE),
        settings=settings,
    )
    table.apply(table_of(simple_rows(0, 3, 5), SIMPLE), batch_id=("s", 1))
    table.apply(deletes([1, 7], 0), apply_as_deletes="true", batch_id=("s", 2))
    assert [row["id"] for row in shown(table)] == [0, 2, 3, 4, 5, 6, 8, 9]
    assert spark_rows(table.read(), table) == shown(table)
    before = table.read()
    table.apply(deletes([0], 0), apply_as_truncates="true", batch_id=("s", 3))
    assert table.read().count() == 0
    table.apply(table_of(simple_rows(2, 2), SIMPLE), batch_id=("s", 4))
    assert spark_rows(table.read(), table) == simple_rows(2, 2)
    table.merge()
    assert spark_rows(table.read(), table) == simple_rows(2, 2)
    assert before.count() == 8
    assert table.verify().ok


def test_a_view_is_pinned_and_knows_spark_sql(spark, tmp_path):
    table = create(tmp_path / "t", data=table_of(simple_rows(0, 10, 1), SIMPLE))
    table.apply(table_of(simple_rows(0, 2, 100), SIMPLE))
    table.create_view("orders_now")
    table.create_view("orders_then", version=0)
    table.apply(deletes([0, 1, 2], 500), apply_as_deletes="true", merge=True)
    sql = "SELECT count(*) n, max(seq) s FROM {} WHERE id < 3"
    assert spark.sql(sql.format("orders_now")).collect()[0].asDict() == {"n": 3, "s": 101}
    assert spark.sql(sql.format("orders_then")).collect()[0].asDict() == {"n": 3, "s": 3}
    assert table.read().where("id < 3").count() == 0
    spark.catalog.dropTempView("orders_now")
    spark.catalog.dropTempView("orders_then")


@PLACES
def test_filters_and_columns_reach_the_scan_of_the_base(spark, tmp_path, settings):
    table = create(tmp_path / "t", data=table_of(simple_rows(0, 100, 1), SIMPLE), settings=settings)

    def selective(frame) -> tuple[str, str]:
        [scan] = scans(frame.where("score > 20 AND name = 'x'").select("id", "ok"))
        pushed = re.search(r"PushedFilters: \[(.*?)\]", scan)
        read = re.search(r"ReadSchema: struct<(.*)>", scan)
        assert pushed, scan
        assert read, scan
        return pushed[1], read[1]

    for _ in range(2):
        pushed, read = selective(table.read())
        assert "GreaterThan(score,20.0)" in pushed
        assert "EqualTo(name,x)" in pushed
        columns = set(re.findall(r"(\w+):", read))
        assert {"id", "name", "score", "ok"} <= columns
        assert not columns & {"seq", "amount", "day", "at"}
        # With newer mods pending the same holds, and the pending rows are filtered after they are decided.
        table.apply(table_of(simple_rows(50, 5, 1000), SIMPLE))
    everything = table.read()
    assert everything.where("score > 20").count() == sum((row["score"] or 0) > 20 for row in shown(table))
    # A base row that matches but is replaced by a pending one that does not must not come back.
    hidden = table_of([{**row, "score": 0.0} for row in simple_rows(90, 5, 2000)], SIMPLE)
    table.apply(hidden)
    assert table.read().where("id BETWEEN 90 AND 94 AND score > 20").count() == 0
    assert table.read().where("id BETWEEN 90 AND 94 AND score = 0").count() == 5


def test_with_nothing_pending_it_is_a_plain_scan_of_delta(spark, tmp_path):
    table = create(tmp_path / "t", data=table_of(simple_rows(0, 20, 1), SIMPLE))
    table.apply(table_of(simple_rows(0, 3, 100), SIMPLE), merge=True)
    plain = spark.read.format("delta").load(str(tmp_path / "t"))

    def shape(frame) -> str:
        return re.sub(r"#\d+L?|\[plan_id=\d+\]|versionAsOf -> \d+", "", plan_of(frame.where("score > 3").select("id")))

    assert shape(table.read()) == shape(plain)
    assert "Join" not in plan_of(table.read())


@PLACES
def test_reading_runs_no_job_while_pending_mods_are_few(spark, tmp_path, settings):
    table = create(tmp_path / "t", data=table_of(simple_rows(0, 20, 1), SIMPLE), settings=settings)
    table.apply(table_of(simple_rows(0, 3, 100), SIMPLE))
    assert spark_rows(table.read(), table) == shown(table)  # Delta's own log is read by a job, once.
    spark.sparkContext.setJobGroup("reading", "")
    frame = table.read()
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    assert list(spark.sparkContext.statusTracker().getJobIdsForGroup("reading")) == []
    assert frame.count() == 20


def test_many_pending_rows_are_read_by_tasks(spark, tmp_path, monkeypatch):
    from andes_spark.spark import reads

    monkeypatch.setattr(reads, "LOCAL_ROWS", 5)
    table = create(tmp_path / "t", data=table_of(simple_rows(0, 60, 100), SIMPLE))
    table.apply(table_of(simple_rows(20, 60, 150), SIMPLE))
    table.apply(deletes([1, 2, 25], 1000), apply_as_deletes="true")
    table.apply(table_of(simple_rows(0, 5, 1), SIMPLE))
    frame = table.read()
    assert spark_rows(frame, table) == shown(table)
    table.merge()
    assert spark_rows(frame, table) == shown(table)


NAMES = ["a.b", "it's", 'say"so"', "back`tick", "100%", "naïve_列", "select", "%41", "x:y", "[0]", "a/b", "back\\slash"]


@pytest.mark.slow
@PLACES
@pytest.mark.parametrize("deletion_vectors", [True, False])
def test_names_and_values_of_any_form(spark, tmp_path, settings, deletion_vectors):
    key, sequence, place = "k.e'y`\"%25", "séq.`n`", "p[a]r/t'%é\""
    fields = [pa.field(key, pa.string()), pa.field(sequence, pa.int64()), pa.field(place, pa.string())]
    schema = pa.schema([*fields, *(pa.field(name, pa.int32()) for name in NAMES)])
    path = tmp_path / "a b%20c'd\"é[0]{x}*" / "t#?;,&=+$@!~`^"

    def batch(first: int, count: int, seq: int) -> pa.Table:
        rows = [
            {
                key: NAMES[n % 12] + str(n),
                sequence: seq + n,
                place: ["a b/c=%41é'\"", "..", None, "日本[0]*?{}", "\U0001f600 :"][n % 5],
                **{name: n + at for at, name in enumerate(NAMES)},
            }
            for n in range(first, first + count)
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    frame = parquet_of(spark, tmp_path / "0.parquet", batch(0, 30, 0))
    table = ModTable.create(
        path,
        schema,
        primary_key=[key],
        sequence_by=[sequence],
        partition_by=[place],
        data=frame,
        merge="manual",
        settings=settings,
        deletion_vectors=deletion_vectors,
    )
    mods = parquet_of(spark, tmp_path / "1.parquet", batch(25, 10, 100))
    table.apply(mods)
    deleted = batch(0, 3, 200).select([key, sequence])
    doubled = sequence.replace("`", "``")
    table.apply(deleted, apply_as_deletes=f"`{doubled}` > 0")
    expected = shown(table)
    assert len(expected) == 32
    frame = table.read()
    assert spark_rows(frame, table) == expected
    for merged in (False, True):
        if merged:
            assert table.merge().counts.mods == 13
        reopened = ModTable.open(path, settings=settings)
        assert shown(reopened) == expected
        assert spark_rows(reopened.read(), reopened) == expected
        table.create_view("names")
        quoted = ", ".join("`" + name.replace("`", "``") + "`" for name in NAMES)
        assert spark.sql(f"SELECT {quoted} FROM names WHERE `it's` > 5").count() == sum(
            row["it's"] > 5 for row in expected
        )
        spark.catalog.dropTempView("names")
    assert spark_rows(frame, table) == expected
    assert rows_of(arrow_table(spark.read.format("delta").load(str(path))), table) == expected
    assert table.verify().ok


def parquet_of(spark, path: Path, table: pa.Table):
    from pyarrow import parquet as pq

    pq.write_table(table, path)
    return spark.read.parquet(str(path))


@pytest.mark.parametrize("name", ["a b", "a,b", "a;b", "a{b", "a(b)", "a\nb", "a\tb", "a=b", "_andes_x", ""])
def test_names_that_delta_refuses_are_refused_at_create(tmp_path, name):
    schema = pa.schema([pa.field("id", pa.int64()), pa.field(name, pa.int64())])
    with pytest.raises(OptionError) as caught:
        ModTable.create(tmp_path / "t", schema, primary_key=["id"])
    assert len(caught.value.fields["problems"]) == 1
    assert not (tmp_path / "t").exists() or not list((tmp_path / "t").rglob("*.json"))
