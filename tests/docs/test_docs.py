"""The code of README and guides runs: python blocks of a file in order, then its bash blocks, in a new folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)(?: (skip|spark))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    language: str
    mark: str
    code: str


def blocks(path: Path) -> list[Block]:
    """Blocks of code, without those marked ``skip``: they need a cluster or a network, or are this very test."""
    found = [Block(*(match[i] or "" for i in (1, 2, 3))) for match in BLOCK.finditer(path.read_text("utf-8"))]
    return [block for block in found if block.mark != "skip"]


def run_python(path: Path, *, with_spark: bool) -> None:
    names: dict[str, object] = {}
    for number, block in enumerate(block for block in blocks(path) if block.language == "python"):
        if with_spark or block.mark != "spark":
            exec(compile(block.code, f"{path.name}, block {number + 1}", "exec"), names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_code_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(path, with_spark=False)
    for block in blocks(path):
        if block.language == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.code],
                env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, f"{block.code}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if any(block.mark == "spark" for block in blocks(path))], ids=lambda path: path.name
)
def test_the_code_runs_with_spark(path: Path, spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(path, with_spark=True)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = [link for link in LINK.findall(path.read_text("utf-8")) if not (path.parent / link).exists()]
    assert not broken
