"""The machine that figures come from."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("pyspark", "delta-spark", "polars", "pyarrow", "pyroaring")


def describe() -> dict[str, str]:
    """Cores, memory, processor, disk and versions."""
    return {
        "Processor": f"{_first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "Memory": f"{_kilobytes(_first('/proc/meminfo', 'MemTotal')) / 2**20:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, {_release()}, local disk",
        "Versions": ", ".join(
            [f"Python {platform.python_version()}", _java(), *(f"{name} {version(name)}" for name in _PACKAGES)]
        ),
        "Spark": "local mode, all cores, 4 GiB driver heap; 2 shuffle partitions a core; zstd at level 1 on both sides",
    }


def _first(path: str, name: str) -> str:
    file = Path(path)
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return "unknown"


def _kilobytes(text: str) -> float:
    number = text.split()[0]
    return float(number) if number.isdigit() else 0.0


def _release() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else "java"
    output = subprocess.run([command, "-version"], capture_output=True, text=True, check=True).stderr
    return "Java " + output.splitlines()[0].split('"')[1]
