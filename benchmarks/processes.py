"""A process that is watched: its output, and the peak memory of it and all that descend from it, by /proc."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from andes_spark.errors import MissingPackageError
from benchmarks.lab import ROOT

MISSING = 77
"""Exit code of a process that lacks a package, whose name is then its last line."""
_INTERVAL_S = 0.05


def watched(command: Sequence[str]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Run a command that prints lines of JSON.

    Returns:
        Peak resident bytes of each process, by name and number, ``driver`` being the first; the lines.

    Raises:
        MissingPackageError: the command ended with ``MISSING``.
    """
    peaks: dict[int, tuple[str, int]] = {}
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, cwd=ROOT) as process:
        while process.poll() is None:
            for pid in _family(process.pid):
                name, size = _resident(pid)
                if size > peaks.get(pid, ("", 0))[1]:
                    peaks[pid] = (name, size)
            time.sleep(_INTERVAL_S)
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode == MISSING:
        raise MissingPackageError(lines[-1], package=lines[-1].partition(" ")[0])
    if process.returncode:
        raise RuntimeError(f"the measured process ended with {process.returncode}: {' '.join(command)}")
    named = {"driver" if pid == process.pid else f"{name} {pid}": size for pid, (name, size) in peaks.items()}
    return named, [json.loads(line) for line in lines if line.startswith("{")]


def _family(root: int) -> Iterator[int]:
    """Numbers of a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(after[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


def _resident(pid: int) -> tuple[str, int]:
    """Name of a process, and the most bytes that it ever had resident."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "", 0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return fields["Name"].strip(), int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
