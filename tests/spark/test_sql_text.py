"""Thousands of random texts: Spark SQL as it is written for them and polars give the same, and so does the text itself.

The text itself is what a caller of ``read().where(text)`` gives to Spark, in ANSI mode as by default; arithmetic is
compared there on small numbers, since Spark fails at overflows that the tree avoids. Spark 3.5 gives some texts another
meaning: it joins ``'it''s'`` from two texts, and compares integers with floats as floats.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from andes_spark.batch.condition import Condition, condition_of
from andes_spark.errors import OptionError
from andes_spark.spark.arrow_frames import arrow_table
from andes_spark.sql.text import SqlText
from tests.spark.batches import frame_of
from tests.spark.versions import BEFORE_4
from tests.sql.random_texts import SCHEMA, Texts, rows

TEXTS = 6_000
TYPES = {field.name: field.type for field in SCHEMA.fields}
ARITHMETIC = re.compile(r"[*+]|-\s*[^\d\s.]|[\w`)]\s*-|length", re.I)
LARGE = re.compile(r"\d{3}|1e")
TEXTS_IN_QUOTES = re.compile(r"'[^']*'")


@cache
def bound_as_spark_sql(text: str) -> str:
    """Raises OptionError: it names no column of the schema, or is no condition."""
    read = SqlText.read("filter", text)
    names = read.resolve(list(TYPES))
    if names.missing:
        raise OptionError(f"no columns {names.missing}", option="filter")
    return read.bind(names, TYPES).spark


@contextmanager
def settings(spark, **values: str) -> Iterator[None]:
    names = {key: "spark.sql." + key.replace("__", ".") for key in values}
    before = {name: spark.conf.get(name, None) for name in names.values()}
    for key, value in values.items():
        spark.conf.set(names[key], value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.unset(name) if value is None else spark.conf.set(name, value)


def by_spark(spark, table: pa.Table, expressions: Sequence[str]) -> list[list[bool | None]]:
    frame = frame_of(spark, table).coalesce(1)
    answers: list[list[bool | None]] = []
    for start in range(0, len(expressions), 250):
        part = expressions[start : start + 250]
        columns = arrow_table(
            frame.selectExpr(*(f"{expression} AS c{number}" for number, expression in enumerate(part)))
        )
        answers += [column.to_pylist() for column in columns.columns]
    return answers


@cache
def conditions(text: str) -> Condition:
    condition = condition_of("filter", text)
    assert condition is not None
    return condition


def by_polars(table: pa.Table, text: str) -> list[bool | None]:
    return conditions(text).answers(table).to_list()


def is_calculated(text: str) -> bool:
    return bool(ARITHMETIC.search(TEXTS_IN_QUOTES.sub("", text)))


def is_accepted(text: str) -> bool:
    try:
        return bool(bound_as_spark_sql(text))
    except OptionError:
        return False


@pytest.fixture(scope="module")
def accepted() -> list[str]:
    """Texts that are accepted, each once."""
    author = Texts(random.Random(20_260_131))
    texts = [text for text in (author.text() for _ in range(TEXTS)) if is_accepted(text)]
    assert len(texts) > 0.8 * TEXTS
    return list(dict.fromkeys(texts))


@pytest.mark.slow
def test_random_texts_give_the_same_in_both_engines(spark, accepted):
    tables = {"wild": rows(random.Random(1), 60), "tame": rows(random.Random(2), 40, tame=True)}
    answers_of = cache(lambda rows, text: by_polars(tables[rows], text))
    calculated = [text for text in accepted if is_calculated(text)]
    small = [text for text in calculated if not LARGE.search(TEXTS_IN_QUOTES.sub("", text))]
    plain = [text for text in accepted if not is_calculated(text)]
    assert min(len(calculated), len(small), len(plain)) > 0.05 * TEXTS
    wrong = []
    runs = [("written", "wild", accepted, [bound_as_spark_sql(text) for text in accepted])]
    if not BEFORE_4:
        runs += [("the text itself", "wild", plain, plain), ("the text itself", "tame", small, small)]
    for name, table, texts, expressions in runs:
        for text, answers in zip(texts, by_spark(spark, tables[table], expressions), strict=True):
            expected = answers_of(table, text)
            if answers != expected:
                row = next(at for at, pair in enumerate(zip(answers, expected, strict=True)) if pair[0] != pair[1])
                wrong.append((name, text, bound_as_spark_sql(text), answers[row], expected[row], row))
    assert not wrong, f"{len(wrong)} texts: " + "\n".join(map(str, wrong[:20]))


@pytest.mark.slow
@pytest.mark.skipif(BEFORE_4, reason="Spark 3.5 reads 'it''s' as two texts")
def test_texts_with_a_word_too_few_or_too_many_are_read_as_spark_reads_them_or_refused(spark):
    author = Texts(random.Random(42))
    wild = rows(random.Random(5), 40)
    texts = [text for text in (author.damaged() for _ in range(6_000)) if not is_calculated(text) and is_accepted(text)]
    assert len(texts) > 300
    # All at once: Spark would name the one that it cannot read.
    wrong = [
        text
        for text, answer in zip(texts, by_spark(spark, wild, texts), strict=True)
        if answer != by_polars(wild, text)
    ]
    assert wrong == []


def differing(spark, table: pa.Table, texts: list[str]) -> list[str]:
    answers = by_spark(spark, table, [bound_as_spark_sql(text) for text in texts])
    return [text for text, answer in zip(texts, answers, strict=True) if answer != by_polars(table, text)]


def test_generated_code_gives_the_same(spark, accepted):
    with settings(spark, codegen__wholeStage="true", codegen__factoryMode="CODEGEN_ONLY"):
        assert differing(spark, rows(random.Random(3), 60), accepted[:100]) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ansi__enabled", "false"),
        ("session__timeZone", "America/Los_Angeles"),
        ("timestampType", "TIMESTAMP_NTZ"),
        ("caseSensitive", "true"),
        ("parser__escapedStringLiterals", "true"),
        ("legacy__consecutiveStringLiterals__enabled", "true"),
        ("decimalOperations__allowPrecisionLoss", "false"),
        ("legacy__exponentLiteralAsDecimal__enabled", "true"),
    ],
)
def test_settings_of_the_session_change_nothing(spark, accepted, setting, value):
    with settings(spark, **{setting: value}):
        assert differing(spark, rows(random.Random(4), 20), accepted[:300]) == []


@pytest.mark.slow
def test_every_character_has_the_same_case_and_length(spark, tmp_path):
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    around = [
        f"{before}{character}{after}"
        for before, after in (("", ""), ("a", ""), ("", "a"), ("a", "b"))
        for character in characters
    ]
    pq.write_table(pa.table({"s": around}), tmp_path / "s.parquet")
    calls = ("lower(s)", "upper(s)", "length(s)")
    texts = spark.read.parquet(str(tmp_path / "s.parquet"))
    answers = arrow_table(texts.selectExpr("s", *(f"{c} AS `{c}`" for c in calls)))
    for call in calls:
        condition = condition_of("filter", f"{call} = `{call}`")
        assert condition is not None
        different = answers.filter(pc.invert(condition.answers(answers).to_arrow())).select(["s", call])
        assert different.num_rows == 0 or (BEFORE_4 and are_of_newer_letters(different)), call


def are_of_newer_letters(different: pa.Table) -> bool:
    """Whether all texts have letters that Spark's Unicode does not know, so that it leaves them as they are."""
    answers = dict(zip(*different.to_pydict().values(), strict=True))
    letters = {text for text, answer in answers.items() if len(text) == 1 and text == answer}
    return all(letters & set(text) for text in answers)
