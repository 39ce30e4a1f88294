"""Changes of the schema that end at any write: table and base have the columns before or those after."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import OptionError, StorageError
from andes_spark.storage.memory import MemoryStorage
from tests.table.test_crashes import FailingStorage, copy_of

pytestmark = pytest.mark.faults

SETTINGS = Settings(commit_seconds=0.0)
OLD = [{"id": number, "a": number, "lsn": 1} for number in (1, 2, 3)]
FEED = pa.table({"id": [4], "a": [2**40], "lsn": [2], "n": ["new"]})


@cache
def _begun() -> MemoryStorage:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, a INT, lsn BIGINT", primary_key="id", sequence_by="lsn")
    table.apply(OLD)
    return storage


def rows_of(table: ModTable, **options: Any) -> list[dict[str, Any]]:
    return table.to_arrow(**options).sort_by("id").to_pylist()


def widen(table: ModTable) -> None:
    table.alter.widen("a", "BIGINT")


def apply(table: ModTable) -> None:
    table.apply(FEED, evolve_schema="add_and_widen", batch_id=("feed", 1))


@pytest.mark.parametrize("happens", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("work", [widen, apply])
def test_the_store_gone_at_any_write(work: Any, happens: bool) -> None:
    failed = 0
    for left in range(1, 60):
        storage = copy_of(_begun())
        failing = FailingStorage(storage, left=left, happens=happens)
        try:
            work(ModTable.open(failing, settings=SETTINGS))  # type: ignore[arg-type]
        except StorageError:
            failed += 1
        table = ModTable.open(storage)
        is_new = table.schema.to_ddl() != "id BIGINT NOT NULL, a INT, lsn BIGINT NOT NULL"
        assert is_new == (table.version == 2)
        more = {"n": None} if is_new and work is apply else {}
        assert rows_of(table)[:3] == [{**row, **more} for row in OLD]
        assert table.verify().ok
        try:
            work(table)
        except OptionError:
            assert is_new
        table.merge()
        assert len(rows_of(table)) == (4 if work is apply else 3)
        assert rows_of(table, version=1) == OLD
        reopened = ModTable.open(storage)
        assert reopened.version == 2
        assert reopened.verify().ok
        assert reopened.status().pending_versions == 0
        if failing.left > 0:
            break
    assert failing.left > 0, "the work never ended"
    assert failed >= 2
