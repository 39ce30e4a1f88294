"""sync_sql into a real PostgreSQL: rows equal the table's after each delivery, and nothing of others is overwritten."""

from __future__ import annotations

import datetime
import itertools
import json
import threading
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark import ModTable
from andes_spark.cli.app import andes
from andes_spark.errors import (
    AccessDeniedError,
    CommitConflictError,
    ForeignWriteError,
    OptionError,
    SchemaMismatchError,
    StorageError,
    StoreUnavailableError,
    UnsupportedTableError,
)
from andes_spark.sync.warehouse.session import Session
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]
pytestmark = pytest.mark.integration
_NAMES = (f"d{number}" for number in itertools.count())


class Target:
    """A database of a test."""

    def __init__(self, server: Postgres) -> None:
        self.server, self.name = server, next(_NAMES)
        self.url = server.new_database(self.name)

    def sql(self, text: str) -> Any:
        return self.server.sql(text, self.name)

    def rows(self) -> list[Any]:
        return [tuple(row) for row in self.sql("SELECT * FROM sales.orders ORDER BY 1")]

    def cursor(self) -> Any:
        return self.sql("SELECT generation, version, row_count FROM sales._andes_delivery")[0]


@pytest.fixture
def target(postgres: Postgres) -> Target:
    return Target(postgres)


@pytest.fixture
def orders(tmp_path) -> ModTable:
    table = ModTable.create(tmp_path / "orders", "id BIGINT, status STRING, total INT", primary_key="id")
    apply(table, {1: "new", 2: "open", 3: "paid"})
    return table


def apply(table: ModTable, rows: dict[int, str | None], total: int = 1) -> None:
    """Upsert rows; those with None are deleted."""
    mods = pa.table(
        {"id": list(rows), "status": list(rows.values()), "total": [total] * len(rows)},
        pa.schema([("id", pa.int64()), ("status", pa.string()), ("total", pa.int32())]),
    )
    table.apply(mods, apply_as_deletes="status IS NULL", at_least_once=True)


def rows_of(table: ModTable) -> list[Any]:
    return [tuple(row.values()) for row in table.to_arrow().sort_by("id").to_pylist()]


def test_the_first_delivery_loads_and_later_ones_bring_changes(orders, target):
    first = orders.sync_sql(target.url, "sales.orders")
    assert (first.action, first.version, first.rows) == ("load", 1, 3)
    assert target.rows() == rows_of(orders)
    apply(orders, {1: "paid", 2: None, 4: "new", 5: None})
    apply(orders, {4: "open"})
    second = orders.sync_sql(target.url, "sales.orders")
    assert (second.action, second.from_version, second.version) == ("changes", 1, 3)
    assert (second.inserted, second.updated, second.deleted, second.rows) == (1, 1, 1, 3)
    assert target.rows() == rows_of(orders) == [(1, "paid", 1), (3, "paid", 1), (4, "open", 1)]
    assert target.cursor() == [1, 3, 3]
    third = orders.sync_sql(target.url, "sales.orders", count_rows=True)
    assert (third.action, third.version) == ("none", 3)
    assert "shows version 3" in str(orders.status())
    orders.restore(version=1)
    assert orders.sync_sql(target.url, "sales.orders").action == "changes"
    assert target.rows() == rows_of(orders) == [(1, "new", 1), (2, "open", 1), (3, "paid", 1)]
    assert target.sql("SELECT indisprimary FROM pg_index WHERE indrelid = 'sales.orders'::regclass") == [[True]]


TYPES = (
    "id BIGINT, o BOOLEAN, b TINYINT, h SMALLINT, i INT, r FLOAT, f DOUBLE, d DECIMAL(38,10), s STRING, x BINARY, "
    "y DATE, t TIMESTAMP, n TIMESTAMP_NTZ, l ARRAY<STRUCT<a: INT, b: STRING>>, m MAP<STRING, DOUBLE>, "
    'k MAP<INT, DECIMAL(4,1)>, `sel"ect:x` STRING'
)
MOMENT = datetime.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=datetime.UTC)


def test_values_of_all_types_arrive_as_they_are(tmp_path, target):
    table = ModTable.create(tmp_path / "t", TYPES, primary_key="id")
    full = {
        "id": -(2**63), "o": True, "b": -128, "h": 32767, "i": -(2**31), "r": 0.1, "f": 1e-300,
        "d": Decimal("1234567890123456789012345678.0123456789"), "s": "", "x": b"\x00\xff\"\n", "y": MOMENT.date(),
        "t": MOMENT, "n": MOMENT.replace(tzinfo=None), "l": [{"a": 1, "b": 'x"\\u0000,\n'}, None], "m": [("k", 1.5)],
        "k": [(1, Decimal("2.5"))], 'sel"ect:x': "\\.",
    }  # fmt: skip
    texts = ["\\N", "NULL", ' "a",\r\n\t', "\\", "é😀\u2028", "'; DROP TABLE x; --"]
    rows = [full, {"id": 0, "f": float("nan"), "r": float("-inf"), "d": Decimal("0E-10"), "l": [], "m": [], "x": b""}]
    rows += [{"id": number, "s": text} for number, text in enumerate(texts, 1)]
    rows.append({"id": 99, "y": datetime.date(1, 1, 1), "n": datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)})
    table.apply(pa.Table.from_pylist(rows, table.to_arrow().schema), at_least_once=True)
    table.sync_sql(target.url, "sales.orders")
    loaded = target.rows()
    expected = (
        *(full[name] for name in ("id", "o", "b", "h", "i")), pytest.approx(0.1), 1e-300,
        *(full[name] for name in ("d", "s", "x", "y", "t", "n", "l")), {"k": 1.5}, [{"key": 1, "value": "2.5"}], "\\.",
    )  # fmt: skip
    assert loaded[0] == expected
    assert str(loaded[1][6]) == "nan"
    assert loaded[1][5] == float("-inf")
    assert (loaded[1][9], loaded[1][13], loaded[1][14]) == (b"", [], {})
    assert [row[8] for row in loaded[2:8]] == texts
    assert [row[8] for row in (loaded[1], loaded[8])] == [None, None]
    assert (loaded[8][10], loaded[8][12]) == (rows[-1]["y"], rows[-1]["n"])
    # The same values by the way of changes.
    for row in rows:
        row["i"] = 7
    table.apply(pa.Table.from_pylist(rows, table.to_arrow().schema), at_least_once=True)
    assert table.sync_sql(target.url, "sales.orders").action == "changes"
    assert [(*row[:4], *row[5:]) for row in target.rows() if row[0] != 0] == [
        (*row[:4], *row[5:]) for row in loaded if row[0] != 0
    ]


@pytest.mark.parametrize(
    ("column", "kind", "value", "problem"),
    [
        ("s", pa.string(), "a\0b", "character NUL"),
        ("l", pa.list_(pa.string()), ["a\0b"], "character NUL"),
        ("y", pa.date32(), 3_000_000, "outside of the years"),
        ("n", pa.timestamp("us"), 2**62, "outside of the years"),
        ("m", pa.list_(pa.float64()), [float("inf")], "not a number of JSON"),
    ],
)
def test_a_value_that_the_database_cannot_hold_is_named_and_nothing_changes(
    tmp_path, target, column, kind, value, problem
):
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), (column, kind)])
    table = ModTable.create(tmp_path / "t", schema, primary_key="id")
    table.apply(pa.table({"id": [1], column: pa.array([None], kind)}, schema), at_least_once=True)
    table.sync_sql(target.url, "sales.orders")
    table.apply(pa.table({"id": [2], column: pa.array([value], kind)}, schema), at_least_once=True)
    for reload in (False, True):
        with pytest.raises(SchemaMismatchError, match=problem) as caught:
            table.sync_sql(target.url, "sales.orders", reload=reload)
        assert caught.value.column == column
        assert (target.rows(), target.cursor()) == ([(1, None)], [1, 1, 1])
        assert target.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_andes\\_%' AND relkind = 'r'") == [
            ["_andes_delivery"]
        ]
    assert "SchemaMismatchError" in str(table.status())


@pytest.mark.parametrize("name", ["x" * 64, "ctid"])
def test_a_column_that_the_database_cannot_hold_is_named_before_any_work(tmp_path, name):
    table = ModTable.create(tmp_path / "t", f"id BIGINT, `{name}` INT", primary_key="id")
    with pytest.raises(UnsupportedTableError) as caught:
        table.sync_sql("postgresql://nobody@localhost:1/nothing", "sales.orders")
    assert caught.value.column == name


def test_columns_by_policy(orders, target):
    orders.sync_sql(target.url, "sales.orders")
    orders.alter.add_column("note", "STRING")
    orders.alter.widen("total", "BIGINT")
    with pytest.raises(SchemaMismatchError, match="note is new; total is bigint now"):
        orders.sync_sql(target.url, "sales.orders", "freeze")
    assert target.cursor() == [1, 1, 3]
    orders.apply(pa.table({"id": [4], "status": ["x"], "total": [2**40], "note": ["n"]}), at_least_once=True)
    assert orders.sync_sql(target.url, "sales.orders", "ignore_new").added_columns == ()
    assert target.rows()[-1] == (4, "x", 2**40)
    orders.apply(pa.table({"id": [5], "status": ["x"], "total": [1], "note": ["m"]}), at_least_once=True)
    with pytest.raises(SchemaMismatchError, match="note was left out before"):
        orders.sync_sql(target.url, "sales.orders")
    orders.sync_sql(target.url, "sales.orders", reload=True)
    assert target.rows() == rows_of(orders)
    orders.alter.drop_column("status")
    orders.alter.add_column("size", "INT")
    size = pa.array([3], pa.int32())
    orders.apply(pa.table({"id": [6], "total": [1], "note": ["six"], "size": size}), at_least_once=True)
    assert orders.sync_sql(target.url, "sales.orders").added_columns == ("size",)
    assert target.sql("SELECT status, note, size FROM sales.orders WHERE id IN (4, 6) ORDER BY id") == [
        ["x", "n", None],
        [None, "six", 3],
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER TABLE sales.orders DROP COLUMN status", "column status is missing"),
        ("ALTER TABLE sales.orders ALTER total TYPE text", "total is text and was delivered as integer"),
        ("DROP TABLE sales.orders", "the table is missing"),
        ("DELETE FROM sales.orders WHERE id = 1", "update met 1 rows, and 2 were delivered before"),
        ("DELETE FROM sales.orders WHERE id = 3", "delete met 0 rows, and 1 were delivered before"),
        ("INSERT INTO sales.orders VALUES (4, 'x', 1)", "rows of keys that are new in the table"),
        ("UPDATE sales._andes_delivery SET columns = 'x'", "its cursor names no columns"),
    ],
)
def test_a_target_changed_by_hand_is_named_and_reload_replaces_it(orders, target, change, problem):
    orders.sync_sql(target.url, "sales.orders")
    target.sql(change)
    before = target.cursor()
    apply(orders, {1: "a", 2: "b", 3: None, 4: "new"})
    with pytest.raises(ForeignWriteError, match=problem):
        orders.sync_sql(target.url, "sales.orders")
    assert target.cursor() == before
    if "cursor" in problem:
        target.sql("UPDATE sales._andes_delivery SET columns = '[]'")
    result = orders.sync_sql(target.url, "sales.orders", reload=True)
    assert (result.action, result.reason) == ("reload", "reload was asked for")
    assert target.rows() == rows_of(orders)
    assert target.cursor() == [2, 2, 3]


def test_rows_that_others_added_are_counted(orders, target):
    orders.sync_sql(target.url, "sales.orders")
    target.sql("INSERT INTO sales.orders VALUES (77, 'x', 1)")
    with pytest.raises(ForeignWriteError, match="it has 4 rows, and 3 were delivered"):
        orders.sync_sql(target.url, "sales.orders", count_rows=True)


def test_a_table_of_others_stays(orders, target):
    target.sql("CREATE TABLE sales.orders (id bigint)")
    for reload in (False, True):
        with pytest.raises(ForeignWriteError, match="no delivery of this library has made it"):
            orders.sync_sql(target.url, "sales.orders", reload=reload)
    assert target.rows() == []


@pytest.mark.parametrize(
    ("change", "problem", "reloads"),
    [
        ("version = 9", "its cursor is at version 9, and the table's newest is 1", True),
        ("epoch = 5", "its cursor is at epoch 5", True),
        ("manifest = 'f'", "another version 1 than the one of this table", True),
        ("table_id = 'other'", "it shows the table with id other", False),
    ],
)
def test_a_cursor_of_another_line_or_table_is_named_and_stays(orders, target, change, problem, reloads):
    orders.sync_sql(target.url, "sales.orders")
    target.sql(f"UPDATE sales._andes_delivery SET {change}")
    target.sql("UPDATE sales.orders SET status = 'others'")
    with pytest.raises(ForeignWriteError, match=problem):
        orders.sync_sql(target.url, "sales.orders")
    assert {row[1] for row in target.rows()} == {"others"}
    if reloads:
        orders.sync_sql(target.url, "sales.orders", reload=True)
        assert target.rows() == rows_of(orders)
    else:
        with pytest.raises(ForeignWriteError, match=problem):
            orders.sync_sql(target.url, "sales.orders", reload=True)


def test_changes_that_are_not_kept_any_more_make_it_load_all_rows(orders, target):
    orders.sync_sql(target.url, "sales.orders")
    for number in range(4):
        apply(orders, {number: f"s{number}"})
    orders.merge()
    orders.vacuum("0 days")
    result = orders.sync_sql(target.url, "sales.orders")
    assert result.action == "reload"
    assert "version 1 can no longer be read" in str(result.reason)
    assert target.rows() == rows_of(orders)
    assert target.cursor() == [2, orders.version, 4]


def test_deliveries_that_race_deliver_each_change_once(orders, target):
    def deliver(number: int) -> None:
        table = ModTable.open(orders.url)
        for _ in range(5):
            outcomes.append(table.sync_sql(target.url, "sales.orders"))

    outcomes: list[Any] = []
    threads = [threading.Thread(target=deliver, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        apply(orders, {number: f"s{number}", number + 1: None, number + 20: "x"})
    for thread in threads:
        thread.join()
    outcomes.append(orders.sync_sql(target.url, "sales.orders"))
    assert target.rows() == rows_of(orders)
    assert [outcome.action for outcome in outcomes].count("load") == 1
    spans = sorted((outcome.from_version, outcome.version) for outcome in outcomes if outcome.action == "changes")
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans)), spans


@pytest.mark.parametrize(
    ("is_first", "overtaken_at"),
    [(True, "read columns"), (True, "set cursor"), (False, "read columns"), (False, "move cursor")],
)
def test_a_delivery_that_is_overtaken_changes_nothing(orders, target, monkeypatch, is_first, overtaken_at):
    if not is_first:
        orders.sync_sql(target.url, "sales.orders")
        orders.alter.widen("total", "BIGINT")
        orders.apply(pa.table({"id": [1, 9], "status": ["again", "x"], "total": [2**40, 1]}), at_least_once=True)
    execute = Session.execute
    overtaken: list[str] = []

    def overtake(session, step, sql, **more):
        if step == overtaken_at and not overtaken:
            overtaken.append(step)
            ModTable.open(orders.url).sync_sql(target.url, "sales.orders")
        return execute(session, step, sql, **more)

    monkeypatch.setattr(Session, "execute", overtake)
    assert orders.sync_sql(target.url, "sales.orders").action == "none"
    assert target.rows() == rows_of(orders)


def test_a_delivery_that_is_overtaken_each_time_is_named(orders, target, monkeypatch):
    monkeypatch.setattr(Session, "execute", lambda *a, **k: (_ for _ in ()).throw(CommitConflictError("lost")))
    with pytest.raises(CommitConflictError, match="other deliveries were first"):
        orders.sync_sql(target.url, "sales.orders")


def test_errors_of_the_database_have_names(orders, target):
    with pytest.raises(StorageError, match='database "nothing" does not exist'):
        orders.sync_sql(target.server.url("nothing"), "sales.orders")
    with pytest.raises(StoreUnavailableError):
        orders.sync_sql("postgresql://a:secret@localhost:1/b?sslmode=disable", "sales.orders")
    with pytest.raises(StorageError, match='schema "none" does not exist'):
        orders.sync_sql(target.url, "none.orders")
    target.sql("CREATE ROLE reader_" + target.name + " LOGIN")
    with pytest.raises(AccessDeniedError, match="permission denied"):
        orders.sync_sql(target.url.replace("//postgres@", f"//reader_{target.name}@"), "sales.orders")
    target.sql("CREATE VIEW sales.shown AS SELECT 1 AS id")
    orders.sync_sql(target.url, "sales.orders")
    target.sql("CREATE VIEW sales.dependent AS SELECT id FROM sales.orders")
    with pytest.raises(StorageError, match="other objects depend on it"):
        orders.sync_sql(target.url, "sales.orders", reload=True)
    assert target.rows() == rows_of(orders)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mysql://a@b/c", "sales.orders"),
        ("postgresql://a:secret@b:x/c", "sales.orders"),
        ("postgresql://a:secret@b/c?sslmode=maybe", "sales.orders"),
        ("postgresql://a:secret@b/c?ssl=1", "sales.orders"),
        ("postgresql://a:secret@b/", "sales.orders"),
        ("postgresql://a:secret@b/c", "orders"),
        ("postgresql://a:secret@b/c", "sales._andes_delivery"),
        ("postgresql://a:secret@b/c", "sales." + "x" * 64),
    ],
)
def test_urls_and_names_that_cannot_be_used_are_named_without_the_password(orders, url, name):
    with pytest.raises(OptionError) as caught:
        orders.sync_sql(url, name)
    assert "secret" not in str(caught.value)


def test_the_command_does_the_same(orders, target):
    outcome = CliRunner().invoke(andes, ["sync", "sql", orders.url, target.url, "sales.orders", "--output", "json"])
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    assert (document["action"], document["rows"]) == ("load", 3)
    outcome = CliRunner().invoke(andes, ["sync", "sql", orders.url, target.url, "sales.orders"])
    assert "is up to date" in outcome.output
    assert "shows version  1" in outcome.output
