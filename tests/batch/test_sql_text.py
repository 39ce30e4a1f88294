"""Texts of conditions: what engines read alike passes, everything else is named and refused."""

from __future__ import annotations

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.batch.conditions import Conditions
from andes_spark.batch.sql_text import check_sql
from andes_spark.errors import OptionError
from andes_spark.model.options import ApplyOptions
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
    "a > 1_000": "a number with letters",
    "a = 1e": "a number with letters",
    "f = 0.1F": "a number with letters",
    "op = 'a' 'b'": "two texts in a row",
    "a = 1 XOR flag": "XOR",
    "op = $$a$$": "an operator",
    "d = CURRENT_DATE": "the clock",
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


@pytest.mark.parametrize("text", [" or ".join(["a = 1"] * 252), "not " * 251 + "a = 1", "(" * 251 + "a = 1"])
def test_more_terms_than_engines_can_take(text: str) -> None:
    with pytest.raises(OptionError, match="251 ANDs, ORs, NOTs and parentheses are more than the 250"):
        check_sql("filter", text)


def test_as_many_terms_as_may_be() -> None:
    table = ModTable.create(MemoryStorage(), "id bigint", primary_key=["id"])
    table.apply(pa.table({"id": [1, 250, 2_000]}), at_least_once=True)
    text = " or ".join(f"id = {number}" for number in range(251))
    assert table.to_arrow(filter=text)["id"].to_pylist() == [1, 250]


DDL = """id bigint, dec decimal(10,2), flag boolean, ts timestamp, ntz timestamp_ntz, d date, op string, f float, i int,
    st struct<x: float, y: string>, bin binary"""
OF_ONE_KIND = [
    "dec = 0.1 AND i = 1.5 AND f IN (1, 0.5) AND dec BETWEEN f AND i",
    "flag = true OR flag OR NOT flag OR flag = (i > 0)",
    "d IN (DATE '2024-01-01') OR d = DATE '2024-01-01' OR ts = ts OR ntz < ntz",
    "st.y = op OR lower(op) = 'a' OR op BETWEEN 'a' AND 'b' OR coalesce(op, 'x') IN ('x', 'y', NULL)",
    "CASE WHEN i = 1 THEN 'a' ELSE NULL END = op OR CASE op WHEN 'a' THEN flag ELSE false END",
    "op = NULL OR coalesce(NULL, i) = 1 OR st.x > 0.1",
    "coalesce(" * 20 + "i" + ", 1)" * 20 + " = 1",
]
OF_TWO = {
    "dec > '0.1'": "number with text",
    "dec BETWEEN '0.1' AND '1'": "number with text",
    "coalesce(dec, '0.1') = '0.1'": "number with text",
    "CASE dec WHEN '0.1' THEN true ELSE false END": "number with text",
    "st.x = 'a'": "number with text",
    "flag = '1'": "boolean with text",
    "flag = 1": "boolean with number",
    "ts >= DATE '2024-01-01'": "date with time",
    "coalesce(ts, d) = ts": "date with time",
    "ts = ntz": "time with time without zone",
    "bin = 'a'": "binary with text",
    "i = 1 AND NOT (op = 'a' OR dec = '1')": "number with text",
}


def every_kind() -> ModTable:
    table = ModTable.create(MemoryStorage(), DDL, primary_key=["id"])
    table.apply(pa.table({"id": [1]}), column_list=["id"], at_least_once=True)
    return table


@pytest.mark.parametrize("text", OF_ONE_KIND)
def test_values_of_one_kind_are_compared(text: str) -> None:
    table = every_kind()
    assert table.to_arrow(filter=text).num_rows in (0, 1)
    assert table.apply(table.to_arrow(), apply_as_deletes=text, at_least_once=True, on_null_operation="upsert")


@pytest.mark.parametrize("text", OF_TWO)
def test_values_of_two_kinds_are_not(text: str) -> None:
    table = every_kind()
    with pytest.raises(OptionError, match=f"filter: it compares {OF_TWO[text]}"):
        table.to_arrow(filter=text)
    with pytest.raises(OptionError, match=OF_TWO[text]) as caught:
        table.apply(table.to_arrow(), apply_as_deletes=text, at_least_once=True)
    assert caught.value.option == "apply_as_deletes"
    assert table.version == 1
