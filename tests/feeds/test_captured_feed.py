"""The captured feed, decoded and folded in plain Python, gives PostgreSQL's own final tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.feeds import wal2json
from andes_spark.schema.schema import Schema
from tests.feeds.feed_lines import fold

DATA = Path(__file__).parent.parent / "data"
FEED = DATA / "orders.wal2json.jsonl.xz"
KEYS = {"orders": ("order_id",), "customers": ("region", "code")}


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return list(wal2json.read_lines(FEED))


def final_table(name: str) -> pa.Table:
    return pq.read_table(DATA / f"{name}.final.parquet")


@pytest.fixture(scope="module")
def orders(lines: list[bytes]) -> pa.Table:
    schema = Schema.from_arrow(final_table("orders").schema)
    return pa.Table.from_batches(wal2json.decode(lines, schema, table="public.orders", primary_key=KEYS["orders"]))


@pytest.fixture(scope="module")
def records(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def values(fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {field["name"]: field["value"] for field in fields}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["orders", "customers"])
def test_gives_the_final_table(lines, name):
    expected = final_table(name)
    mods: list[dict[str, Any]] = []
    for batch in wal2json.decode(
        lines, Schema.from_arrow(expected.schema), table=f"public.{name}", primary_key=KEYS[name]
    ):
        mods += batch.to_pylist()
    rows = fold(mods, KEYS[name])
    final_rows = [{column: row[column] for column in expected.column_names} for row in rows.values()]
    by_key = {tuple(row[column] for column in KEYS[name]): row for row in expected.to_pylist()}
    assert len(by_key) == expected.num_rows > 0
    assert {tuple(row[column] for column in KEYS[name]): row for row in final_rows} == by_key


@pytest.mark.parametrize("name", ["orders", "customers"])
def test_says_the_types_of_the_final_table(lines, name):
    inferred = wal2json.infer_schema(lines, table=f"public.{name}", primary_key=KEYS[name])
    assert inferred.to_arrow().types == final_table(name).schema.types
    assert list(inferred.names) == final_table(name).column_names


@pytest.mark.slow
def test_every_sequence_of_a_key_is_its_own(orders):
    groups = orders.group_by(["order_id", "lsn", "ordinal"]).aggregate([([], "count_all")])
    assert groups.num_rows == orders.num_rows


@pytest.mark.slow
def test_batches_hold_whole_transactions(lines, orders):
    schema = Schema.from_arrow(final_table("orders").schema)
    batches = list(
        wal2json.batches(lines, schema, table="public.orders", primary_key=["order_id"], changes_per_batch=4000)
    )
    assert len(batches) > 5
    assert pa.concat_tables(batch.mods for batch in batches).equals(orders.combine_chunks())
    last = 0
    for batch in batches:
        positions = batch.mods["lsn"].to_pylist()
        assert last < positions[0]
        assert batch.batch_id == f"{positions[0]}-{positions[-1]}"
        last = positions[-1]


def test_is_large_and_small_enough(records):
    counts = Counter((record.get("table"), record["action"]) for record in records)
    assert sum(counts["orders", action] for action in "IUD") >= 20_000
    assert all(counts["orders", action] > 1000 for action in "IUD")
    assert counts["customers", "I"] > 50
    assert sum(path.stat().st_size for path in DATA.glob("*.*")) < 2_000_000


def test_holds_what_it_was_captured_for(records, orders):
    """Each hard case of a feed occurs often."""
    counts: Counter[str] = Counter()
    deleted: set[int] = set()
    key_changes = 0
    for record in records:
        if record["action"] == "B":
            deleted, key_changes = set(), 0
        counts["swaps"] += record["action"] == "C" and key_changes == 3
        if record.get("table") != "orders":
            continue
        new, old = values(record.get("columns", [])), values(record.get("identity", []))
        if record["action"] == "D":
            deleted.add(old["order_id"])
        if record["action"] == "I":
            counts["deleted and inserted"] += new["order_id"] in deleted
            counts["null"] += new["note"] is None
            counts["empty"] += new["note"] == ""
            counts["not ascii"] += not new["customer"].isascii()
            counts["negative"] += (new["amount"] or 0) < 0
        if record["action"] == "U":
            left_out = "document" not in new
            counts["left out"] += left_out
            if new["order_id"] != old["order_id"]:
                key_changes += 1
                counts["key change"] += 1
                counts["key change with a value left out"] += left_out
    assert min(counts.values()) > 100, counts
    carried = orders["columns_to_update"].drop_null().to_pylist()
    assert len(carried) == counts["left out"] - counts["key change with a value left out"]
    assert all("document" not in names for names in carried)
