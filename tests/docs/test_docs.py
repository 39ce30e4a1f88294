"""The code of README and guides runs: python blocks of a file in order, then its bash blocks, in a new folder.

Blocks marked ``s3`` run with a server for S3 and Glue: in Python ``access`` has its storage options, commands get them
as flags, and there is a bucket ``lake``. Blocks marked ``postgres`` run with a database that has a schema ``sales``:
``url`` is its URL, and ``DATABASE_URL`` in commands.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.testing.s3 import S3Server
from tests.postgres import Postgres
from tests.s3 import s3_client

ROOT = Path(__file__).parent.parent.parent
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)(?: (skip|spark|s3|postgres))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"[|&;<>()$`*?#~!\"'\\]")
"""What a shell reads as more than a word, outside quotes."""
QUOTED = re.compile(r"'[^']*'|\"[^\"$`\\]*\"")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    language: str
    mark: str
    code: str


def blocks(path: Path) -> list[Block]:
    """Blocks of code, without those marked ``skip``: they need a cluster or a network, or are this very test."""
    all_blocks = [Block(*(match[i] or "" for i in (1, 2, 3))) for match in BLOCK.finditer(path.read_text("utf-8"))]
    return [block for block in all_blocks if block.mark != "skip"]


def run_python(path: Path, *marks: str, **names: object) -> None:
    for number, block in enumerate(block for block in blocks(path) if block.language == "python"):
        if block.mark in ("", *marks):
            exec(compile(block.code, f"{path.name}, block {number + 1}", "exec"), names)


def plain_commands(code: str) -> list[list[str]] | None:
    """Arguments of each call of ``andes``, if a block has nothing else, so that no shell is needed."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    if any(not line.startswith("andes ") or SHELL.search(QUOTED.sub("", line)) for line in lines):
        return None
    return [shlex.split(line)[1:] for line in lines]


def run_here(commands: list[list[str]], *flags: str) -> None:
    """Run commands in this process: a process for each takes longer to start than to work."""
    for command in commands:
        outcome = CliRunner().invoke(andes, [*command, *flags])
        assert outcome.exit_code == 0, f"{shlex.join(command)}\n{outcome.output}"


def run_bash(code: str) -> None:
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, f"{code}\n{process.stdout}{process.stderr}"


@pytest.mark.parametrize(
    ("code", "commands"),
    [
        ('andes table read a --filter "b < 4"\n', [["table", "read", "a", "--filter", "b < 4"]]),
        ("andes table tags \\\n    a\n\nandes --help\n", [["table", "tags", "a"], ["--help"]]),
        ("andes table get a '{\"b\": 1}'\n", [["table", "get", "a", '{"b": 1}']]),
        ("andes table read a | head\n", None),
        ('andes table read "$a"\n', None),
        ("! andes table read a\n", None),
        ("cat a\n", None),
    ],
)
def test_blocks_that_need_no_shell(code: str, commands: list[list[str]] | None) -> None:
    assert plain_commands(code) == commands


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_code_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(path)
    for block in blocks(path):
        if block.language == "bash" and not block.mark:
            commands = plain_commands(block.code)
            if commands is None:
                run_bash(block.code)
            else:
                run_here(commands)


def marked(mark: str) -> list[Path]:
    return [path for path in FILES if any(block.mark == mark for block in blocks(path))]


@pytest.mark.integration
@pytest.mark.parametrize("path", marked("s3"), ids=lambda path: path.name)
def test_the_code_runs_with_a_server(path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", s3_server.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    s3_client(s3_server).create_bucket(Bucket="lake")
    run_python(path, "s3", access=s3_server.options)
    flags = [part for name, value in s3_server.options.items() for part in ("--storage-option", f"{name}={value}")]
    for block in blocks(path):
        if block.language == "bash" and block.mark == "s3":
            run_here(plain_commands(block.code) or [], *flags)


@pytest.mark.integration
@pytest.mark.parametrize("path", marked("postgres"), ids=lambda path: path.name)
def test_the_code_runs_with_a_database(
    path: Path, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = postgres.new_database("docs_" + path.stem)
    run_python(path, "postgres", url=url)
    for block in blocks(path):
        if block.language == "bash" and block.mark == "postgres":
            run_here(plain_commands(block.code.replace("DATABASE_URL", url)) or [])


@pytest.mark.parametrize("path", marked("spark"), ids=lambda path: path.name)
def test_the_code_runs_with_spark(path: Path, spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(path, "spark")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = [link for link in LINK.findall(path.read_text("utf-8")) if not (path.parent / link).exists()]
    assert not broken
