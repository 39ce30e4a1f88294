"""Memory follows the byte budget, not the size of a batch or of a table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.table.memory_use import BUDGET, MIB

OPERATIONS = (
    "create", "apply", "to_batches", "merge", "apply partials", "to_batches", "fold", "to_batches", "changes",
    "verify",
)  # fmt: skip
TIMES = 5
"""Memory beyond that of small tables, in budgets: Arrow data, polars' frames of it, and what allocators keep."""


@pytest.mark.slow
def test_memory_follows_the_byte_budget(tmp_path: Path) -> None:
    peaks = {}
    for number, operation in enumerate(OPERATIONS):
        program = [sys.executable, "-m", "tests.table.memory_use", operation, str(tmp_path / "table")]
        process = subprocess.run(
            program,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "POLARS_MAX_THREADS": str(os.cpu_count())},
        )
        assert process.returncode == 0, process.stderr
        peaks[f"{number} {operation}"] = int(process.stdout)
        for small in tmp_path.glob("table-small*"):
            small.rename(tmp_path / f"small-{number}")
    assert max(peaks.values()) * MIB <= TIMES * BUDGET, peaks
