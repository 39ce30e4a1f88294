"""The wheel of this project, for tests of what it carries and requires."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build_wheel(folder: Path) -> Path:
    """Build a wheel of a copy of the sources, so that nothing built stays beside them."""
    shutil.copytree(ROOT / "andes_spark", folder / "andes_spark", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    process = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder / "dist" / process.stdout.splitlines()[-1]
