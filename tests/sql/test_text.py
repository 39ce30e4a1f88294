"""Texts over the columns of one row: each node that may be, in both engines' form, and each refusal by its name."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.batch.condition import condition_of
from andes_spark.errors import OptionError
from andes_spark.schema.schema import Schema
from andes_spark.sql.text import SqlText
from andes_spark.storage.memory import MemoryStorage

SCHEMA = Schema.from_ddl(
    """id bigint, i int, l bigint, dec decimal(10,2), big decimal(38,10), f float, g double, op string, x string,
    flag boolean, d date, ts timestamp, ntz timestamp_ntz, bin binary,
    st struct<x: float, Y: string, in: struct<z: int>>, ar array<int>, m map<string, int>, `a-b` string, `a.b` int,
    `select(1)` int, Length int"""
)
TYPES = {field.name: field.type for field in SCHEMA.fields}
ROWS: list[dict[str, Any]] = [
    {"id": 1, "i": 1, "l": 2**63 - 1, "dec": Decimal("0.10"), "f": 0.1, "g": 0.1, "op": "D", "flag": True,
     "d": date(2020, 1, 1), "ts": datetime(2026, 1, 1, tzinfo=UTC), "ntz": datetime(2026, 1, 1),
     "bin": b"\x1f", "st": {"x": 0.5, "Y": "y", "in": {"z": 1}}, "a-b": "c+d", "a.b": 1, "select(1)": 1, "Length": 1},
    {"id": 2, "i": -2, "l": -(2**63), "dec": Decimal("1.50"), "f": 0.5, "g": float("nan"), "op": "it's", "x": "a%b",
     "flag": False, "ar": [1], "st": {"x": None, "Y": None, "in": None}},
    {"id": 3},
]  # fmt: skip
TABLE = pa.Table.from_pylist(ROWS, schema=SCHEMA.to_arrow())


def bound(text: str, instead: str = "") -> Any:
    read = SqlText.read("filter", text, instead=instead)
    names = read.resolve(list(TYPES))
    assert not names.missing
    return read.bind(names, TYPES)


def matching(text: str) -> list[int]:
    """Rows for which a text is true, by polars."""
    condition = condition_of("filter", text)
    assert condition is not None
    return [row["id"] for row, answer in zip(ROWS, condition.answers(TABLE), strict=True) if answer]


BEYOND_16_BITS = r"\A(?s:😀\%.*.a\-)\z"
WRITTEN = {
    "op = 'D'": ("(`op` = 'D')", [1]),
    "op = 'it''s'": ("(`op` = CAST(X'69742773' AS STRING))", [2]),
    "OP <> 'D' AND Flag": ("((`op` <> 'D') AND `flag`)", []),
    "i == 1": ("(CAST(`i` AS BIGINT) = (1L))", [1]),
    "l < -9223372036854775807": ("(`l` < (-9223372036854775807L))", [2]),
    "l >= 9223372036854775807": ("(`l` >= (9223372036854775807L))", [1]),
    "i + 1 = 2": ("((CAST(`i` AS BIGINT) + (1L)) = (2L))", [1]),
    "l + 1 > l": (
        "(CAST(CAST(`l` AS DECIMAL(19,0)) + CAST((1L) AS DECIMAL(1,0)) AS DECIMAL(19,0)) > CAST(`l` AS DECIMAL(19,0)))",
        [1, 2],
    ),
    "9223372036854775808 - 1 >= l": (
        "(CAST(CAST(CAST('9223372036854775808' AS DECIMAL(19,0)) AS DECIMAL(19,0)) - "
        "CAST((1L) AS DECIMAL(1,0)) AS BIGINT) >= `l`)",
        [1, 2],
    ),
    "-i = 2": ("(((0L) - CAST(`i` AS BIGINT)) = (2L))", [2]),
    "dec = 0.1": ("(`dec` = CAST('0.10' AS DECIMAL(10,2)))", [1]),
    "dec * 2 = 3": (
        "(CAST(CAST(`dec` AS DECIMAL(10,2)) * CAST((2L) AS DECIMAL(1,0)) AS DECIMAL(11,2)) = "
        "CAST('3.00' AS DECIMAL(11,2)))",
        [2],
    ),
    "dec > 1.5BD OR dec < 1.5": (
        "((`dec` > CAST('1.50' AS DECIMAL(10,2))) OR (`dec` < CAST('1.50' AS DECIMAL(10,2))))",
        [1],
    ),
    "dec < g": ("(CAST(`dec` AS DOUBLE) < `g`)", [2]),
    "f > 0.1": ("(CAST(`f` AS DOUBLE) > (0.1D))", [1, 2]),
    "f + f = 1": ("(CAST((`f` + `f`) AS DOUBLE) = (1.0D))", [2]),
    "g = 1e-1": ("(`g` = (0.1D))", [1]),
    "i = 1L OR i = 2S OR i = 3Y": (
        "((CAST(`i` AS BIGINT) = (1L)) OR (CAST(`i` AS BIGINT) = (2L)) OR (CAST(`i` AS BIGINT) = (3L)))",
        [1],
    ),
    "d = DATE '2020-01-01'": ("(`d` = DATE '2020-01-01')", [1]),
    "ts = TIMESTAMP '2026-01-01 00:00:00Z'": ("(`ts` = TIMESTAMP_LTZ '2026-01-01 00:00:00.000000Z')", [1]),
    "ts = TIMESTAMP_LTZ '2026-01-01T01:30+01:30'": ("(`ts` = TIMESTAMP_LTZ '2026-01-01 00:00:00.000000Z')", [1]),
    "ts < timestamp '2025-12-31 16:00:00.5 -08:00'": ("(`ts` < TIMESTAMP_LTZ '2026-01-01 00:00:00.500000Z')", [1]),
    "ntz = TIMESTAMP_NTZ '2026-01-01 00:00:00'": ("(`ntz` = TIMESTAMP_NTZ '2026-01-01 00:00:00.000000')", [1]),
    "bin = X'1F'": ("(`bin` = X'1f')", [1]),
    "i <=> NULL": ("(CAST(`i` AS BIGINT) <=> CAST(NULL AS BIGINT))", [3]),
    "i IS DISTINCT FROM 1": ("(NOT (CAST(`i` AS BIGINT) <=> (1L)))", [2, 3]),
    "op = NULL": ("(`op` = CAST(NULL AS STRING))", []),
    "op IS NULL OR ar IS NOT NULL": ("((`op` IS NULL) OR (NOT (`ar` IS NULL)))", [2, 3]),
    "flag IS NOT TRUE": ("(NOT (`flag` <=> TRUE))", [2, 3]),
    "flag = (i > 0)": ("(`flag` = (CAST(`i` AS BIGINT) > (0L)))", [1, 2]),
    "op IN ('D', 'x', NULL)": ("(`op` IN ('D', 'x', NULL))", [1]),
    "op NOT IN ('D')": ("(NOT (`op` IN ('D')))", [2]),
    "i IN (1, 1.5)": (
        "(CAST(CAST(`i` AS BIGINT) AS DECIMAL(11,1)) IN (CAST('1.0' AS DECIMAL(11,1)), CAST('1.5' AS DECIMAL(11,1))))",
        [1],
    ),
    "i IN (l, 1)": ("((CAST(`i` AS BIGINT) IN ((1L))) OR (CAST(`i` AS BIGINT) = `l`))", [1]),
    "i BETWEEN -5 AND 0": ("((CAST(`i` AS BIGINT) >= (-5L)) AND (CAST(`i` AS BIGINT) <= (0L)))", [2]),
    "i NOT BETWEEN -5 AND 0": ("(NOT ((CAST(`i` AS BIGINT) >= (-5L)) AND (CAST(`i` AS BIGINT) <= (0L))))", [1]),
    "x LIKE 'a!%%' ESCAPE '!'": ("(`x` LIKE 'a!%%' ESCAPE '!')", [2]),
    "op NOT LIKE '_t%s'": ("(NOT (`op` LIKE '_t%s'))", [1]),
    "op NOT LIKE '😀!%%_a-' ESCAPE '!'": (
        f"(NOT (`op` RLIKE CAST(X'{BEYOND_16_BITS.encode().hex()}' AS STRING)))",
        [1, 2],
    ),
    "CASE WHEN flag THEN i ELSE 7 END = 7": (
        "((CASE WHEN `flag` THEN CAST(`i` AS BIGINT) ELSE (7L) END) = (7L))",
        [2, 3],
    ),
    "CASE op WHEN 'D' THEN flag END": (
        "(CASE WHEN (`op` = 'D') THEN `flag` ELSE CAST(NULL AS BOOLEAN) END)",
        [1],
    ),
    "coalesce(flag, op IS NULL)": ("coalesce(`flag`, (`op` IS NULL))", [1, 3]),
    "nvl(i, 0) = 0 OR ifnull(i, 1) = 1": (
        "((coalesce(CAST(`i` AS BIGINT), (0L)) = (0L)) OR (coalesce(CAST(`i` AS BIGINT), (1L)) = (1L)))",
        [1, 3],
    ),
    "length(op) = 4 AND lower(op) = 'it''s' AND UPPER (op) = op": (
        "((CAST(length(`op`) AS BIGINT) = (4L)) AND (lower(`op`) = CAST(X'69742773' AS STRING)) AND "
        "(upper(`op`) = `op`))",
        [],
    ),
    "st.x = 0.5 AND ST.y = 'y' AND st.in.z = 1": (
        "((CAST(`st`.`x` AS DOUBLE) = (0.5D)) AND (`st`.`Y` = 'y') AND (CAST(`st`.`in`.`z` AS BIGINT) = (1L)))",
        [1],
    ),
    "`a-b` = 'c+d' AND `a.b` = 1 AND `select(1)` = 1 AND length = 1": (
        "((`a-b` = 'c+d') AND (CAST(`a.b` AS BIGINT) = (1L)) AND (CAST(`select(1)` AS BIGINT) = (1L)) AND "
        "(CAST(`Length` AS BIGINT) = (1L)))",
        [1],
    ),
    "op = 'say \"x\"' OR TRUE": ("((`op` = 'say \"x\"') OR TRUE)", [1, 2, 3]),
    "NOT (i > 1 AND (l <= 2 OR dec <> 3)) AND d IS NOT NULL": (
        "((NOT ((CAST(`i` AS BIGINT) > (1L)) AND ((`l` <= (2L)) OR (`dec` <> CAST('3.00' AS DECIMAL(10,2)))))) AND "
        "(NOT (`d` IS NULL)))",
        [1],
    ),
    "! flag": ("(NOT `flag`)", [2]),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_nodes_that_may_be(text: str) -> None:
    spark, ids = WRITTEN[text]
    assert bound(text).spark == spark
    assert matching(text) == ids


UNLIKE = {
    "substr(op, 1, 1) = 'D'": r"substr\(\)",
    "concat(op, 'D') = 'D' OR round(g) = 1": r"concat\(\), round\(\)",
    "st.lower(op) = 'd' OR `lower`(op) = 'd'": r"lower\(\)",
    "op ILIKE 'd'": "a pattern other than LIKE",
    "op RLIKE 'd'": "a pattern other than LIKE",
    "op LIKE ANY ('d')": r"ANY\(\)",
    "op LIKE x": "op LIKE x",
    "op LIKE 'a''' ESCAPE ''''": "ESCAPE",
    "op || 'x' = 'Dx'": r"op \|\| 'x'",
    "i & 1 = 1": "i & 1",
    "~i = 1": "~i",
    "op::int = 1": "a cast",
    "cast(op as int) = 1": r"cast\(\)",
    "try_cast(op as int) = 1": r"try_cast\(\)",
    "INT '1' = i": "a cast",
    "id IN (SELECT max(id) FROM x)": r"a query, max\(\)",
    "EXISTS (SELECT 1)": "a query",
    "row_number() OVER (ORDER BY id) = 1": "a window",
    "flag IS NOT UNKNOWN": "IS UNKNOWN in .*write IS NULL",
    "l = max(l)": r"max\(\)",
    "upper(lower(op)) = 'D'": r"upper\(\) of lower\(\) or upper\(\) \(UPPER\(LOWER\(op\)\)\)",
    "lower(coalesce(x, CASE WHEN flag THEN upper(op) END)) = 'd'": r"lower\(\) of lower\(\) or upper\(\)",
    "rand() > 0.5": r"rand\(\)",
    "abs(i) = 1": r"abs\(\)",
    "i / 2 = 1": r"a division \(i / 2\).*multiply",
    "i % 2 = 1": "a division",
    "i DIV 2 = 1": "a division",
    "l * l * l > 1": r"arithmetic with results of more than 38 digits \(l \* l \* l\)",
    "big + 1 > 2": "arithmetic with results of more than 38 digits",
    "d + 1 = d": r"arithmetic on date \(d \+ 1\)",
    "-op = 'x'": "arithmetic on text",
    "i = 1 -- x": "a comment",
    "/* x */ i = 1": "a comment",
    "ar[0] = 1": "an element of an array",
    "i > 1_000": "a number with letters",
    "i = 1e": "a number with letters",
    "i = 1e5-1": "a number with letters",
    "f = 0.1F": "a number with letters",
    "i = 0x1F": "a number with letters",
    "op = 'a' 'b'": "two texts in a row",
    "d = CURRENT_DATE": "the clock",
    "ts > INTERVAL 1 DAY": "an interval",
    "ts AT TIME ZONE 'UTC' = ts": "an interval or a zone",
    "st.* = 1": "a star",
    "i = :x": "a parameter",
    "i = ?": "a parameter",
    "i = 1 x": "i = 1 AS x",
    "i IN ()": r"i IN \(\)",
    "i IN l": "i IN l",
    "(i, l) = (1, 2)": r"\(i, l\)",
    "op COLLATE x = 'b'": "COLLATE",
    "i BETWEEN SYMMETRIC 1 AND 2": "SYMMETRIC",
    "op = r'x'": "'x'",
    "i = l = flag": "i = l beside an operator.*parentheses",
    "i = 1 = flag": "beside an operator",
    "flag = op LIKE 'x'": "beside an operator",
    "i IN (1) IS NULL": "beside an operator",
    "NOT flag + 1 = 2": "arithmetic on boolean",
}


@pytest.mark.parametrize("text", UNLIKE)
def test_what_engines_read_differently(text: str) -> None:
    with pytest.raises(OptionError, match=UNLIKE[text]) as caught:
        bound(text)
    assert (caught.value.option, caught.value.value) == ("filter", text)
    assert "not the same to every engine" in str(caught.value)


BAD = {
    "op =": r"not a SQL expression: .*at character 4 of line 1",
    "op = 'D') or (op = 'U'": "not a SQL expression",
    "op = 'D": "not a SQL expression",
    "op = 1 XOR flag": "not a SQL expression",
    "op = $$a$$": "not a SQL expression",
    "": "the text is empty: give a SQL expression",
    "  ": "the text is empty: give a SQL expression",
    **dict.fromkeys(
        (
            "+i = 1",
            "op = + x",
            "i IS + NULL",
            "i IN (1, 2, )",
            "i != AND (1)",
            "i BETWEEN 1 l",
            "i NOT IS NULL",
            "i NOT NULL",
            "i NOTNULL",
            "i ISNULL",
            "dec = l . 5BD",
            "dec = . 5",
            "coalesce(i, ALL, l) = 1",
            "i = 1;",
        ),
        "not a SQL expression: values and operators do not take turns",
    ),
    "i = 1; i = 2": "has a semicolon: give one SQL expression",
    'op = "D"': "a double quote means a string to Spark",
    "op LIKE '100\\%'": "a backslash escapes",
    "op": r"it gives text \(op\), not a condition",
    "i AND flag": r"it gives number \(i\), not a condition",
    "NULL": "it gives NULL",
    "flag AND coalesce(NULL, NULL)": "it gives NULL",
    "st.nope = 1": "column 'st' has no field 'nope'",
    "i.x = 1": "column 'i' has no field 'x'",
    "length(i) = 1": r"length\(\) is for text, not for number",
    "op LIKE 'a!b' ESCAPE '!'": "'!' stands before b, not before %, _ or itself",
    "op LIKE 'a!' ESCAPE '!'": "'!' stands before the end",
    f"op LIKE '{'_' * 1_001}'": "a pattern of more than 1000 characters",
    "l = 99999999999999999999999999999999999999999": "more than the 38 digits",
    "g = 1e999": "too large for a double",
    "i = 300Y": "the number 300 is not a TINYINT",
    "big = 100000000000000000000000000000": "numbers of 40 digits side by side, 10 of them after the point",
    "bin = X'1'": "two hexadecimal digits",
    "d = DATE '2026-02-30'": "is not a day",
    "d = DATE '2026-2-3'": "write it as DATE '2026-01-31'",
    "ts > TIMESTAMP '2026-01-01 00:00:00'": "depends on the time zone of the session: say the zone, as in .*00Z'",
    "ts > TIMESTAMP '2026-01-01Z'": "is not a time: write it as TIMESTAMP '2026-01-31 12:00:00Z'",
    "ts > TIMESTAMP '2026-01-01 00:00:00 Europe/Lisbon'": "is not a time: write it as",
    "ts > TIMESTAMP '2026-01-01 25:00:00Z'": "is not a time",
    "ts > TIMESTAMP '2026-01-01 00:00:00+19:00'": "at most 18 hours",
    "ntz > TIMESTAMP_NTZ '2026-01-01 00:00:00Z'": "has a zone: leave it out",
    "ar = 1": r"it uses 'ar', a column of array<int>, .*convert it first",
    "coalesce(st, st) IS NULL": r"it uses 'st', a column of struct<.*",
    "not " * 30 + "flag": "nested too deep, more than 24 levels",
    "(" * 30 + "flag" + ")" * 30: "nested too deep",
    " + ".join(["i"] * 60) + " = 1": "adds and multiplies more than 50 values",
    **dict.fromkeys(
        (" or ".join(["i = 1"] * 252), "not " * 251 + "flag", "(" * 251 + "i = 1"),
        "251 ANDs, ORs, NOTs and parentheses are more than the 250",
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_texts_that_cannot_be_used(text: str) -> None:
    with pytest.raises(OptionError, match=BAD[text]) as caught:
        bound(text)
    assert (caught.value.option, caught.value.value) == ("filter", text)


OF_TWO_KINDS = {
    "dec > '0.1'": "number with text",
    "dec BETWEEN '0.1' AND '1'": "number with text",
    "coalesce(dec, '0.1') = '0.1'": "number with text",
    "CASE dec WHEN '0.1' THEN true ELSE false END": "number with text",
    "CASE WHEN flag THEN 1 ELSE op END = 1": "number with text",
    "i IN (1, 'a')": "number with text",
    "st.x = 'a'": "number with text",
    "flag = '1'": "boolean with text",
    "flag = 1": "boolean with number",
    "ts >= DATE '2024-01-01'": "date with time",
    "ts >= '2024-01-01'": "text with time",
    "coalesce(ts, d) = ts": "date with time",
    "ts = ntz": "time with time without zone",
    "bin = 'a'": "binary with text",
    "i LIKE 'a'": "number with text",
    "i = 1 AND NOT (op = 'a' OR dec = '1')": "number with text",
}


@pytest.mark.parametrize("text", OF_TWO_KINDS)
def test_values_of_two_kinds_are_not_compared(text: str) -> None:
    with pytest.raises(OptionError, match=f"filter: it compares {OF_TWO_KINDS[text]}"):
        bound(text)


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("ts >= '2024-01-01'", "TIMESTAMP '2024-01-01 00:00:00Z'"),
        ("'2024-01-01 12:30+02:00' < ts", "TIMESTAMP '2024-01-01 12:30+02:00'"),
        ("ts IN ('soon')", "TIMESTAMP '2026-01-31 00:00:00Z'"),
        ("d = '2020-01-01'", "DATE '2020-01-01'"),
        ("ntz BETWEEN '2020-01-01' AND '2021-01-01'", "TIMESTAMP_NTZ '2020-01-01 00:00:00'"),
    ],
)
def test_a_text_beside_a_time_is_shown_as_one(text: str, literal: str) -> None:
    with pytest.raises(OptionError) as caught:
        bound(text)
    assert f"of the column's type, such as {literal}, or" in caught.value.message
    bound(f"{'d' if literal.startswith('DATE') else 'ntz' if 'NTZ' in literal else 'ts'} = {literal}")


OF_ONE_KIND = [
    "dec = 0.1 AND i = 1.5 AND f IN (1, 0.5) AND dec BETWEEN f AND i",
    "flag = true OR flag OR NOT flag OR flag = (i > 0)",
    "d IN (DATE '2024-01-01') OR d = DATE '2024-01-01' OR ts = ts OR ntz < ntz",
    "st.Y = op OR lower(op) = 'a' OR op BETWEEN 'a' AND 'b' OR coalesce(op, 'x') IN ('x', 'y', NULL)",
    "CASE WHEN i = 1 THEN 'a' ELSE NULL END = op OR CASE op WHEN 'a' THEN flag ELSE false END",
    "op = NULL OR coalesce(NULL, i) = 1 OR st.x > 0.1",
    "coalesce(" * 20 + "i" + ", 1)" * 20 + " = 1",
    "CASE WHEN i < -1 THEN -2 ELSE -3 END = -2 OR i <> 1e3 OR i >= - 1.5e-3 OR i IN (-1, -.5) OR i = 1. OR NOT -2 = i",
]


@pytest.mark.parametrize("text", OF_ONE_KIND)
def test_texts_are_read_the_same_by_filters_and_conditions(text: str) -> None:
    ddl = ", ".join(f"{name} {kind}" for name, kind in [
        ("id", "bigint"), ("dec", "decimal(10,2)"), ("flag", "boolean"), ("ts", "timestamp"), ("ntz", "timestamp_ntz"),
        ("d", "date"), ("op", "string"), ("f", "float"), ("i", "int"), ("st", "struct<x: float, Y: string>"),
    ])  # fmt: skip
    table = ModTable.create(MemoryStorage(), ddl, primary_key=["id"])
    table.apply(pa.table({"id": [1]}), column_list=["id"], at_least_once=True)
    assert table.to_arrow(filter=text).num_rows in (0, 1)
    assert table.apply(table.to_arrow(), apply_as_deletes=text, at_least_once=True, on_null_operation="upsert")


@pytest.mark.parametrize("text", ["dec > '0.1'", "i / 2 = 1", 'op = "D"', "op"])
def test_refused_texts_change_no_table(text: str) -> None:
    table = ModTable.create(MemoryStorage(), "id bigint, i int, dec decimal(10,2), op string", primary_key=["id"])
    with pytest.raises(OptionError, match="filter: ") as caught:
        table.to_arrow(filter=text)
    rows = pa.table({"id": [1], "i": [1], "dec": [Decimal(1)], "op": ["D"]})
    for batch in (rows, rows.slice(0, 0)):
        with pytest.raises(OptionError, match="apply_as_deletes: ") as caught:
            table.apply(batch, apply_as_deletes=text, at_least_once=True, cast=True)
        assert caught.value.option == "apply_as_deletes"
    assert table.version == 0


def test_what_to_give_instead_is_what_the_caller_can_give() -> None:
    for instead in ("a polars expression", "a Spark Column"):
        for text in (
            "i / 2 = 1",
            "op = 1",
            "substr(op, 1) = 'x'",
            "op LIKE '\\%'",
            "l * l * l = 1",
            "not " * 30 + "flag",
        ):
            with pytest.raises(OptionError, match=f"compute a column first, or give {instead}$"):
                bound(text, instead)
    with pytest.raises(OptionError, match=r"compute a column first$"):
        bound("i / 2 = 1")


def test_columns_are_found_by_their_names_else_by_case_where_one_can_be_meant() -> None:
    text = SqlText.read("filter", "a = 1 AND B = 1 AND c = 1 AND d.e = 1 AND a = 2")
    assert text.names == ("a", "B", "c", "d")
    names = text.resolve(["a", "A", "b", "C", "c", "D"])
    assert (names.columns, names.missing) == ({"a": "a", "B": "b", "c": "c", "d": "D"}, ())
    assert text.resolve(["A", "b", "D", "É"]).missing == ("c",)
    assert SqlText.read("filter", "x = 1").resolve(["X", "x "]).columns == {"x": "X"}
    with pytest.raises(OptionError, match="differ only in case"):
        SqlText.read("filter", "xy = 1").resolve(["Xy", "xY"])


def test_filters_and_conditions_find_columns_by_case() -> None:
    table = ModTable.create(MemoryStorage(), "Id bigint, V string", primary_key=["Id"])
    batch = pa.table({"Id": [1, 2], "V": ["a", "b"], "Op": ["I", "D"]})
    assert table.apply(batch, apply_as_deletes="OP = 'D' AND id > 0", at_least_once=True).deletes == 1
    assert table.to_arrow(filter="v = 'a'")["Id"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([1, 2, None], pa.uint8()), "c * 2 = 4"),
        (pa.array([1, 2**64 - 1, None], pa.uint64()), "c > 9223372036854775807"),
        (pa.array([0.5, 1.5, None], pa.float16()), "c = 1.5"),
        (pa.array(["a", "b", None]).dictionary_encode(), "c = 'b'"),
        (pa.array(["a", "b", None], pa.large_string()), "c = 'b'"),
        (pa.array([1, 2, None], pa.timestamp("ns", "Europe/Lisbon")), None),
        (pa.array([0, 86_400_000, None], pa.timestamp("ms", "+01:00")), "c = TIMESTAMP '1970-01-02 00:00:00Z'"),
        (pa.array([0, 86_400_000, None], pa.date64()), "c = DATE '1970-01-02'"),
        (pa.array([Decimal(0), Decimal(7), None], pa.decimal256(40, 2)), "c = 7"),
        (pa.array([Decimal(0), Decimal(10) ** 45, None], pa.decimal256(50, 2)), None),
        (pa.array([None, None, None], pa.null()), "c = 'a' OR id = 2"),
        (pa.array([[1], [2], None], pa.list_view(pa.int8())), None),
        (pa.array([1, 2, None], pa.time64("us")), None),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_columns_of_batches_in_types_that_tables_do_not_have(column: pa.Array, text: str | None) -> None:
    rows = pa.table({"id": [1, 2, 3], "c": column})
    condition = condition_of("filter", text or "c = 1 OR c = 'a'" if text else "c = c")
    assert condition is not None
    if text is None:
        with pytest.raises(OptionError, match=r"'c', a column of .*convert it first") as caught:
            condition.answers(rows)
        assert caught.value.column == "c"
    else:
        answers = condition.answers(rows).to_list()
        assert [row for row, answer in zip([1, 2, 3], answers, strict=True) if answer] == [2]


def test_decimals_beside_doubles_are_the_nearest_ones() -> None:
    numbers = [f"{number // 100}.{number % 100:02}" for number in range(-50_000, 100_000, 7)]
    long = [f"{number}.{number % 89:010}" for number in range(10**15, 10**15 + 5_000)]
    for texts, kind in ((numbers, pa.decimal128(20, 2)), (long, pa.decimal128(30, 10))):
        rows = pa.table({"d": pa.array(map(Decimal, texts), kind), "g": pa.array(map(float, texts))})
        for text in ("d = g", "d + 0 = g", "1 * d = g", "d <=> g"):
            condition = condition_of("filter", text)
            assert condition is not None
            assert condition.answers(rows).all(), text


def test_fields_of_a_struct_that_is_null_are_null() -> None:
    inner = pa.array([1, 1], pa.int32())
    structs = pa.StructArray.from_arrays([inner], ["z"], mask=pa.array([False, True]))
    condition = condition_of("filter", "s.z = 1")
    assert condition is not None
    assert condition.answers(pa.table({"s": structs})).to_list() == [True, None]


def test_constants_alone_are_answers_for_every_row() -> None:
    for text, expected in (("TRUE", True), ("1 = 2", False), ("NULL = 1", None), ("1 IN (2, NULL)", None)):
        condition = condition_of("filter", text)
        assert condition is not None
        assert condition.answers(TABLE).to_list() == [expected] * 3
        assert condition.answers(TABLE.slice(0, 0)).to_list() == []


@pytest.mark.slow
def test_lists_of_thousands_of_values() -> None:
    text = f"id IN ({', '.join(map(str, range(2, 20_000)))})"
    assert matching(text) == [2, 3]
