"""The tables of options in the guides are those that the library declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.option_tables import DOCS, TABLE, table, written

GUIDES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_tables_are_as_declared(path: Path) -> None:
    text = path.read_text("utf-8")
    assert written(text) == text, "run: python scripts/option_tables.py"


def test_the_options_of_create_apply_and_read_have_their_tables() -> None:
    names = {match[2] for path in GUIDES for match in TABLE.finditer(path.read_text("utf-8"))}
    assert names >= {"CreateOptions", "ApplyOptions", "ReadOptions"}


def test_a_table_names_python_and_the_command_line() -> None:
    from andes_spark.model.options import CreateOptions

    rows = table(CreateOptions).splitlines()
    assert rows[2].startswith("| `primary_key` | `--primary-key` |  | Key columns")
    assert any(row.startswith("| `properties` | `--property` | `None` |") for row in rows)
