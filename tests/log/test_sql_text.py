"""Texts of conditions: what engines read alike passes, everything else is named and refused."""

from __future__ import annotations

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import OptionError
from andes_spark.log.conditions import Conditions
from andes_spark.log.sql_text import check_sql
from andes_spark.model.mod import ApplyOptions
from andes_spark.storage.memory import MemoryStorage

ALIKE = [
    "op = 'D'",
    "op IN ('D', 'it''s (x) || y')",
    "NOT (a > 1 AND (b <= 2 OR c <> 3)) AND d IS NOT NULL",
    "a NOT BETWEEN -1 AND 2 OR op LIKE 'a%' OR op NOT LIKE '_b'",
    "CASE WHEN (a = 1) THEN true ELSE false END",
    "COALESCE(op, 'x') = 'x' AND Lower(op) = upper (op) AND a == -1",
    "`select(1)` = 1 AND `is true` = 2 AND overall > 1 AND selected = 1 AND timestamp_of = 3",
    "a <> 1e3 OR a >= - 1.5e-3 OR a IN (-1, -.5) OR a = 1. OR NOT -2 = a OR `a-b` = 'c+d'",
    "CASE WHEN a < -1 THEN -2 ELSE -3 END = -2",
    "d = DATE '2020-01-01'",
]
UNLIKE = {
    "substr(op, 1, 1) = 'D'": r"substr\(\)",
    "concat(op, 'D') = 'D' OR round(x) = 1": r"concat\(\), round\(\)",
    "flag IS NOT TRUE": r"IS \[NOT\] TRUE",
    "flag is  true": r"IS \[NOT\] TRUE",
    "op ILIKE 'd'": "a pattern other than LIKE",
    "op RLIKE 'd'": "a pattern other than LIKE",
    "op || 'x' = 'Dx'": "an operator",
    "a & 1 = 1": "an operator",
    "op::int = 1": "a cast",
    "cast(op as int) = 1": r"cast\(\)",
    "t = TIMESTAMP '2020-01-01 00:00:00'": "a time",
    "id IN (SELECT max(id) FROM x)": r"a query, max\(\)",
    "row_number() OVER (ORDER BY id) = 1": "a window",
    "seq = max(seq)": r"max\(\)",
    "rand() > 0.5": r"rand\(\)",
    "a + 1 > 0": "arithmetic",
    "a -1 > 0": "arithmetic",
    "-a > 0": "arithmetic",
    "a = 1e5-1": "arithmetic",
    "a * 2 = 4 OR a / 2 = 1": "arithmetic",
    "a % 2 = 1": "arithmetic",
    "abs(a) = 1": r"abs\(\)",
    "a = 1 -- b": "arithmetic",
    "ar[0] = 1": "an element of an array",
}


@pytest.mark.parametrize("text", ALIKE)
def test_alike(text: str) -> None:
    assert Conditions.of(ApplyOptions(apply_as_deletes=text)).deletes is not None


@pytest.mark.parametrize("text", UNLIKE)
def test_unlike(text: str) -> None:
    with pytest.raises(OptionError, match=UNLIKE[text]) as caught:
        check_sql("filter", text)
    assert (caught.value.option, caught.value.value) == ("filter", text)
    table = ModTable.create(MemoryStorage(), "id bigint", primary_key=["id"])
    with pytest.raises(OptionError, match="not the same to every engine"):
        table.to_arrow(filter=text)


@pytest.mark.parametrize("text", [" or ".join(["a = 1"] * 1_002), "not " * 1_001 + "a = 1", "(" * 1_001 + "a = 1"])
def test_more_terms_than_engines_can_take(text: str) -> None:
    with pytest.raises(OptionError, match="1001 ANDs, ORs, NOTs and parentheses are more than the 1000"):
        check_sql("filter", text)


def test_as_many_terms_as_may_be() -> None:
    table = ModTable.create(MemoryStorage(), "id bigint", primary_key=["id"])
    table.apply(pa.table({"id": [1, 999, 2_000]}), at_least_once=True)
    text = " or ".join(f"id = {number}" for number in range(1_001))
    assert table.to_arrow(filter=text)["id"].to_pylist() == [1, 999]
