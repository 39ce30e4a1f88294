"""Delivery into Redshift: the statements of golden files, and the files and manifests that they load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark import ModTable
from andes_spark.errors import (
    CommitConflictError,
    ForeignWriteError,
    OptionError,
    SchemaMismatchError,
    StorageError,
    UnsupportedTableError,
)
from andes_spark.storage.disk import DiskStorage
from andes_spark.sync.warehouse.delivery import Delivery
from andes_spark.sync.warehouse.dialects import TargetName
from andes_spark.sync.warehouse.loading import CopyFromS3
from andes_spark.sync.warehouse.redshift import Redshift
from andes_spark.sync.warehouse.session import Answer
from andes_spark.table.sql_target import _Source

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "redshift_statements.json").read_text("utf-8"))
ROLE = "arn:aws:iam::123456789012:role/load"
COLUMNS = "id BIGINT, part STRING, Status STRING, total DECIMAL(10,2), lines ARRAY<STRUCT<a: INT>>, seen TIMESTAMP"
TYPES = ["bigint", "character varying(65535)", "character varying(65535)", "numeric(10,2)", "super"]


class RedshiftDouble:
    """Answers as Redshift does when all is well; notes each statement, and reads what COPY loads."""

    def __init__(self, stage: DiskStorage, **met: int) -> None:
        self.stage, self.met = stage, met
        self.statements: list[list[str]] = []
        self.cursor: list[Any] = []
        self.columns: list[tuple[str, str]] = []
        self.loaded: list[dict[str, Any]] = []
        self.manifests: list[dict[str, Any]] = []

    def __enter__(self) -> RedshiftDouble:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def execute(self, step: str, sql: str, **values: Any) -> Answer:
        text = re.sub(
            r"_andes_[0-9a-f]{16}", "_andes_SHADOW", re.sub(r"FROM '.*/[0-9a-f]{32}/", "FROM 's3://STAGE/", sql)
        )
        self.statements.append([step, text])
        if step.startswith("load"):
            self._load(sql)
        if step in ("set cursor", "move cursor") and self.met.get(step) != 0:
            names = ("table_id", "generation", "epoch", "version", "manifest", "row_count", "columns")
            self.cursor = [values[name] for name in names]
            self.columns = [(name.lower(), kind) for name, kind, *_ in json.loads(values["columns"])]
        rows: dict[str, Any] = {"read cursor": [self.cursor] if self.cursor else [], "read columns": self.columns}
        counts = {"count shadow": len(self.loaded), "count updates": self._changes("U"), "count inserts": 0}
        counts |= {"delete": self._changes("D"), "clear stage": self._changes("D"), "move cursor": 1} | self.met
        return Answer(rows.get(step, [[counts.get(step, 0)]]), counts.get(step, 0))

    def _changes(self, change: str) -> int:
        return sum(row.get("_andes_change") == change for row in self.loaded)

    def _load(self, sql: str) -> None:
        (url,) = re.findall(r"FROM '([^']*)'", sql)
        folder = Path(url).parent
        self.manifests.append(json.loads(Path(url).read_bytes()))
        self.loaded = []
        for entry in self.manifests[-1]["entries"]:
            path = Path(entry["url"])
            assert path.parent == folder
            assert entry["mandatory"] is True
            assert entry["meta"]["content_length"] == path.stat().st_size
            self.loaded += pq.read_table(path).to_pylist()


@pytest.fixture
def stage(tmp_path) -> DiskStorage:
    return DiskStorage(str(tmp_path / "stage"))


@pytest.fixture
def orders(tmp_path) -> ModTable:
    table = ModTable.create(tmp_path / "orders", COLUMNS, primary_key=["id", "part"])
    apply(table, [1, 2, 3])
    return table


def apply(table: ModTable, ids: list[int], status: str = "new", **more: Any) -> None:
    schema = table.to_arrow().schema
    rows = [{"id": id_, "part": "a", "Status": status, "lines": [{"a": 1}], **more} for id_ in ids]
    table.apply(pa.Table.from_pylist(rows, schema), apply_as_deletes="Status = 'gone'", at_least_once=True)


def deliver(table: ModTable, double: RedshiftDouble, **options: Any) -> Any:
    """Deliver, with the statements of this delivery alone in ``double``."""
    double.statements.clear()
    loader = CopyFromS3("Redshift sales.orders", double.stage, ROLE, part_bytes=1)
    source = lambda: _Source(table._open_table)  # noqa: E731
    connect: Any = lambda: double  # noqa: E731
    return Delivery(connect, Redshift(TargetName("sales", "orders")), source, loader, **options).run(3)


def test_the_statements_are_those_of_the_documentation(orders, stage):
    double = RedshiftDouble(stage)
    assert deliver(orders, double).action == "load"
    assert double.statements == GOLDEN["load"]
    apply(orders, [1, 4])
    apply(orders, [2], "gone")
    orders.alter.add_column("note", "STRING")
    delivered = deliver(orders, double)
    assert (delivered.inserted, delivered.updated, delivered.deleted) == (1, 0, 1)
    apply(orders, [1, 3], "paid", note="n")
    apply(orders, [7], "new", note="n")
    apply(orders, [4], "gone")
    orders.alter.add_column("size", "INT")
    deliver(orders, double)
    assert double.statements == GOLDEN["changes"]
    deliver(orders, double, reload=True)
    assert double.statements == GOLDEN["reload"]
    deliver(orders, double)
    assert double.statements == GOLDEN["none"]


def test_files_of_a_part_each_are_listed_with_their_sizes_and_deleted(orders, stage):
    double = RedshiftDouble(stage)
    deliver(orders, double)
    assert [row["id"] for row in double.loaded] == [1, 2, 3]
    assert [column for column, _ in double.columns] == ["id", "part", "status", "total", "lines", "seen"]
    assert [kind for _, kind in double.columns][:5] == TYPES
    assert list(stage.list()) == []
    apply(orders, [1], "x" * 65_536)
    with pytest.raises(SchemaMismatchError, match="longer than the 65,535 bytes"):
        deliver(orders, double)
    assert list(stage.list()) == []


def test_an_empty_table_needs_no_copy(tmp_path, stage):
    table = ModTable.create(tmp_path / "empty", COLUMNS, primary_key="id")
    double = RedshiftDouble(stage)
    assert deliver(table, double).cursor.rows == 0
    assert "load shadow" not in dict(double.statements)


@pytest.mark.parametrize(
    ("met", "problem"),
    [
        ({"delete": 0}, "delete met 0 rows, and 1 were delivered before"),
        ({"count updates": 0}, "count updates met 0 rows, and 1 were delivered before"),
        ({"count inserts": 1}, "rows of keys that are new in the table"),
        ({"move cursor": 0}, "other deliveries were first"),
    ],
)
def test_keys_that_redshift_does_not_enforce_are_counted(orders, stage, met, problem):
    double = RedshiftDouble(stage)
    deliver(orders, double)
    apply(orders, [1, 4], "paid")
    apply(orders, [2], "gone")
    double.met = met
    with pytest.raises((ForeignWriteError, CommitConflictError), match=problem):
        deliver(orders, double)
    assert "commit" not in dict(double.statements)


def test_a_shadow_that_is_not_complete_is_not_swapped_in(orders, stage):
    double = RedshiftDouble(stage)
    double.met = {"count shadow": 2}
    with pytest.raises(StorageError, match="3 rows were sent, and 2 arrived"):
        deliver(orders, double)
    assert "swap" not in dict(double.statements)


def test_what_redshift_cannot_do_is_named(orders, stage, tmp_path):
    double = RedshiftDouble(stage)
    deliver(orders, double)
    orders.alter.widen("total", "DECIMAL(12,2)")
    with pytest.raises(SchemaMismatchError, match="cannot widen a column within a transaction"):
        deliver(orders, double)
    table = ModTable.create(tmp_path / "other", f"id BIGINT, {'x' * 128} INT", primary_key="id")
    with pytest.raises(UnsupportedTableError, match="longer than the 127 bytes"):
        deliver(table, double)
    for options in ({}, {"stage": "s3://b/c"}, {"stage": "/disk", "iam_role": ROLE}):
        with pytest.raises(OptionError, match="Redshift loads files from S3"):
            orders.sync_sql("redshift://a@b/c", "sales.orders", **options)
    with pytest.raises(OptionError, match="stage is for Redshift"):
        orders.sync_sql("postgresql://a@b/c", "sales.orders", stage="s3://b/c")
