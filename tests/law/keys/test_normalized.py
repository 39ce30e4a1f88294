"""Normalized keys: words have the order of the tuples that they are made for, and equal tuples have equal words."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.law.keys import normalized as normalized_keys
from andes_spark.law.keys.normalized import normalizer

TEXTS = st.one_of(
    st.text(alphabet="ab\0\x7fé￿\U0001f600", max_size=20),
    st.integers(0, 9999).map(lambda number: f"order-{number:010d}"),
    st.integers(0, 9999).map(lambda number: f"order-{number}"),
    st.sampled_from(["", "x" * 7, "x" * 8, "x" * 9, "x" * 16, "x" * 600, "x" * 600 + "y"]),
)
NUMBERS = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
TIMES = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
COLUMNS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.int64(), NUMBERS),
    (pa.int8(), st.integers(-128, 127)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us", "UTC"), TIMES.map(lambda time: time.replace(tzinfo=datetime.UTC))),
]


def place(row: Sequence[Any]) -> tuple[Any, ...]:
    """What a tuple is ordered by: text by its bytes."""
    return tuple(value.encode() if isinstance(value, str) else value for value in row)


def arrays(rows: Sequence[Sequence[Any]], kinds: Sequence[pa.DataType], before: int = 0) -> list[pa.Array]:
    """Columns of rows, as parts of longer ones."""
    columns = []
    for number, kind in enumerate(kinds):
        values = [row[number] for row in rows]
        columns.append(pa.array([*values[:1] * before, *values], kind).slice(before if values else 0))
    return columns


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[pa.DataType], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    chosen = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3))
    rows = st.tuples(*(values for _, values in chosen))
    return [kind for kind, _ in chosen], draw(st.lists(rows, min_size=1, max_size=30)), draw(st.lists(rows, max_size=9))


@pytest.mark.slow
@given(cases(), st.sampled_from([1, 3, 8_192]), st.integers(0, 3))
def test_words_have_the_order_of_tuples(case, rows_at_once, before):
    kinds, rows, others = case
    rows = sorted(rows, key=place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalized_keys, "_ROWS", rows_at_once)
        built = normalizer(arrays(rows, kinds, before))
        assert built is not None
        words = built.words(arrays(rows, kinds, before))
        all_words = built.words(arrays([*others, *rows], kinds))
    assert bool((words[1:] >= words[:-1]).all())
    assert all_words[len(others) :].tolist() == words.tolist()
    if built.exact:
        same = [one == two for one, two in zip(rows[1:], rows[:-1], strict=True)]
        assert (words[1:] == words[:-1]).tolist() == same


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"{number:010d}" for number in range(500)], pa.string()),
        ([f"a-long-prefix-that-all-share/{number:x}" for number in range(500)], pa.string()),
        (list(range(-250, 250)), pa.int64()),
        ([-(2**63), 2**63 - 1], pa.int64()),
        ([datetime.date(1, 1, 1), datetime.date(9999, 12, 31)], pa.date32()),
    ],
    ids=["digits", "prefix", "numbers", "all of them", "dates"],
)
def test_what_fits_a_word_is_exact(values: list[Any], kind: pa.DataType) -> None:
    normal = normalizer([pa.array(values, kind)])
    assert normal is not None
    assert normal.exact
    assert len(np.unique(normal.words([pa.array(values, kind)]))) == len(values)


def test_two_strings_and_a_sequence_fit_a_word() -> None:
    chance = random.Random(7)
    rows = [(f"region-{chance.randrange(16):02d}", f"ORD-{chance.randrange(5_000_000):010d}", n) for n in range(20_000)]
    columns = arrays(rows, [pa.string(), pa.string(), pa.int64()])
    normal = normalizer(columns)
    assert normal is not None
    assert normal.exact
    assert normal.words(columns).argsort(kind="stable").tolist() == sorted(range(len(rows)), key=rows.__getitem__)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "a\0"], pa.string()),
        (["x" * 512, "x" * 513], pa.string()),
        ([chr(97 + n) + str(n) * 20 for n in range(10)], pa.string()),
    ],
    ids=["a zero byte", "too long", "too much that differs"],
)
def test_what_words_cannot_tell_is_not_exact(values: list[str], kind: pa.DataType) -> None:
    normal = normalizer([pa.array(values, kind)])
    assert normal is not None
    assert not normal.exact


def test_columns_behind_one_that_does_not_fit_are_left_out() -> None:
    rows = [(-(2**63), "b"), (-(2**63), "a"), (2**63 - 1, "a")]
    normal = normalizer(arrays(rows, [pa.int64(), pa.string()]))
    assert normal is not None
    assert not normal.exact
    assert normal.words(arrays(rows, [pa.int64(), pa.string()])).tolist() == [0, 0, 2**64 - 1]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([], pa.int64()), ([1, None], pa.int64()), ([1.0], pa.float64()), ([b"a"], pa.binary()), ([True], pa.bool_())],
    ids=["no rows", "a NULL", "doubles", "bytes", "booleans"],
)
def test_what_has_no_normalizer(values: list[Any], kind: pa.DataType) -> None:
    assert normalizer([pa.array(values, kind)]) is None
