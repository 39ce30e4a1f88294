"""The law inside one batch: bad mods, ties, repeated mods, and which columns a mod carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from andes_spark.errors import SequenceTieError
from andes_spark.law.columns import KeyColumns
from andes_spark.law.presence import pack_present, present_matrix
from andes_spark.law.rows import Reason, bad_rows, collapse, sort_mods
from andes_spark.model.mod import OP, PRESENT, Op
from andes_spark.schema.schema import Schema

SCHEMA = Schema.from_ddl(
    "id bigint not null, lsn bigint not null, v double, n struct<x: array<string>>, must string not null"
)
COLUMNS = KeyColumns(("id",), ("lsn",))
U, D, T = int(Op.UPSERT), int(Op.DELETE), int(Op.TRUNCATE)


def table(*rows: tuple[Any, ...], present: list[bytes | None] | None = None) -> pa.Table:
    """Rows of id, lsn, v, n, must and operation."""
    arrow = SCHEMA.to_arrow()
    arrays = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(arrow)]
    names = [*arrow.names, OP]
    arrays.append(pa.array([row[5] for row in rows], pa.int8()))
    if present is not None:
        arrays.append(pa.array(present, pa.binary()))
        names.append(PRESENT)
    return pa.table(arrays, names=names)


def mod(key: int | None, lsn: int | None, v: float | None = 1.0, x: Any = None, op: int = U) -> tuple[Any, ...]:
    return (key, lsn, v, None if x is None else {"x": x}, "m", op)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (mod(1, 5), mod(1, 5)),
        (mod(1, 5, None), mod(1, 5, None)),
        (mod(1, 5, float("nan")), mod(1, 5, float("nan"))),
        (mod(1, 5, x=["a", None]), mod(1, 5, x=["a", None])),
        (mod(None, 5, None, op=T), mod(None, 5, None, op=T)),
        (mod(1, 5, None, op=D), mod(1, 5, None, op=D)),
    ],
)
def test_equal_mods_collapse(one: Any, two: Any) -> None:
    rows = sort_mods(table(mod(2, 1), one, mod(0, 9), two, two), COLUMNS)
    kept, dropped = collapse(rows, SCHEMA, COLUMNS)
    assert (kept.num_rows, dropped) == (3, 2)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (mod(1, 5), mod(1, 5, 2.0)),
        (mod(1, 5), mod(1, 5, None)),
        (mod(1, 5, None), mod(1, 5, float("nan"))),
        (mod(1, 5, x=[]), mod(1, 5)),
        (mod(1, 5, x=["a"]), mod(1, 5, x=["a", None])),
        (mod(1, 5, None), mod(1, 5, None, op=D)),
    ],
)
def test_different_mods_at_one_place_are_a_tie(one: Any, two: Any) -> None:
    rows = sort_mods(table(mod(2, 1), one, mod(0, 9), two), COLUMNS)
    with pytest.raises(SequenceTieError) as caught:
        collapse(rows, SCHEMA, COLUMNS)
    assert caught.value.keys == [{"id": 1}]


def test_what_a_mod_carries_makes_a_difference() -> None:
    rows = [mod(1, 5, None), mod(1, 5, None)]
    assert collapse(table(*rows, present=[b"\x1b", b"\x1b"]), SCHEMA, COLUMNS)[1] == 1
    for other in (None, b"\x13"):
        with pytest.raises(SequenceTieError):
            collapse(table(*rows, present=[b"\x1b", other]), SCHEMA, COLUMNS)


def test_the_error_names_ten_keys_at_most() -> None:
    rows = [mod(key, 1, v) for key in range(30) for v in (1.0, 2.0)]
    with pytest.raises(SequenceTieError) as caught:
        collapse(table(*rows), SCHEMA, COLUMNS)
    assert caught.value.keys == [{"id": key} for key in range(10)]


def test_each_bad_mod_has_its_first_reason() -> None:
    rows = table(
        mod(1, 1),
        mod(None, 1),
        mod(1, None),
        mod(None, None, op=D),
        (1, 1, None, None, None, U),
        (1, 2, None, None, None, D),
        (None, 3, None, None, None, T),
        (None, None, None, None, None, T),
        (1, 1, None, None, "m", -1),
    )
    bad = bad_rows(rows, SCHEMA, COLUMNS)
    assert list(zip(bad.rows.tolist(), bad.reasons, bad.columns, strict=True)) == [
        (1, Reason.NULL_KEY, "id"),
        (2, Reason.NULL_SEQUENCE, "lsn"),
        (3, Reason.NULL_KEY, "id"),
        (4, Reason.NULL_REQUIRED, "must"),
        (7, Reason.NULL_SEQUENCE, "lsn"),
        (8, Reason.UNKNOWN_OPERATION, None),
    ]


def test_a_partial_that_leaves_a_required_column_out_is_no_bad_mod() -> None:
    rows = table((1, 1, None, None, None, U), (2, 1, None, None, None, U))
    present = np.ones((2, 5), np.bool_)
    present[0, 4] = False
    assert bad_rows(rows, SCHEMA, COLUMNS, present=present).rows.tolist() == [1]


@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 100])
def test_presence_is_packed_and_read_back(width: int) -> None:
    matrix = np.random.default_rng(width).random((50, width)) < 0.7
    matrix[3:5] = True
    full = np.arange(50) == 3
    packed = pack_present(matrix, full)
    assert packed[3].as_py() is None
    assert packed[4].is_valid, "a row that carries every column there is says nothing of later ones"
    assert packed.null_count == 1
    assert all(len(row) == (width + 7) // 8 for row in packed.to_pylist() if row is not None)
    unpacked = present_matrix(pa.table({PRESENT: packed}), width)
    assert unpacked is not None
    assert (unpacked == matrix).all()
