"""Display of results and documents: sizes, times and counts as text, tables as text and as HTML.

Lines are broken between words only. A table that is wider than the screen is shown as records, and long values are
wrapped.
"""

from __future__ import annotations

import datetime
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Generic, TypeVar

T = TypeVar("T")

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
_GAP = "  "
_LEAST_VALUE_WIDTH = 20


def size_text(size: int) -> str:
    """Format a number of bytes with a unit, such as ``1.5 MiB``."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return count_text(size, "bytes") if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def count_text(count: int, noun: str) -> str:
    """Format a number with a noun, passed in the plural, such as ``1 row`` or ``1,234 rows``."""
    return f"{count:,} {noun.removesuffix('s') if count == 1 else noun}"


def counts_text(counts: Mapping[str, int], *, none: str) -> str:
    """Format counts other than zero with their nouns; return ``none`` if all counts are zero."""
    return ", ".join(count_text(count, noun) for noun, count in counts.items() if count) or none


def time_text(moment: datetime.datetime | None) -> str:
    """Format a time in UTC, to the second."""
    return "unknown" if moment is None else f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def span_text(span: datetime.timedelta) -> str:
    """Format a duration in its largest unit, such as ``5 minutes``."""
    seconds = max(0, int(span.total_seconds()))
    for length, noun in _SPANS:
        if seconds >= length:
            return count_text(seconds // length, f"{noun}s")
    return count_text(seconds, "seconds")


def moment(milliseconds: int | None) -> datetime.datetime | None:
    """Convert a stored time, milliseconds since 1970, to a datetime in UTC."""
    return None if milliseconds is None else datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)


def width_of(text: str) -> int:
    """Return number of terminal columns of a text."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def wrapped(text: str, width: int | None) -> str:
    """Wrap a text between words to lines of at most ``width`` columns; None for no wrapping."""
    return text if width is None else "\n".join(_lines(text, width))


def fields_text(fields: Mapping[str, str], *, width: int | None = None) -> str:
    """Format names and values, one per line."""
    names = max(map(width_of, fields), default=0)
    lines: list[str] = []
    for name, value in fields.items():
        label = name + " " * (names - width_of(name)) + _GAP
        parts = _lines(value, None if width is None else max(_LEAST_VALUE_WIDTH, width - len(label)))
        lines.append((label + next(parts)).rstrip())
        lines += [" " * width_of(label) + part for part in parts]
    return "\n".join(lines)


def table_text(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = (), width: int | None = None
) -> str:
    """Format rows below a header, or as records if a row does not fit into ``width`` columns.

    Args:
        columns: column names.
        rows: cells as text, in the order of the columns.
        right: names of right-aligned columns.
        width: width of the screen in columns; None for no limit.
    """
    body = list(rows)
    widths = [max(map(width_of, (name, *cells))) for name, *cells in zip(columns, *body, strict=True)]
    if width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        return "\n\n".join(fields_text(dict(zip(columns, row, strict=True)), width=width) for row in body)
    numeric = set(right)

    def line(cells: Sequence[str]) -> str:
        padded = [
            " " * (size - width_of(cell)) + cell if name in numeric else cell + " " * (size - width_of(cell))
            for name, cell, size in zip(columns, cells, widths, strict=True)
        ]
        return _GAP.join(padded).rstrip()

    return "\n".join([line(columns), _GAP.join("-" * size for size in widths), *map(line, body)])


def fields_html(title: str, fields: Mapping[str, str]) -> str:
    """Format names and values as an HTML table."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left;white-space:pre-wrap">{escape(value)}</td></tr>'
        for name, value in fields.items()
    )
    return f'<table><caption style="text-align:left">{escape(title)}</caption>{rows}</table>'


def table_html(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as an HTML table."""
    head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<table><caption style="text-align:left">{escape(title)}</caption><tr>{head}</tr>{body}</table>'


class Displayed:
    """Base of results: one line for ``repr``, the fields for ``print``, a table in notebooks."""

    def summary(self) -> str:
        """Return what the object says, in one line without its name."""
        raise NotImplementedError

    def details(self) -> dict[str, str]:
        """Return the fields to display as texts, by name, without counts of zero."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def __str__(self) -> str:
        return fields_text(self.details())

    def _repr_html_(self) -> str:
        return fields_html(type(self).__name__, self.details())


class Listing(list[T], Generic[T]):
    """A list of results, displayed as a table."""

    def __repr__(self) -> str:
        columns, rows = self._table()
        return table_text(columns, rows) if rows else "[]"

    def _repr_html_(self) -> str:
        columns, rows = self._table()
        return table_html(count_text(len(self), "entries" if len(self) != 1 else "entry"), columns, rows)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        details = [entry.details() for entry in self if isinstance(entry, Displayed)]
        columns = list(dict.fromkeys(name for fields in details for name in fields))
        return columns, [[fields.get(name, "") for name in columns] for fields in details]


def _lines(text: str, width: int | None) -> Iterator[str]:
    for paragraph in text.split("\n"):
        if width is None or width_of(paragraph) <= width:
            yield paragraph
        else:
            yield from textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False) or [""]
