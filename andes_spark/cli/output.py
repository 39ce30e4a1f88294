"""Output of commands: results to stdout as text or JSON, everything else to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from andes_spark.cli.wording import worded
from andes_spark.errors import AndesError
from andes_spark.model.display import Displayed, fields_text, table_text, wrapped

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["text", "json"]
Row = Mapping[str, Any]

_WIDE = 40
"""Maximum characters of a cell in text; JSON is never cut."""


class Output:
    """Printer of a command's results, progress, warnings and errors.

    Args:
        form: ``text`` for people, or ``json``: one document, or one line for each row; values are exact.
    """

    def __init__(self, form: Form) -> None:
        self.form = form

    @property
    def is_json(self) -> bool:
        """Whether the output is JSON."""
        return self.form == "json"

    def document(self, content: Row, *, text: str | None = None) -> None:
        """Print one result: as a JSON document, or as ``text``, by default its fields line by line."""
        if self.is_json:
            self._line(content)
        elif text is not None:
            self.say(text)
        else:
            self.fields(content)

    def result(self, result: Displayed, content: Row) -> None:
        """Print a result: ``content`` as a JSON document, or its text for people."""
        if self.is_json:
            self._line(content)
        else:
            self.say(fields_text(result.details(), width=screen_width(sys.stdout)), wrap=False)

    def rows(self, rows: Iterable[Row], *, columns: Sequence[str], title: str | None = None) -> None:
        """Print rows: one JSON document per line, or a table with these columns."""
        if self.is_json:
            for row in rows:
                self._line(row)
        else:
            self.table(rows, columns=columns, title=title)

    def batches(self, batches: Iterable[pa.RecordBatch], *, columns: Sequence[str]) -> None:
        """Print Arrow batches: as JSON lines while they arrive, or as one table."""
        import pyarrow as pa

        from andes_spark.cli.json_lines import json_lines
        from andes_spark.cli.plain import rows_of

        if not self.is_json:
            self.table((row for batch in batches for row in rows_of(pa.Table.from_batches([batch]))), columns=columns)
            return
        for batch in batches:
            click.echo(json_lines(batch), nl=False)

    def table(
        self, rows: Iterable[Row], *, columns: Sequence[str], title: str | None = None, wide: int = _WIDE
    ) -> None:
        """Print rows as a table for people; cells are cut to ``wide`` characters."""
        body = [[row.get(name) for name in columns] for row in rows]
        right = [name for name, *cells in zip(columns, *body, strict=True) if any(map(_is_number, cells))]
        texts = [[_cell(value, wide) for value in cells] for cells in body]
        if title is not None:
            self.say(title)
        width = screen_width(sys.stdout)
        self.say(table_text([_cell(name, wide) for name in columns], texts, right=right, width=width), wrap=False)

    def entries(self, entries: Sequence[Displayed], *, none: str) -> None:
        """Print results of one kind: as documents of JSON, or as a table; ``none`` says that there are none."""
        from andes_spark.cli.plain import plain

        if self.is_json:
            for entry in entries:
                self.document(plain(entry))
        elif entries:
            details = [entry.details() for entry in entries]
            self.table(details, columns=list(details[0]), wide=100)
        else:
            self.note(none)

    def fields(self, content: Row) -> None:
        """Print names and values line by line, for people, without those that are None."""
        shown = {name: _shown(value) for name, value in content.items() if value is not None}
        self.say(fields_text(shown, width=screen_width(sys.stdout)), wrap=False)

    def say(self, text: str, *, wrap: bool = True) -> None:
        """Print text to stdout."""
        click.echo(wrapped(text, screen_width(sys.stdout)) if wrap else text)

    def note(self, text: str) -> None:
        """Print a note to stderr."""
        click.echo(text if self.is_json else wrapped(text, screen_width(sys.stderr)), err=True)

    def warning(self, text: str) -> None:
        """Print a warning to stderr."""
        text = worded(text)
        self._note({"warning": text}, f"Warning: {text}")

    def error(self, error: AndesError) -> None:
        """Print an error of the library to stderr: its class, message and fields."""
        message = worded(error.message)
        content = {"error": type(error).__name__, "message": message, "retryable": error.retryable}
        # People read the message; the fields are for programs.
        self._note({**content, **error.fields}, f"Error: {message} [{type(error).__name__}]")

    @contextmanager
    def progress(self, command: str) -> Iterator[Callable[[str], None]]:
        """Show the current step on stderr, if that is a terminal; yield the function that sets its name."""
        if not sys.stderr.isatty():
            yield _ignore
            return
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True, highlight=False, emoji=False).status(Text(command)) as status:
            yield lambda step: status.update(Text(f"{command}: {step}"))

    def _note(self, content: Row, text: str) -> None:
        self.note(_to_json(content) if self.is_json else text)

    def _line(self, content: Row) -> None:
        click.echo(_to_json(content))


def screen_width(file: Any) -> int | None:
    """Return the width of the terminal in characters, from ``COLUMNS`` or the file; None for a pipe."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    return shutil.get_terminal_size().columns if file.isatty() else None


def _to_json(content: Row) -> str:
    from andes_spark.cli.plain import to_json

    return to_json(content)


def _ignore(_: str) -> None:
    """Ignore the name of a step."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return value
    from andes_spark.cli.plain import plain

    value = plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(element, str) for element in value):
        return ", ".join(value) or "-"
    return value if isinstance(value, str) else _to_json(value)


def _cell(value: Any, wide: int) -> str:
    text = "".join(character if character.isprintable() else "·" for character in _shown(value))
    return text if len(text) <= wide else text[: wide - 1] + "…"
