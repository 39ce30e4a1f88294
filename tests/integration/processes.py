"""What other processes do to a table on S3; run by name, so that a spawned interpreter finds it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from andes_spark import ModTable, Settings
from tests.spark.batches import SIMPLE, simple_rows, table_of

BATCHES = 5


def arguments_of_processes() -> str:
    """Arguments of all processes of this machine, as any user sees them."""
    shown = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            shown.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(shown)


def append(url: str, options: dict[str, str], writer: int, start: Any) -> None:
    table = ModTable.open(url, storage_options=options, settings=Settings(threads=1))
    start.wait()
    for number in range(BATCHES):
        rows = table_of(simple_rows(100 * writer + 10 * number, 12, 1000 * (number + 1) + writer), SIMPLE)
        result = table.apply(rows, batch_id=(f"writer {writer}", number), merge=False)
        assert not result.replayed
        assert table.apply(rows, batch_id=(f"writer {writer}", number), merge=False).replayed


def merge(url: str, options: dict[str, str], start: Any) -> None:
    table = ModTable.open(url, storage_options=options, settings=Settings(threads=1))
    start.wait()
    for _ in range(BATCHES):
        assert table.merge().status in ("merged", "nothing", "skipped")


def apply_until(url: str, options: dict[str, str], last_step: str) -> None:
    """Apply a batch, merge it, and die as a step begins."""

    def watch(step: str) -> None:
        if step == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    table = ModTable.open(url, storage_options=options, progress=watch)
    table.apply(table_of(simple_rows(0, 12, 500), SIMPLE), batch_id=("killed", 1), merge=True)
