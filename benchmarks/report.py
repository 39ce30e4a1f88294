"""What the benchmarks found, as tables: printed, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Table:
    """One table of results.

    Attributes:
        title: what it is about.
        columns: headings.
        rows: cells.
        notes: what to know when reading it.
        raw: figures behind the cells, for the JSON file.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *cells: object, **raw: Any) -> None:
        """Add a row, and the figures behind it."""
        self.rows.append([str(cell) for cell in cells])
        if raw:
            self.raw.append(raw)

    def markdown(self) -> str:
        """The table with its title and notes."""
        lines = [f"## {self.title}", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + "---|" * len(self.columns))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines)


@dataclass
class Report:
    """All results of a run.

    Attributes:
        command: that made them.
        machine: that it ran on.
        tables: one or more of each part.
        failed: parts that raised, with what they said.
    """

    command: str
    machine: dict[str, str]
    tables: list[Table] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole report."""
        machine = "\n".join(f"- {name}: {value}" for name, value in self.machine.items())
        parts = ["# Benchmarks", f"Made by `{self.command}`.", machine, *(table.markdown() for table in self.tables)]
        parts += [f"**{part} failed:** {why}" for part, why in self.failed.items()]
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``results.md`` and ``results.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.md").write_text(self.markdown(), encoding="utf-8")
        (folder / "results.json").write_text(json.dumps(asdict(self), indent=1, default=str), encoding="utf-8")


def verdict(met: bool) -> str:
    """A word for a cell."""
    return "yes" if met else "**no**"


def megabytes(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.2f} MB"
