"""Conditions look at one row: what does so passes, everything else is refused by its name."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.batch.row_wise import check_row_wise
from andes_spark.errors import OptionError
from andes_spark.storage.memory import MemoryStorage

C = pl.col("id")
TEXT = C.cast(pl.String)

ONE_ROW: list[pl.Expr] = [
    (C > 1) & C.is_null() | ~(C == 1),
    C.is_in([1, 2]) | C.is_between(1, 2) | C.eq_missing(1),
    (TEXT.str.slice(0, 1) == "a") | (TEXT.str.reverse() == "a") | TEXT.str.contains("x"),
    (C.dt.year() == 1) | (C.list.len() == 1) | (C.struct.field("a") == 1) | (C.arr.first() == 1),
    (C.abs().round(1).floor().clip(1, 2).sqrt().log() + C**2 - C % 2 // 3 == -C),
    pl.when(C > 1).then(True).otherwise(pl.lit(False)),
    pl.coalesce(C, 1).fill_null(2).alias("x") == 1,
    pl.any_horizontal(C == 1, C == 2) | (pl.max_horizontal(C, C) == 1) | (pl.concat_str(C, C) == "x"),
    C.replace({1: 2}).sign() == 1,
    C.list.eval(pl.element() + 1).list.first() == 1,
]

SEVERAL: list[tuple[Any, str]] = [
    (C.cum_sum() >= 3, "CumSum"),
    (C.cum_count() > 1, "CumCount"),
    (C.diff() > 1, "Diff"),
    (C.rle_id() == 1, "RLEID"),
    (C.shuffle() == 1, "Random"),
    (C.pct_change() > 1, "PctChange"),
    (C.rolling_sum(2) > 1, "Rolling"),
    (C.is_first_distinct(), "IsFirstDistinct"),
    (C.is_duplicated(), "IsDuplicated"),
    (C.forward_fill() == 1, "FillNullWithStrategy"),
    (C.ewm_mean(com=1) > 1, "Ewm"),
    (C.interpolate() > 1, "Interpolate"),
    (C.max() == C, "Agg"),
    (C.sum().over("id") > 1, "Over"),
    (C.shift(1) == 1, "Shift"),
    (C.rank() > 1, "Rank"),
    (C.unique() > 1, "Unique"),
    (C.sort() > 1, "Sort"),
    (pl.len() > 1, "Len"),
    (C.any(), "Any"),
    (C.head(1) == 1, "Slice"),
    (C.filter(C > 1) == 1, "Filter"),
    (C.explode() == 1, "Explode"),
    (C.get(0) == 1, "Gather"),
    (C.reverse() == 1, "Reverse"),
    (TEXT.str.join() == "x", "ConcatVertical"),
    (C.dt.year().max() == 1, "Agg"),
    (pl.when(C.cum_max() > 1).then(True).otherwise(C == 1), "CumMax"),
]


@pytest.mark.parametrize("expression", ONE_ROW, ids=str)
def test_one_row(expression: pl.Expr) -> None:
    assert check_row_wise("filter", expression) is expression


@pytest.mark.parametrize(("expression", "name"), SEVERAL, ids=str)
def test_several_rows(expression: pl.Expr, name: str) -> None:
    with pytest.raises(OptionError, match=rf"(?i)looks at several.*{name}") as caught:
        check_row_wise("filter", expression)
    assert caught.value.option == "filter"


def test_a_function_of_python_is_taken_at_its_word() -> None:
    expression = C.map_batches(lambda values: values == 1, return_dtype=pl.Boolean)
    assert check_row_wise("filter", expression) is expression


def test_neither_apply_nor_filter_takes_them() -> None:
    table = ModTable.create(MemoryStorage(), "id bigint, seq bigint", primary_key=["id"], sequence_by=["seq"])
    with pytest.raises(OptionError, match="looks at several") as caught:
        table.apply(pa.table({"id": [1, 2], "seq": [1, 2]}), apply_as_deletes=C.cum_sum() > 1)
    assert caught.value.option == "apply_as_deletes"
    with pytest.raises(OptionError, match="looks at several"):
        table.to_arrow(filter=C.cum_sum() > 1)
    assert table.version == 0
