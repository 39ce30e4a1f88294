"""Planted mistakes that random interleavings must find."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.interleave import explore

Patch = pytest.MonkeyPatch


def assert_found(mutant: Callable[[Patch], None], patches: Patch, first: int, seeds: int, **arguments: Any) -> None:
    """Run interleavings with a mistake planted until one differs from the oracle; without the mistake, it must not.

    Args:
        mutant: function that plants the mistake.
        patches: of the test.
        first: first seed.
        seeds: number of seeds to try.
        arguments: of ``explore``.
    """
    for seed in range(first, first + seeds):
        try:
            with patches.context() as patch:
                mutant(patch)
                explore(seed, **arguments)
        except AssertionError as error:
            logging.getLogger(__name__).info("found after %d interleavings: %s", seed - first + 1, error)
            explore(seed, **arguments)  # the same interleaving without the mistake
            return
    raise AssertionError(f"{mutant.__name__} was not found in {seeds} interleavings")
