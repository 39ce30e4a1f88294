"""Reads and batches of Spark across changes of the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from andes_spark import ModTable
from andes_spark.errors import SchemaMismatchError
from tests.spark.batches import HERE, TASKS

DDL = "id INT, lsn INT, a INT, s STRUCT<x: INT>, l ARRAY<STRUCT<x: INT>>, m MAP<STRING, STRUCT<x: INT>>, t STRING"
MODS = (
    "SELECT int(id) id, int(1) lsn, int(id) a, named_struct('x', int(id)) s, array(named_struct('x', 1), NULL) l, "
    "map('k', named_struct('x', 2)) m, 'old' t FROM range(1, 5)"
)


def shown(frame):
    return [row.asDict(recursive=True) for row in frame.orderBy("id").collect()]


@pytest.mark.parametrize("settings", [HERE, TASKS], ids=["here", "tasks"])
def test_a_fresh_read_has_the_new_columns_before_the_base_does(spark, tmp_path: Path, settings) -> None:
    table = ModTable.create(
        tmp_path / "t", DDL, primary_key="id", sequence_by="lsn", merge="manual", settings=settings, spark=spark
    )
    table.apply(spark.sql(MODS))
    table.merge()
    before, version = shown(table.read()), table.version
    for path in ("s.y", "l.element.y", "m.value.y"):
        table.alter.add_column(path, "STRING", comment="of a part")
    table.alter.widen("s.x", "BIGINT")
    table.alter.widen("id", "BIGINT")
    table.alter.add_column("n", "TIMESTAMP", comment="new")
    table.alter.drop_column("t")
    expected = [
        {
            "id": row["id"],
            "lsn": 1,
            "a": row["a"],
            "s": {**row["s"], "y": None},
            "l": [{"x": 1, "y": None}, None],
            "m": {"k": {"x": 2, "y": None}},
            "n": None,
        }
        for row in before
    ]
    frame = table.read()
    assert shown(frame) == expected
    assert frame.schema["n"].metadata == {"comment": "new"}
    assert shown(frame.where("s.x > 2 AND n IS NULL")) == expected[2:]
    batch = spark.sql(
        "SELECT id, int(2) lsn, int(9) a, named_struct('x', id, 'y', 'q') s, NULL l, NULL m, NULL n, 1.5D extra, "
        "'U' op FROM range(4, 6)"
    )
    fitting = batch.selectExpr(
        "id", "lsn", "a", "s", "CAST(l AS array<struct<x:int,y:string>>) l",
        "CAST(m AS map<string,struct<x:int,y:string>>) m", "CAST(n AS timestamp) n", "extra", "op",
    )  # fmt: skip
    with pytest.raises(SchemaMismatchError, match="extra"):
        table.apply(fitting, apply_as_deletes="op = 'D'")
    table.apply(fitting, apply_as_deletes="op = 'D'", evolve_schema="add")
    new = [
        {"id": number, "lsn": 2, "a": 9, "s": {"x": number, "y": "q"}, "l": None, "m": None, "n": None, "extra": 1.5}
        for number in (4, 5)
    ]
    rows = [*({**row, "extra": None} for row in expected[:3]), *new]
    assert shown(table.read()) == rows
    assert shown(table.read(version=version)) == before
    table.merge()
    plain = spark.read.format("delta").load(str(tmp_path / "t"))
    assert shown(plain) == rows == shown(table.read())
    assert shown(plain.where("id = 5 OR s.x = 2")) == [rows[1], rows[4]]
    assert plain.schema.simpleString() == table.read().schema.simpleString()
    assert shown(spark.read.format("delta").option("versionAsOf", 1).load(str(tmp_path / "t"))) == before
    # Delta goes on with the table.
    spark.sql(f"OPTIMIZE delta.`{tmp_path / 't'}`")
    assert shown(table.read()) == rows
    assert table.verify().ok
