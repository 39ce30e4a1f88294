"""Random transactions on a small table: the decoded feed, folded, is the table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.feeds import wal2json
from andes_spark.schema.schema import Schema
from tests.feeds.feed_lines import change, delete, fold, insert, transaction, update

SCHEMA = Schema.from_arrow(
    pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string()), ("big", pa.string())])
)
KEY = st.integers(0, 4)
NAME = st.sampled_from([None, "", "a", "ö"])
STEP = st.one_of(
    st.tuples(st.just("insert"), KEY, NAME, NAME),
    st.tuples(st.just("update"), KEY, NAME),
    st.tuples(st.just("update all"), KEY, NAME, NAME),
    st.tuples(st.just("key"), KEY, KEY, st.booleans()),
    st.tuples(st.just("delete"), KEY),
    st.tuples(st.just("truncate")),
    st.tuples(st.just("other table")),
)


def run(rows: dict[int, dict[str, Any]], step: tuple[Any, ...]) -> list[dict[str, Any]]:
    """One statement on the table, and what wal2json says about it; ``big`` is out of line."""
    kind, *arguments = step
    if kind == "truncate":
        rows.clear()
        return [change("T")]
    if kind == "other table":
        return [insert({"id": 1}, table="public.other")]
    key = arguments[0]
    if kind == "insert":
        if key in rows:
            return []
        rows[key] = {"id": key, "name": arguments[1], "big": arguments[2]}
        return [insert(rows[key])]
    if key not in rows:
        return []
    old = rows[key]
    if kind == "delete":
        return [delete(rows.pop(key))]
    if kind == "update all":
        rows[key] = {"id": key, "name": arguments[1], "big": arguments[2]}
        return [update(rows[key], old)]
    if kind == "update":
        rows[key] = old | {"name": arguments[1]}
        return [update(printed(rows[key], left_out=True), old)]
    new, left_out = arguments[1:]
    if new in rows and new != key:
        return []
    del rows[key]
    rows[new] = old | {"id": new}
    return [update(printed(rows[new], left_out=left_out), old)]


def printed(row: dict[str, Any], *, left_out: bool) -> dict[str, Any]:
    """A NULL is never out of line."""
    return {name: value for name, value in row.items() if not (left_out and name == "big" and value)}


@given(st.lists(st.lists(STEP, min_size=1, max_size=6), max_size=12), st.integers(1, 10), st.data())
def test_a_folded_feed_is_the_table(transactions, changes_per_batch, data):
    rows: dict[int, dict[str, Any]] = {}
    lines: list[str] = []
    for number, steps in enumerate(transactions, start=1):
        lines += transaction(f"0/{number:X}", *[record for step in steps for record in run(rows, step)])
    batches = list(
        wal2json.batches(lines, SCHEMA, table="public.t", primary_key=["id"], changes_per_batch=changes_per_batch)
    )
    mods = [mod for batch in batches for mod in batch.mods.to_pylist()]
    folded = fold(data.draw(st.permutations(mods)), ("id",))
    assert {key: {name: row[name] for name in SCHEMA.names} for (key,), row in folded.items()} == rows
