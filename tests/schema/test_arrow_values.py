"""Arrays made without pyarrow's conversions are those that it makes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from andes_spark.delta.action_columns import ADD, REMOVE
from andes_spark.schema.arrow_values import array_of, indices_of, numpy_of, scalar_of

LISTED = pa.struct([("n", pa.int32()), ("texts", pa.map_(pa.string(), pa.string())), ("flag", pa.bool_())])


def value_of(kind: pa.DataType, rnd: random.Random) -> Any:
    if rnd.random() < 0.2:
        return None
    if pa.types.is_struct(kind):
        return {field.name: value_of(field.type, rnd) for field in kind if rnd.random() < 0.9}
    if pa.types.is_map(kind):
        return {key: rnd.choice((None, "", "ß", "\U0010ffff")) for key in rnd.sample("abcd", rnd.randint(0, 4))}
    if pa.types.is_boolean(kind):
        return rnd.random() < 0.5
    if pa.types.is_string(kind):
        return rnd.choice(("", "x", "ß\U0001f600", "a\nb"))
    return rnd.choice((0, -1, 2 ** (kind.bit_width - 1) - 1, -(2 ** (kind.bit_width - 1))))


def by_pyarrow(values: list[Any], kind: pa.DataType) -> pa.Array:
    def with_pairs(value: Any, kind: pa.DataType) -> Any:
        if value is None:
            return None
        if pa.types.is_map(kind):
            return list(value.items())
        if pa.types.is_struct(kind):
            return {field.name: with_pairs(value.get(field.name), field.type) for field in kind}
        return value

    return pa.array([with_pairs(value, kind) for value in values], kind)


@pytest.mark.parametrize("kind", [ADD, REMOVE, LISTED, LISTED.field("texts").type, pa.string(), pa.int64()], ids=str)
def test_arrays_are_those_of_pyarrow(kind: pa.DataType) -> None:
    rnd = random.Random(1)
    for size in (0, 1, 2, 50):
        values = [value_of(kind, rnd) for _ in range(size)]
        array = array_of(values, kind)
        assert array.type == kind
        array.validate(full=True)
        assert array.equals(by_pyarrow(values, kind))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", pa.int64()),
        (1.5, pa.int32()),
        (2**40, pa.int32()),
        (1, pa.string()),
        ([1], pa.string()),
        ("x", pa.bool_()),
        ("x", LISTED),
        ({"n": "x"}, LISTED),
        ({"texts": [("a", "b")]}, LISTED),
        ({"texts": {"a": 1}}, LISTED),
    ],
)
def test_values_of_other_types_are_refused(value: Any, kind: pa.DataType) -> None:
    with pytest.raises((pa.ArrowTypeError, pa.ArrowInvalid)):
        array_of([None, value], kind)


def test_single_values_and_row_numbers() -> None:
    assert scalar_of("x", pa.string()).equals(pa.scalar("x"))
    rows = np.array([3, 0, 2])
    assert indices_of(rows).equals(pa.array(rows))
    assert numpy_of(pa.array([True, False])).tolist() == [True, False]
    assert numpy_of(pa.chunked_array([[1, 2], [3]])).tolist() == [1, 2, 3]
