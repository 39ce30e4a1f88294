"""Reading single pages of files: of the columns and rows that are needed, no others; see ``paged_file``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from andes_spark.storage.miniature import Miniature, page_values
from andes_spark.storage.paged_file import Ints, PagedFile, Pages, Rows
from andes_spark.storage.ranges import Range
from andes_spark.storage.scheduler import Scheduler


@dataclass(frozen=True)
class _Cover:
    """Pages of one column that hold some rows of a file.

    Attributes:
        groups: leaves of the column in each row group, with the numbers of the pages.
        first, last: rows that the pages have, as ranges in the file.
    """

    groups: tuple[tuple[tuple[Pages, Ints], ...], ...]
    first: Ints
    last: Ints

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int((self.last - self.first).sum())

    def ranges(self) -> Iterator[Range]:
        """Ranges of bytes."""
        for group in self.groups:
            for leaf, numbers in group:
                if leaf.chunk.dictionary_bytes:
                    yield leaf.chunk.pages.offset, leaf.chunk.pages.offset + leaf.chunk.dictionary_bytes
                yield from zip(leaf.edges[numbers].tolist(), leaf.edges[numbers + 1].tolist(), strict=True)


RequestedRows: TypeAlias = Sequence[tuple[PagedFile, Rows]]
"""Open files, each with rows."""


def load_rows(requested: RequestedRows, columns: Sequence[str], scheduler: Scheduler) -> None:
    """Read the pages of rows into memory, of all files side by side.

    Raises:
        NotFoundError, pa.ArrowInvalid: as ``PagedFile.open``.
    """
    _together(scheduler, [(file, file.missing_index(columns)) for file, _ in requested])
    for file, _ in requested:
        file.take_index(columns)
    _together(scheduler, [(file, _ranges_of(file, rows, columns)) for file, rows in requested])


def read_rows(requested: RequestedRows, columns: Sequence[str]) -> Iterator[tuple[str, list[pa.ChunkedArray | None]]]:
    """Decode columns of rows that :func:`load_rows` has read.

    Yields:
        Each column with its values in each file, None for files without it.

    Raises:
        pa.ArrowInvalid, OSError: a page is damaged.
    """
    for names, covers in _alike(requested, columns):
        tables = _decode(requested, names, covers)
        for name in names:
            yield name, [None if table is None else table[name] for table in tables]


def count_pages(file: PagedFile, column: str, rows: Rows) -> tuple[int, int]:
    """Return the number of pages of a marked column that hold rows, and of all its pages."""
    cover = _cover(file, column, rows)
    needed = 0 if cover is None else sum(len(numbers) for group in cover.groups for _, numbers in group)
    groups = range(len(file.index.group_rows) - 1)
    return needed, sum(len(file.index.pages[group, (column,)].rows) - 1 for group in groups)


def byte_count(file: PagedFile, columns: Sequence[str], rows: Rows) -> int:
    """Return the bytes of the pages of marked columns that hold rows."""
    return sum(end - start for start, end in _ranges_of(file, rows, columns))


def _together(scheduler: Scheduler, loads: Sequence[tuple[PagedFile, list[Range]]]) -> None:
    answers = [scheduler.ask(file.load, ranges) for file, ranges in loads if ranges]
    for answer in answers:
        answer.result()


def _ranges_of(file: PagedFile, rows: Rows, columns: Sequence[str]) -> list[Range]:
    covers = (_cover(file, name, rows) for name in columns)
    return [part for cover in covers if cover is not None for part in cover.ranges()]


def _cover(file: PagedFile, name: str, rows: Rows) -> _Cover | None:
    """Pages of a column with the rows; None if the file lacks the column. Found once for the same rows."""
    known = file.covers.get(name)
    if known is None or known[0] is not rows:
        known = file.covers[name] = (rows, _find_cover(file, name, rows))
    cover: _Cover | None = known[1]
    return cover


def _find_cover(file: PagedFile, name: str, rows: Rows) -> _Cover | None:
    if name not in file.index.chunks:
        return None
    groups: list[tuple[tuple[Pages, Ints], ...]] = []
    first: list[Ints] = [np.zeros(0, np.int64)]
    last: list[Ints] = [np.zeros(0, np.int64)]
    for group, (low, high) in enumerate(itertools.pairwise(file.index.group_rows.tolist())):
        a, b = np.searchsorted(rows[1], low, side="right"), np.searchsorted(rows[0], high, side="left")
        if a >= b:
            continue
        leaves = file.column(name, group)
        edges = leaves[0].rows
        begin = np.searchsorted(edges, np.maximum(rows[0][a:b] - low, 0), side="right") - 1
        end = np.searchsorted(edges, np.minimum(rows[1][a:b], high) - low, side="left")
        open_ranges = np.bincount(begin, minlength=len(edges)) - np.bincount(end, minlength=len(edges))
        numbers = np.flatnonzero(np.cumsum(open_ranges) > 0)
        groups.append(tuple((leaf, numbers) for leaf in leaves))
        first.append(edges[numbers] + low)
        last.append(edges[numbers + 1] + low)
    return _Cover(tuple(groups), np.concatenate(first), np.concatenate(last))


def _alike(requested: RequestedRows, columns: Sequence[str]) -> Iterator[tuple[list[str], list[_Cover | None]]]:
    """Columns in sets whose pages hold the same rows of each file, with these pages."""
    sets: dict[tuple[bytes | None, ...], list[tuple[str, list[_Cover | None]]]] = {}
    for name in columns:
        covers = [_cover(file, name, rows) for file, rows in requested]
        key = tuple(None if cover is None else cover.first.tobytes() + cover.last.tobytes() for cover in covers)
        sets.setdefault(key, []).append((name, covers))
    for members in sets.values():
        # Pages of the leaves of each column, in one cover with all of them.
        covers = [
            None if parts[0] is None else _joined([part for part in parts if part is not None])
            for parts in zip(*(covers for _, covers in members), strict=True)
        ]
        yield [name for name, _ in members], covers


def _joined(covers: Sequence[_Cover]) -> _Cover:
    by_group = zip(*(cover.groups for cover in covers), strict=True)
    groups = tuple(tuple(leaf for leaves in group for leaf in leaves) for group in by_group)
    return _Cover(groups, covers[0].first, covers[0].last)


def _decode(requested: RequestedRows, names: Sequence[str], covers: Sequence[_Cover | None]) -> list[pa.Table | None]:
    """Decode columns with the same pages; only the requested rows of each file."""
    sets: dict[tuple[tuple[bytes, ...], ...], list[int]] = {}
    for number, ((file, _), cover) in enumerate(zip(requested, covers, strict=True)):
        if cover is not None:
            elements = tuple(file.index.footer.columns[name] for name in names)
            sets.setdefault(elements, []).append(number)
    tables: list[pa.Table | None] = [None] * len(requested)
    for elements, numbers in sets.items():
        miniature = Miniature(elements)
        for number in numbers:
            cover = covers[number]
            assert cover is not None
            _add(miniature, requested[number][0], cover)
        table, at = miniature.read(), 0
        for number in numbers:
            cover = covers[number]
            assert cover is not None
            tables[number] = _cut(table.slice(at, cover.rows), cover, requested[number][1])
            at += cover.rows
    return tables


def _add(miniature: Miniature, file: PagedFile, cover: _Cover) -> None:
    for group in cover.groups:
        rows = 0
        for leaf, numbers in group:
            pages, counts = leaf.chunk.pages, np.diff(leaf.rows)[numbers]
            rows = int(counts.sum())
            views = list(itertools.starmap(file.view, zip(leaf.edges[numbers], leaf.edges[numbers + 1], strict=True)))
            dictionary = file.view(pages.offset, pages.offset + leaf.chunk.dictionary_bytes)
            miniature.add_chunk(leaf.chunk, dictionary, views, _values(leaf, views, counts))
        miniature.end_group(rows)


def _values(leaf: Pages, views: Sequence[memoryview], counts: Ints) -> int:
    """Number of values of pages.

    Raises:
        pa.ArrowInvalid: headers of pages contradict the page index.
    """
    nested = len(leaf.chunk.path) > 1
    if len(views) == len(leaf.rows) - 1:
        return leaf.chunk.values
    if leaf.verified and not nested:
        return int(counts.sum())
    try:
        values = [page_values(view) for view in views]
    except (ValueError, KeyError, TypeError) as error:
        raise pa.ArrowInvalid(f"the header of a page of {leaf.chunk.path[0]!r} cannot be read: {error}") from error
    if not nested and values != counts.tolist():
        raise pa.ArrowInvalid(f"pages of {leaf.chunk.path[0]!r} have other rows than their index says")
    return sum(values)


def _cut(table: pa.Table, cover: _Cover, rows: Rows) -> pa.Table:
    """Select the requested rows among the rows of pages."""
    if cover.rows == int((rows[1] - rows[0]).sum()):
        return table
    shift = np.cumsum(cover.last - cover.first) - cover.last
    lengths = rows[1] - rows[0]
    requested = np.repeat(rows[0] - np.r_[0, np.cumsum(lengths)[:-1]], lengths) + np.arange(int(lengths.sum()))
    return table.take(pa.array(requested + shift[np.searchsorted(cover.first, requested, side="right") - 1]))
