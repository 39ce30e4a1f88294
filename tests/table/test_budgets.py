"""Memory follows the byte budget, not the size of a batch or of a table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.table.memory_use import BUDGET, DATA, MIB, UNLIMITED

OPERATIONS = (
    "create", "apply", "get", "to_batches", "merge", "apply partials", "to_batches", "fold", "to_batches", "get",
    "compact", "changes", "verify",
)  # fmt: skip
TIMES = 5
"""Memory beyond that of small tables, in budgets: Arrow data, polars' frames of it, and what allocators keep."""
LIMIT = TIMES * BUDGET
ENVIRONMENT = {
    "POLARS_MAX_THREADS": str(os.cpu_count()),
    # The default, mimalloc, keeps much of what was freed: a third of what a merge takes.
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
}


def peaks_of(operations: Sequence[str], folder: Path, budget: int) -> dict[str, int]:
    """MiB that each of some operations on one table took, each in a process of its own."""
    peaks = {}
    for number, operation in enumerate(operations):
        program = [sys.executable, "-m", "tests.table.memory_use", operation, str(folder / "table"), str(budget)]
        process = subprocess.run(
            program, capture_output=True, text=True, check=False, env={**os.environ, **ENVIRONMENT}
        )
        assert process.returncode == 0, process.stderr
        peaks[f"{number} {operation}"] = int(process.stdout)
        for small in folder.glob("table-small*"):
            small.rename(folder / f"small-{number}")
    return peaks


@pytest.mark.slow
def test_memory_follows_the_byte_budget(tmp_path: Path) -> None:
    assert DATA >= 3 * LIMIT, "all rows together do not fit"
    peaks = peaks_of(OPERATIONS, tmp_path, BUDGET)
    assert max(peaks.values()) * MIB <= LIMIT, peaks


@pytest.mark.faults
def test_a_table_that_is_held_in_memory_is_noticed(tmp_path: Path) -> None:
    peaks = peaks_of(("create", "apply", "to_batches", "merge"), tmp_path, UNLIMITED)
    assert min(peaks.values()) * MIB > LIMIT, peaks
