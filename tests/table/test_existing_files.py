"""Creating a table where something is already: other files, a Delta table, the remains of a load."""

from __future__ import annotations

from typing import Any

import deltalake
import pyarrow as pa
import pytest

from andes_spark.errors import NoSuchTableError, TableExistsError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable


def create(storage: Any, **options: Any) -> ModTable:
    return ModTable.create(storage, "id BIGINT, v STRING", primary_key="id", **options)


def holding(*paths: str) -> MemoryStorage:
    storage = MemoryStorage()
    for path in paths:
        storage.put(path, b"x")
    return storage


def test_a_folder_with_other_files_is_refused_and_named():
    storage = holding("a.csv", "b/c.parquet", "d", "e")
    before = storage.counts.snapshot()
    with pytest.raises(
        TableExistsError, match=r"a\.csv, b/c\.parquet, d, \.\.\.\).*allow_existing_files=True"
    ) as caught:
        create(storage)
    assert caught.value.paths == ("a.csv", "b/c.parquet", "d")
    assert storage.counts.minus(before).list <= 2
    assert len(list(storage.list())) == 4


@pytest.mark.parametrize("data", [None, pa.table({"id": [1], "v": ["a"]})])
def test_it_is_allowed_when_told(data):
    storage = holding("notes.txt", "part-00000.parquet")
    table = create(storage, allow_existing_files=True, data=data)
    assert table.to_arrow().num_rows == (0 if data is None else 1)
    assert storage.get("notes.txt") == b"x"
    assert table.verify().ok


def test_if_not_exists_is_no_permission():
    with pytest.raises(TableExistsError) as caught:
        create(holding("a.csv"), if_not_exists=True)
    assert caught.value.paths == ("a.csv",)


def test_if_not_exists_opens_no_table_with_other_keys():
    storage = MemoryStorage()
    create(storage)
    with pytest.raises(TableExistsError, match="other key or sequence columns here; open it"):
        create(storage, sequence_by="v", text_sequence=True, if_not_exists=True)


def test_remains_of_an_interrupted_load_are_no_other_files():
    storage = holding("part-0f0e0d0c-0b0a-0908-0706-050403020100.zstd.parquet")
    assert create(storage, data=pa.table({"id": [1], "v": ["a"]})).to_arrow().num_rows == 1


def test_a_delta_table_is_named_as_such_by_create_and_open(tmp_path):
    rows = pa.table({"id": [1], "v": ["a"]})
    deltalake.write_deltalake(str(tmp_path), rows)
    for call in (
        lambda: create(tmp_path),
        lambda: create(tmp_path, if_not_exists=True),
        lambda: ModTable.open(tmp_path),
    ):
        with pytest.raises((TableExistsError, NoSuchTableError), match=r"Delta table.*another folder.*as data"):
            call()
    # What the message says works.
    table = create(tmp_path / "other", data=deltalake.DeltaTable(str(tmp_path)).to_pyarrow_table())
    assert table.to_arrow().to_pylist() == rows.to_pylist()


def test_no_table_at_all():
    with pytest.raises(NoSuchTableError, match="no table of andes_spark here"):
        ModTable.open(MemoryStorage())
