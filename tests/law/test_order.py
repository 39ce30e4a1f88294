"""Rows put in order: by one stable sort a column, whatever the chunks, the types and the NULLs."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark.law.order import is_sorted, sorted_order, table_order

KINDS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), [-(2**63), -1, 0, 1, 2**63 - 1]),
    (pa.string(), ["", "a", "a\0", "aa", "é", "\uffff", "\U0001f600"]),
    (pa.decimal128(38, 2), [Decimal("-1.10"), Decimal("0.00"), Decimal("99999999999999999999.99")]),
    (pa.timestamp("us", "UTC"), [datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (1, 1970, 9999)]),
    (pa.binary(), [b"", b"\0", b"\xff"]),
    (pa.bool_(), [False, True]),
]


def place(value: Any) -> tuple[bool, Any]:
    """NULLs first; text by its bytes."""
    return value is not None, 0 if value is None else value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize("seed", range(60))
def test_rows_in_order(seed: int) -> None:
    rnd = random.Random(seed)
    kinds = rnd.choices(KINDS, k=rnd.choice([1, 2, 3]))
    names = [f"c{i}" for i in range(len(kinds))]
    rows = [tuple(rnd.choice([None, *some] if rnd.random() < 0.2 else some) for _, some in kinds) for _ in range(40)]
    if rnd.random() < 0.3:
        rows.sort(key=lambda row: [place(value) for value in row])
    # Chunks of one row make polars believe in an order that is not there.
    size = rnd.choice([1, 3, 40])
    table = pa.table(
        {
            name: pa.chunked_array(
                [pa.array([row[i] for row in rows[at : at + size]], kind) for at in range(0, 40, size)]
            )
            for i, (name, (kind, _)) in enumerate(zip(names, kinds, strict=True))
        }
    )
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    expected = sorted(range(40), key=lambda at: [place(value) for value in rows[at]])
    order = table_order(table, names)
    assert (expected if order is None else order.tolist()) == expected
    assert (order is None) == (expected == list(range(40))) == is_sorted(frame, names)


def test_a_flag_of_polars_is_not_believed() -> None:
    rows = pl.from_arrow(pa.table({"k": pa.chunked_array([[1], [2], [None]], pa.int64())}))
    assert isinstance(rows, pl.DataFrame)
    order = sorted_order(rows, ["k"])
    assert order is not None
    assert order.tolist() == [2, 0, 1]


def test_no_rows_and_one_are_in_order() -> None:
    for rows in ([], ["x"]):
        frame = pl.DataFrame({"k": rows}, schema={"k": pl.String})
        assert sorted_order(frame, ["k"]) is None
        assert is_sorted(frame, ["k"])
