"""Rows of files: paths, globs and folders of Parquet, CSV and JSON lines, on disk and S3."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from andes_spark import ModTable
from andes_spark.errors import FileDamagedError, NotFoundError, OptionError, SchemaMismatchError
from andes_spark.inputs.files import FileRows, format_of
from andes_spark.inputs.locations import _pattern, files_at
from andes_spark.inputs.rows import Reading, arrow_tables
from andes_spark.schema.schema import Schema

SCHEMA = Schema.from_ddl("id BIGINT, seq BIGINT, name STRING")


def rows(*ids: int) -> pa.Table:
    return pa.table(
        {"id": pa.array(ids, pa.int64()), "seq": pa.array(ids, pa.int64()), "name": [f"n{number}" for number in ids]}
    )


def write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def ids(source, **reading) -> list[int]:
    tables = arrow_tables(source, Reading(**{"part_bytes": 1 << 20, "schema": SCHEMA, **reading}))
    return [number for table in tables for number in table["id"].to_pylist()]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "in/a.parquet", rows(1, 2))
    write(tmp_path / "in/b.csv", rows(3))
    write(tmp_path / "in/sub/c.jsonl", rows(4))
    write(tmp_path / "in/sub/d.ndjson.gz", rows(5))
    (tmp_path / "in/_SUCCESS").write_text("")
    (tmp_path / "in/.hidden.csv").write_text("x")
    (tmp_path / "in/_temporary").mkdir()
    write(tmp_path / "in/_temporary/e.csv", rows(6))
    (tmp_path / "in/README.md").write_text("notes")
    return tmp_path / "in"


def test_a_file_several_a_glob_and_a_folder(folder):
    assert ids(folder / "a.parquet") == [1, 2]
    assert ids(str(folder / "b.csv")) == [3]
    assert ids([folder / "b.csv", str(folder / "a.parquet")]) == [3, 1, 2]
    assert ids(f"{folder}/*.*") == [3, 1, 2] or ids(f"{folder}/*.*") == [1, 2, 3]
    assert ids(f"{folder}/**/*.jsonl") == [4]
    assert ids(folder) == [1, 2, 3, 4, 5]
    assert ids([folder, folder / "a.parquet"]) == [1, 2, 3, 4, 5]


def test_a_path_with_a_tilde_is_in_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert ids("~/a.parquet") == [1, 2]


def test_a_name_that_looks_like_a_glob_is_that_file(tmp_path):
    assert ids(write(tmp_path / "rows[1].csv", rows(9))) == [9]


def test_formats_by_name_and_as_given(tmp_path):
    assert format_of("a/Rows.CSV.gz", None) == "csv"
    assert format_of("rows", "ndjson") == "json"
    odd = tmp_path / "rows.txt"
    os.rename(write(tmp_path / "rows.csv", rows(1)), odd)
    assert ids(FileRows((str(odd),), "csv")) == [1]
    with pytest.raises(OptionError) as caught:
        ids(odd)
    assert (caught.value.option, caught.value.path) == ("format", str(odd))
    with pytest.raises(OptionError) as unknown:
        ids(FileRows((str(odd),), "orc"))
    assert "parquet, csv, json, ndjson" in unknown.value.message


def test_nothing_there_is_named(folder):
    for path in ("none.csv", f"{folder}/*.orc", str(folder / "_temporary" / "x"), str(folder / "*/none.csv")):
        with pytest.raises(NotFoundError) as caught:
            ids(path)
        assert caught.value.path == path
    (folder / "empty").mkdir()
    with pytest.raises(NotFoundError):
        ids(folder / "empty")


def test_folders_that_are_tables_or_have_columns_in_their_names_are_refused(tmp_path):
    ModTable.create(tmp_path / "t", "id BIGINT", primary_key=["id"], sequence_by=["id"], data=[{"id": 1}])
    with pytest.raises(OptionError, match=r"a table of this library.* mods that are not merged.* andes table read"):
        ids(tmp_path / "t")
    (tmp_path / "delta/_delta_log").mkdir(parents=True)
    with pytest.raises(OptionError, match=r"is no folder of files but a Delta table.*DeltaTable"):
        ids(tmp_path / "delta")
    write(tmp_path / "days/day=2026-01-01/a.parquet", rows(1))
    with pytest.raises(OptionError) as partitioned:
        ids(tmp_path / "days")
    assert "day=2026-01-01" in partitioned.value.message


def test_files_of_other_columns_are_refused(tmp_path):
    write(tmp_path / "a.parquet", rows(1))
    write(tmp_path / "b.csv", rows(2).drop_columns(["name"]))
    with pytest.raises(OptionError) as caught:
        ids([tmp_path / "a.parquet", tmp_path / "b.csv"])
    assert caught.value.path == str(tmp_path / "b.csv")
    assert "name" in caught.value.message


def test_files_of_other_types_are_brought_to_the_table_one_by_one(tmp_path):
    narrow = rows(1).set_column(0, "id", pa.array([1], pa.int32()))
    write(tmp_path / "in/a.parquet", narrow)
    write(tmp_path / "in/b.parquet", rows(2).select(["name", "id", "seq"]))
    table = ModTable.create(tmp_path / "t", SCHEMA, primary_key=["id"], sequence_by=["seq"])
    assert table.apply(tmp_path / "in").upserts == 2
    assert table.to_arrow().sort_by("id")["name"].to_pylist() == ["n1", "n2"]
    loaded = ModTable.create(tmp_path / "u", SCHEMA, primary_key=["id"], sequence_by=["seq"], data=tmp_path / "in")
    assert loaded.to_arrow().num_rows == 2


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_another_delimiter_is_no_damaged_file(tmp_path, delimiter, word):
    path = tmp_path / "rows.csv"
    path.write_text(f"id{delimiter}seq{delimiter}name\n1{delimiter}1{delimiter}a, b\n")
    with pytest.raises(SchemaMismatchError) as caught:
        ids(path)
    assert caught.value.path == str(path)
    assert word in caught.value.message


def test_damaged_files_are_named(tmp_path):
    for name in ("a.parquet", "a.jsonl", "a.csv.gz", "a.jsonl.gz"):
        path = tmp_path / name
        path.write_bytes(b"\x00{no such thing\n")
        with pytest.raises((FileDamagedError, SchemaMismatchError)) as caught:
            ids(path)
        assert caught.value.fields["path"] == str(path)


def test_parquet_is_read_in_batches_below_the_part(tmp_path):
    wide = pa.table({"id": range(5000), "seq": range(5000), "name": ["x" * 1000] * 5000})
    pq.write_table(wide, tmp_path / "a.parquet", use_dictionary=False)
    tables = list(arrow_tables(tmp_path / "a.parquet", Reading(part_bytes=500_000, schema=SCHEMA)))
    assert max(table.nbytes for table in tables) < 800_000
    assert sum(table.num_rows for table in tables) == 5000


def test_text_of_files_is_left_for_a_cast(tmp_path):
    (tmp_path / "a.csv").write_text("id,seq,name,ok\n1,1,a,true\n2,2,b,perhaps\n")
    table = ModTable.create(tmp_path / "t", "id BIGINT, seq BIGINT, name STRING, ok BOOLEAN", primary_key=["id"],
                            sequence_by=["seq"])  # fmt: skip
    with pytest.raises(SchemaMismatchError):
        table.apply(tmp_path / "a.csv")
    assert table.apply(tmp_path / "a.csv", cast=True, max_quarantined=1).quarantined == 1


def test_globs_as_patterns_over_paths_of_s3():
    assert _pattern("a/*.csv").fullmatch("a/x.csv")
    assert not _pattern("a/*.csv").fullmatch("a/b/x.csv")
    assert _pattern("a/**/*.csv").fullmatch("a/b/c/x.csv")
    assert _pattern("a/**/*.csv").fullmatch("a/x.csv")
    assert _pattern("[!b]?.(1)").fullmatch("ax.(1)")
    assert not _pattern("[!b]?.(1)").fullmatch("bx.(1)")


def test_an_empty_list_of_paths_is_no_rows_of_files(tmp_path):
    assert files_at([], None, suffixes=None) == []
