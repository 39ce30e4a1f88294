"""Changes of columns and settings: rows of every version, other readers of the base, writers of the columns before."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from andes_spark import ModTable, Settings
from andes_spark.delta.log import load_state
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.model.options import ApplyOptions
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs.append import append_batches
from andes_spark.testing.tapped import TappedStorage
from tests.other_readers import duckdb_connection

DDL = "id INT, lsn INT, a INT, f FLOAT, d DECIMAL(5,2), s STRUCT<x: INT>, l ARRAY<STRUCT<x: INT>>, t STRING"
SCHEMA = pa.schema(
    [
        ("id", pa.int32()),
        ("lsn", pa.int32()),
        ("a", pa.int32()),
        ("f", pa.float32()),
        ("d", pa.decimal128(5, 2)),
        ("s", pa.struct([("x", pa.int32())])),
        ("l", pa.list_(pa.struct([("x", pa.int32())]))),
        ("t", pa.string()),
    ]
)
BEGINNING = ("id", "lsn", "a", "f", "d", "s", "l", "t")


def row(number: int, lsn: int = 1) -> dict[str, Any]:
    half = number + 0.5
    return {
        "id": number,
        "lsn": lsn,
        "a": number,
        "f": half,
        "d": Decimal(number),
        "s": {"x": number},
        "l": [{"x": number}, None],
        "t": f"t{number}",
    }


def rows(*numbers: int, lsn: int = 1) -> pa.Table:
    return pa.Table.from_pylist([row(number, lsn) for number in numbers], schema=SCHEMA)


def shown(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def filled(path: Any, merge: str = "always", **options: Any) -> ModTable:
    """A table with a merged base, a deletion vector and, where merges are manual, pending mods."""
    table = ModTable.create(path, DDL, primary_key=["id"], sequence_by=["lsn"], merge="manual", **options)
    table.apply(rows(1, 2, 3, 4))
    table.merge()
    table.apply(pa.table({"id": pa.array([4], pa.int32()), "lsn": pa.array([2], pa.int32())}), apply_as_deletes="true")
    table.apply(rows(2, 5, lsn=2))
    if merge != "manual":
        table.merge()
        table.alter.set(merge=merge)
    return table


ALTERATIONS: dict[str, Callable[[ModTable], Any]] = {
    "add": lambda table: table.alter.add_column("n", "STRING", comment="new"),
    "add in a struct": lambda table: table.alter.add_column("s.y", "STRING"),
    "add in an array": lambda table: table.alter.add_column(["l", "element", "y"], pa.int64()),
    "add a moment": lambda table: table.alter.add_column("at", "TIMESTAMP_NTZ"),
    "widen the key": lambda table: table.alter.widen("id", "BIGINT"),
    "widen the sequence": lambda table: table.alter.widen("lsn", "BIGINT"),
    "widen a float": lambda table: table.alter.widen("f", "DOUBLE"),
    "widen a decimal": lambda table: table.alter.widen("d", "DECIMAL(30,10)"),
    "widen in a struct": lambda table: table.alter.widen("s.x", "BIGINT"),
    "widen in an array": lambda table: table.alter.widen("l.element.x", "BIGINT"),
    "integer to decimal": lambda table: table.alter.widen("a", "DECIMAL(20,3)"),
    "drop": lambda table: table.alter.drop_column("t"),
    "comment": lambda table: table.alter.rename_comment("a", "number of a"),
}


def after(name: str, before_row: dict[str, Any]) -> dict[str, Any]:
    """The row that an alteration makes of one."""
    new = dict(before_row)
    match name:
        case "add":
            new["n"] = None
        case "add in a struct":
            new["s"] = None if new["s"] is None else {**new["s"], "y": None}
        case "add in an array":
            new["l"] = None if new["l"] is None else [None if x is None else {**x, "y": None} for x in new["l"]]
        case "add a moment":
            new["at"] = None
        case "drop":
            del new["t"]
    return new


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["always", "manual"])
@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_version_shows_its_columns_and_the_rows_stay(tmp_path: Path, name: str, merge: str) -> None:
    table = filled(tmp_path / "t", merge)
    before = {version: shown(table.to_arrow(version=version)) for version in range(table.version + 1)}
    last = table.version
    result = ALTERATIONS[name](table)
    assert (result.version, table.version) == (last + 1, last + 1)
    assert result.changed == ("columns",)
    assert (result.merge is None) == (merge == "manual")
    expected = [after(name, record) for record in before[last]]
    for handle in (table, ModTable.open(tmp_path / "t")):
        assert shown(handle.to_arrow()) == expected
        assert shown(handle.get([1, 5, 4])) == [record for record in expected if record["id"] in (1, 5)]
        assert shown(handle.to_arrow(filter="a > 2")) == [record for record in expected if record["a"] > 2]
        for version, rows_then in before.items():
            assert shown(handle.to_arrow(version=version)) == rows_then
            assert handle.to_arrow(version=version).schema.names == list(BEGINNING)
    handle.merge()
    assert shown(ModTable.open(tmp_path / "t").to_arrow()) == expected
    assert shown(handle.to_arrow(version=last)) == before[last]
    assert handle.verify().ok, handle.verify().problems
    # The deleted key stays deleted, and mods of the columns before still count.
    handle.apply(pa.Table.from_pylist([after(name, row(4))], schema=handle.schema.to_arrow()))
    assert shown(handle.to_arrow()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ALTERATIONS)
@pytest.mark.parametrize("vectors", [True, False])
def test_other_readers_find_the_same_rows_with_filters(tmp_path: Path, name: str, vectors: bool) -> None:
    table = filled(tmp_path / "t", deletion_vectors=vectors)
    ALTERATIONS[name](table)
    fresh = pa.Table.from_pylist([after(name, row(9, 9))], schema=table.schema.to_arrow())
    table.apply(fresh)
    columns = [column for column in table.schema.names if column not in ("s", "l")]
    expected = [{column: record[column] for column in columns} for record in shown(table.to_arrow())]
    chosen = [record for record in expected if record["a"] >= 3]
    url = str(tmp_path / "t")
    frame = pl.scan_delta(url).select(columns)
    assert shown(frame.collect().to_arrow()) == expected
    assert shown(frame.filter(pl.col("a") >= 3).collect().to_arrow()) == chosen
    for run in (_delta_rs(url), _duckdb(url)):
        assert shown(run(columns, "true")) == expected
        assert shown(run(columns, "a >= 3")) == chosen
        assert shown(run(["id"], "id = 9")) == [{"id": 9}]
    nested = pl.scan_delta(url).select("id", "s", "l").collect().to_arrow()
    assert shown(nested) == [{name: record[name] for name in ("id", "s", "l")} for record in shown(table.to_arrow())]


def _quoted(columns: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


Query = Callable[[list[str], str], pa.Table]


def _delta_rs(url: str) -> Query:
    builder = QueryBuilder().register("t", DeltaTable(url))
    return lambda columns, where: pa.table(
        builder.execute(f"SELECT {_quoted(columns)} FROM t WHERE {where}").read_all()
    )


def _duckdb(url: str) -> Query:
    connection = duckdb_connection()
    return lambda columns, where: connection.execute(
        f"SELECT {_quoted(columns)} FROM delta_scan('{url}') WHERE {where}"
    ).to_arrow_table()


def test_the_base_has_the_columns_comments_and_features(tmp_path: Path) -> None:
    table = filled(tmp_path / "t")
    before = load_state(DiskStorage(str(tmp_path / "t")))
    table.alter.add_column("at", "TIMESTAMP_NTZ", comment="when")
    table.alter.set(comment="of orders")
    after_it = load_state(DiskStorage(str(tmp_path / "t")))
    assert after_it.metadata.schema_json == table.schema.to_json()
    assert '"comment":"when"' in after_it.metadata.schema_json
    assert after_it.metadata.description == "of orders"
    assert after_it.metadata.id == before.metadata.id
    assert after_it.metadata.created == before.metadata.created
    assert "timestampNtz" in after_it.protocol.reader_features - before.protocol.reader_features
    assert "`at`" in after_it.metadata.configuration["delta.dataSkippingStatsColumns"]
    table.alter.drop_column("at")
    dropped = load_state(DiskStorage(str(tmp_path / "t")))
    assert "`at`" not in dropped.metadata.configuration["delta.dataSkippingStatsColumns"]
    # What a column needs is not taken back: files of earlier versions have it.
    assert dropped.protocol == after_it.protocol


def test_properties_that_others_set_on_the_base_stay(tmp_path: Path) -> None:
    table = filled(tmp_path / "t")
    DeltaTable(str(tmp_path / "t")).alter.set_table_properties(
        {"delta.enableDeletionVectors": "false", "x": "y"}, False
    )
    table = ModTable.open(tmp_path / "t")
    table.alter.add_column("n", "STRING")
    configuration = load_state(DiskStorage(str(tmp_path / "t"))).metadata.configuration
    assert (configuration["x"], configuration["delta.enableDeletionVectors"]) == ("y", "false")


def test_only_changes_of_types_rewrite_the_base(tmp_path: Path) -> None:
    table = filled(tmp_path / "t")
    files = set(load_state(DiskStorage(str(tmp_path / "t"))).files)
    table.alter.add_column("n", "STRING")
    table.alter.drop_column("t")
    table.alter.rename_comment("a", "x")
    assert set(load_state(DiskStorage(str(tmp_path / "t"))).files) == files
    result = table.alter.widen("a", "BIGINT")
    assert not set(load_state(DiskStorage(str(tmp_path / "t"))).files) & files
    assert result.merge is not None
    assert result.merge.written.rewritten > 0


def test_settings() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id INT", primary_key="id", properties={"a": "1"}, merge="always")
    result = table.alter.set(
        merge="15 minutes", lateness="60 days", batch_retention="40 days", comment="c", properties={"b": "2"}
    )
    assert set(result.changed) == {"merge", "lateness", "batch_retention", "comment", "properties"}
    definition = ModTable.open(storage)._open_table.definition
    assert (definition.merge, definition.lateness, definition.batch_retention) == ("15 minutes", "60 days", "40 days")
    assert (definition.comment, definition.properties) == ("c", {"a": "1", "b": "2"})
    assert table.alter.unset("a", "comment").changed == ("comment", "properties")
    definition = ModTable.open(storage)._open_table.definition
    assert (definition.comment, definition.properties) == (None, {"b": "2"})
    table.alter.add_column("n", "INT")
    assert [(entry.operation, entry.notes) for entry in table.history(limit=2)] == [
        ("alter", ("columns changed",)),
        ("alter", ("comment, properties changed",)),
    ]
    assert len(definition.schemas) == 1


def test_vectors_are_switched_on_and_off(tmp_path: Path) -> None:
    table = filled(tmp_path / "t", deletion_vectors=False, settings=Settings(compact_bytes=0))

    def vectors() -> int:
        return sum(file.vector is not None for file in load_state(DiskStorage(str(tmp_path / "t"))).files.values())

    table.alter.set(deletion_vectors=True)
    table.apply(rows(1, lsn=8))
    assert vectors() == 1
    table.alter.set(deletion_vectors=False)
    table.apply(rows(1, 2, 3, lsn=9))
    assert vectors() == 0
    assert shown(pl.scan_delta(str(tmp_path / "t")).collect().to_arrow()) == shown(table.to_arrow())


def test_a_change_of_nothing_commits_nothing() -> None:
    table = filled(MemoryStorage())
    before = table.version
    assert table.alter.rename_comment("a", None).version is None
    assert table.alter.set(merge="always").version is None
    assert table.alter.add_column("A", "INT", if_not_exists=True).version is None
    assert str(table.alter.set()) == "altered  nothing to change"
    assert table.version == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda alter: alter.add_column("A", "STRING"), "'a' is there already"),
        (lambda alter: alter.add_column("s.x", "STRING"), "'x' is there already"),
        (lambda alter: alter.add_column("a.b", "STRING"), "'a' is int, no struct"),
        (lambda alter: alter.add_column("_andes_x", "STRING"), "belong to"),
        (lambda alter: alter.add_column("n", "INTERVAL"), "INTERVAL is not supported"),
        (lambda alter: alter.add_column("n", "INT NOT NULL"), "one type in DDL"),
        (lambda alter: alter.add_column("n", "INT, m INT"), "one type in DDL"),
        (lambda alter: alter.add_column("n", 5), "type is a type"),
        (lambda alter: alter.widen("b", "BIGINT"), "no column 'b': there are id, lsn"),
        (lambda alter: alter.widen("s.z", "BIGINT"), "no column 'z' in 's': there are x"),
        (lambda alter: alter.widen("a", "SMALLINT"), "'a' is int, which cannot become smallint"),
        (lambda alter: alter.widen("a", "FLOAT"), "cannot become float"),
        (lambda alter: alter.widen("a", "INT"), "cannot become int"),
        (lambda alter: alter.widen("d", "DECIMAL(5,3)"), "cannot become"),
        (lambda alter: alter.widen("s", "STRUCT<x: BIGINT>"), "cannot become"),
        (lambda alter: alter.widen("id", "DECIMAL(20,0)"), "part of the key or sequence"),
        (lambda alter: alter.widen("p", "BIGINT"), "partition column"),
        (lambda alter: alter.drop_column("id"), "key, sequence or partition"),
        (lambda alter: alter.drop_column("LSN"), "key, sequence or partition"),
        (lambda alter: alter.drop_column("p"), "key, sequence or partition"),
        (lambda alter: alter.drop_column("s.x"), "only field of its struct"),
        (lambda alter: alter.drop_column("l.element"), "part of an array or map"),
        (lambda alter: alter.rename_comment("l.element", "c"), "has no comment"),
        (lambda alter: alter.rename_comment("a", 7), "comment is text"),
        (lambda alter: alter.set(merge="sometimes"), "merge"),
        (lambda alter: alter.set(lateness="never"), "lateness"),
        (lambda alter: alter.set(properties={"a": 1}), "properties"),
        (lambda alter: alter.set(deletion_vectors="yes"), "True or False"),
        (lambda alter: alter.unset("x"), "there is no property 'x' to unset: there are none"),
    ],
)
def test_what_is_refused_changes_nothing(change: Callable[[Any], Any], message: str) -> None:
    table = ModTable.create(
        MemoryStorage(), DDL + ", p INT", primary_key=["id"], sequence_by=["lsn"], partition_by=["p"]
    )
    with pytest.raises((OptionError, SchemaMismatchError, Exception)) as caught:
        change(table.alter)
    assert type(caught.value).__module__ == "andes_spark.errors"
    assert message in str(caught.value)
    assert table.version == 0


def test_a_dropped_name_is_never_used_again() -> None:
    table = filled(MemoryStorage())
    table.alter.drop_column("t")
    with pytest.raises(OptionError, match="was dropped, and files still hold its values"):
        table.alter.add_column("T", "BIGINT")
    table.alter.add_column("s.y", "INT")
    table.alter.drop_column("s.y")
    with pytest.raises(OptionError, match="was dropped"):
        table.alter.add_column("s.y", "STRING")
    # The same name elsewhere is another column.
    table.alter.add_column("y", "STRING")
    assert shown(table.to_arrow())[0]["y"] is None


def test_a_batch_of_the_columns_before_is_committed_after_a_change(tmp_path: Path) -> None:
    table = filled(tmp_path / "t")
    tap = TappedStorage(DiskStorage(str(tmp_path / "t")))
    writer = ModTable.open(tap)  # type: ignore[arg-type]

    def alter(request: str, path: str) -> None:
        if request == "put_if_absent":
            tap.tap = None
            table.alter.add_column("n", "STRING")
            table.alter.widen("a", "BIGINT")
            table.alter.drop_column("t")

    tap.tap = alter
    result = writer.apply(rows(1, 7, lsn=5), batch_id=("s", 1))
    assert result.conflicts == 3
    for handle in (writer, table, ModTable.open(tmp_path / "t")):
        rows_by_id = {row["id"]: row for row in shown(handle.to_arrow())}
        assert {"n", "a"} <= set(rows_by_id[7])
        assert (rows_by_id[7]["a"], rows_by_id[7]["n"], rows_by_id[1]["lsn"]) == (7, None, 5)
        assert "t" not in rows_by_id[7]
    # Sent again by the new columns it is the same batch.
    repeated = rows(1, 7, lsn=5).drop_columns(["t"])
    assert table.apply(repeated, batch_id=("s", 1), missing="null").replayed
    assert table.verify().ok


def test_batches_of_an_appender_prepared_before_a_change_have_a_version_of_their_own() -> None:
    storage = MemoryStorage()
    table = filled(storage)
    with table.appender(max_delay=30) as appender:
        before = appender.apply(rows(11, lsn=3))
        ModTable.open(storage).alter.add_column("n", "STRING")
    assert before.result().version > 0
    assert {row["id"] for row in shown(table.to_arrow())} >= {11}
    assert append_batches(table._open_table, []) == []
    assert ApplyOptions().evolve_schema is None


def test_two_changes_at_once_are_both_made(tmp_path: Path) -> None:
    table = filled(tmp_path / "t")
    tap = TappedStorage(DiskStorage(str(tmp_path / "t")))
    other = ModTable.open(tap)  # type: ignore[arg-type]

    def alter(request: str, path: str) -> None:
        if request == "put_if_absent":
            tap.tap = None
            table.alter.add_column("n", "STRING")

    tap.tap = alter
    other.alter.add_column("m", "INT")
    assert other.schema.names == (*BEGINNING, "n", "m")
    definition = ModTable.open(tmp_path / "t")._open_table.definition
    ids = definition.schemas[-1].field_ids
    assert len(set(ids)) == len(ids)
    tap.tap = None


def test_restore_and_set_aside_across_a_change(tmp_path: Path) -> None:
    table = filled(tmp_path / "t", "manual")
    table.merge()
    before, version = shown(table.to_arrow()), table.version
    table.alter.widen("a", "BIGINT")
    table.alter.drop_column("t")
    added = table.apply(rows(8, lsn=3).drop_columns(["t"])).version
    table.merge()
    # A restore brings back rows, not columns.
    table.restore(version=version, merge=True)
    expected = [{name: value for name, value in row.items() if name != "t"} for row in before]
    for handle in (table, ModTable.open(tmp_path / "t")):
        assert shown(handle.to_arrow()) == expected
        assert shown(handle.to_arrow(version=version)) == before
    assert load_state(DiskStorage(str(tmp_path / "t"))).metadata.schema_json == table.schema.to_json()
    assert shown(pl.scan_delta(str(tmp_path / "t")).select("id", "a").collect().to_arrow()) == [
        {"id": row["id"], "a": row["a"]} for row in before
    ]
    assert 8 in {row["id"] for row in shown(table.to_arrow(version=added))}
    last = table.apply(rows(9, lsn=3).drop_columns(["t"])).version
    table.alter.add_column("n", "STRING")
    table.set_aside(last)
    table.merge()
    assert shown(table.to_arrow()) == [{**row, "n": None} for row in expected]
    assert table.verify().ok


def test_compaction_before_the_merge_of_a_change_keeps_the_columns_of_the_base(tmp_path: Path) -> None:
    table = ModTable.create(
        tmp_path / "t", DDL, primary_key="id", sequence_by="lsn", merge="manual", settings=Settings(compact_bytes=0)
    )
    for number in range(6):
        table.apply(rows(number))
        table.merge()
    before = shown(table.to_arrow())
    version = table.version
    table.alter.drop_column("t")
    table.alter.widen("a", "BIGINT")
    assert table.compact().files_removed > 1
    for handle in (table, ModTable.open(tmp_path / "t")):
        assert shown(handle.to_arrow(version=version)) == before
        assert shown(handle.to_arrow()) == [after("drop", row) for row in before]
        assert handle.verify().ok
    stored = pl.read_parquet(sorted((tmp_path / "t").glob("*.parquet"), key=lambda path: path.stat().st_mtime)[-1])
    assert stored.schema["a"] == pl.Int32
    assert "t" in stored.columns
