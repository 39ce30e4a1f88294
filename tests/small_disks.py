"""A small file system of its own, which can be filled and made read-only: permissions do not stop root."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_ATTEMPTS = 20


@contextmanager
def small_disk(place: Path, *, size: str) -> Iterator[Path]:
    """Mount a file system in memory."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """Leave no space."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as output, suppress(OSError):
        while True:
            output.write(bytes(4096))
    yield
    ballast.unlink()


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Refuse writes, as soon as no file is open for writing; not at all if that takes long."""
    for _ in range(_ATTEMPTS):
        if subprocess.run(["mount", "-o", "remount,ro", str(place)], check=False, capture_output=True).returncode == 0:
            break
        time.sleep(0.01)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
