"""Keys that differ only beyond the digits of Python's default decimal context, in files of several pages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable

ROWS = 30_000
KINDS = {
    "whole": (pa.decimal128(38, 0), [Decimal(10**38 - ROWS + number) for number in range(ROWS)]),
    "negative": (pa.decimal128(38, 0), [Decimal(-(10**38) + 1 + number) for number in range(ROWS)]),
    "fraction": (pa.decimal128(38, 12), [Decimal(f"{10**37 + number}E-12") for number in range(ROWS)]),
}


def rows(kind: pa.DataType, keys: list[Decimal], sequence: int) -> pa.Table:
    return pa.table({"id": pa.array(keys, kind), "seq": pa.array([sequence] * len(keys)), "v": ["x"] * len(keys)})


@pytest.mark.parametrize("name", KINDS)
def test_keys_of_38_digits_are_found_by_pages(name, tmp_path):
    kind, keys = KINDS[name]
    path = str(tmp_path / "orders")
    first = rows(kind, keys, 1)
    ModTable.create(path, first.schema, primary_key=["id"], sequence_by=["seq"], data=first)
    chosen = [keys[0], keys[7], keys[4095], keys[4096], keys[ROWS // 2 + 1], keys[-1]]
    got = ModTable.open(path).get(pa.table({"id": pa.array(chosen, kind)}))
    assert sorted(got["id"].to_pylist()) == sorted(chosen)
    merged: Any = ModTable.open(path).apply(rows(kind, chosen, 2)).merge
    assert (merged.updated, merged.inserted) == (len(chosen), 0)
    table = ModTable.open(path)
    assert table.to_arrow().num_rows == ROWS
    late: Any = table.apply(rows(kind, chosen, 0)).merge
    assert (late.updated, late.inserted) == (0, 0)
    assert table.verify().ok
