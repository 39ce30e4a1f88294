"""Mistakes planted into look-ups by key and by pages: the interleavings must find every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from andes_spark.base import locator, page_lookup
from andes_spark.table.verbs import get
from tests.interleave import explore
from tests.table.test_mutants import ORDERED

pytestmark = pytest.mark.faults

Patch = pytest.MonkeyPatch


def pending_mods_are_not_looked_at(patch: Patch) -> None:
    patch.setattr(get._Get, "_evaluated", lambda self, located: None)


def replaced_rows_stay(patch: Patch) -> None:
    patch.setattr(get._Get, "_kept", lambda self, located, evaluation: located)


def a_truncate_removes_nothing(patch: Patch) -> None:
    patch.setattr(get, "outlive", lambda shape, watermark: pl.lit(True))


def files_of_mods_that_begin_with_the_key_are_left_out(patch: Patch) -> None:
    true = get.pending_of_keys

    def fewer(pending: Any, keys: pl.DataFrame, shape: Any) -> Any:
        first = {get._comparable(value, value.type) for value in keys[shape.columns.key[0]].to_arrow()}
        kept = true(pending, keys, shape)
        return replace(
            kept,
            files=tuple(file for file in kept.files if file.entry.keys is None or file.entry.keys.low[0] not in first),
        )

    patch.setattr(get, "pending_of_keys", fewer)


def the_last_page_is_left_out(patch: Patch) -> None:
    true = page_lookup._runs
    patch.setattr(page_lookup, "_runs", lambda first, last, hits: tuple(part[:-1] for part in true(first, last, hits)))


def keys_at_the_end_of_a_page_are_left_out(patch: Patch) -> None:
    true_hold, true_below = page_lookup._hold_keys, page_lookup._keys_below

    def exclusive(low: pl.DataFrame, high: pl.DataFrame, keys: Any, shape: Any, width: int) -> Any:
        if keys.integers is None:
            return true_hold(low, high, keys, shape, width)
        below = [np.searchsorted(keys.integers, bounds.to_series().to_numpy()) for bounds in (low, high)]
        return below[1] > below[0]

    patch.setattr(page_lookup, "_hold_keys", exclusive)
    patch.setattr(
        page_lookup, "_keys_below", lambda keys, bounds, *, including: true_below(keys, bounds, including=False)
    )


def sequences_of_pages_count_as_lower(patch: Patch) -> None:
    patch.setattr(locator, "rows_below", lambda file, rows, *_: np.ones(len(rows), np.bool_))


def deleted_rows_of_pages_are_found(patch: Patch) -> None:
    patch.setattr(locator, "_ask_vector", lambda source, file: None)


MUTANTS: dict[Callable[[Patch], None], dict[str, Any]] = {
    pending_mods_are_not_looked_at: {},
    replaced_rows_stay: {"steps": 10},
    a_truncate_removes_nothing: {
        "sequences": ORDERED, "truncates": True, "partials": False, "compacts": False, "steps": 10,
    },
    files_of_mods_that_begin_with_the_key_are_left_out: {},
    the_last_page_is_left_out: {},
    keys_at_the_end_of_a_page_are_left_out: {},
    sequences_of_pages_count_as_lower: {},
    deleted_rows_of_pages_are_found: {"vectors": True, "compacts": False, "steps": 10},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    # Odd seeds read by pages.
    for seed in range(500_001, 500_401, 2):
        try:
            explore(seed, **MUTANTS[mutant])
        except AssertionError:
            return
    pytest.fail("not found")
