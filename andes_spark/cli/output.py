"""What commands print: results to stdout as text or JSON, all else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import click
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from andes_spark.cli.json_lines import json_lines, to_json
from andes_spark.cli.plain import plain, rows_of
from andes_spark.errors import AndesError

Form = Literal["text", "json"]
Row = Mapping[str, Any]

_PIPE_WIDTH = 10_000
_WIDE = 40
"""Characters of a cell in text; JSON is never cut."""


class Output:
    """Where a command's results, progress, warnings and errors go.

    Args:
        form: ``text`` for people, or ``json``: one document, or one line for each row; values are exact.
    """

    def __init__(self, form: Form) -> None:
        self.form = form

    @property
    def is_json(self) -> bool:
        """Whether programs read this."""
        return self.form == "json"

    def document(self, content: Row, *, text: str | None = None) -> None:
        """Print one result: as a JSON document, or as ``text``, by default its fields line by line."""
        if self.is_json:
            self._line(content)
        elif text is not None:
            self.say(text)
        else:
            self.fields(content)

    def rows(self, rows: Iterable[Row], *, columns: Sequence[str], title: str | None = None) -> None:
        """Print rows: one JSON document for each line, or a table with these columns."""
        if self.is_json:
            for row in rows:
                self._line(row)
        else:
            self.table(rows, columns=columns, title=title)

    def batches(self, batches: Iterable[pa.RecordBatch], *, columns: Sequence[str]) -> None:
        """Print rows of Arrow: JSON lines as they come, or a table of all of them."""
        if not self.is_json:
            self.table((row for batch in batches for row in rows_of(pa.Table.from_batches([batch]))), columns=columns)
            return
        for batch in batches:
            click.echo(json_lines(batch), nl=False)

    def table(
        self, rows: Iterable[Row], *, columns: Sequence[str], title: str | None = None, wide: int = _WIDE
    ) -> None:
        """Print rows as a table for people; cells are cut to ``wide`` characters."""
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
        body = [[_cell(row.get(name), wide) for name in columns] for row in rows]
        for index, name in enumerate(columns):
            numeric = any(isinstance(cells[index][1], int | float) for cells in body)
            table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
        for cells in body:
            table.add_row(*(text for text, _ in cells))
        console = _console(stderr=False)
        console.print(table)

    def fields(self, content: Row) -> None:
        """Print names and values line by line, for people."""
        width = max(map(len, content), default=0)
        for name, value in content.items():
            self.say(f"{name:<{width}}  {_shown(value)}")

    def say(self, text: str) -> None:
        """Print a line of text to stdout."""
        click.echo(text)

    def note(self, text: str) -> None:
        """Print a line that is no result to stderr."""
        click.echo(text, err=True)

    def warning(self, text: str) -> None:
        """Print a warning to stderr."""
        self._told({"warning": text}, f"Warning: {text}")

    def error(self, error: AndesError) -> None:
        """Print an error of the library to stderr: its class, message and fields."""
        content = {"error": type(error).__name__, "message": error.message, "retryable": error.retryable}
        # The message of an error has what people need; fields are for programs.
        self._told({**content, **error.fields}, f"Error: {error.message} [{type(error).__name__}]")

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show steps on stderr while something runs, if that is a terminal; yields what takes their names."""
        console = _console(stderr=True)
        if not console.is_terminal:
            yield _ignore
            return
        with console.status(Text(what)) as status:
            yield lambda step: status.update(Text(f"{what}: {step}"))

    def _told(self, content: Row, text: str) -> None:
        self.note(to_json(content) if self.is_json else text)

    def _line(self, content: Row) -> None:
        click.echo(to_json(content))


def _ignore(_: str) -> None:
    """The progress of a command that nobody watches."""


def _console(*, stderr: bool) -> Console:
    file = sys.stderr if stderr else sys.stdout
    # A pipe has no width: a table that is folded would be of no use to anybody.
    return Console(file=file, width=None if file.isatty() else _PIPE_WIDTH, highlight=False, emoji=False)


def _shown(value: Any) -> str:
    value = plain(value)
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value) or "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any, wide: int) -> tuple[Text, Any]:
    text = "".join(each if each.isprintable() else "·" for each in _shown(value))
    if len(text) > wide:
        text = text[: wide - 1] + "…"
    style = "dim" if value is None else ""
    return Text(text, style=style), None if isinstance(value, bool) else value
