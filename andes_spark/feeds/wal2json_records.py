"""Transactions of a wal2json feed: framing, order and repetition.

Handles records and log positions only; ``wal2json_mods`` converts changes to mods.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

from andes_spark.errors import DamagedError, OptionError, UnsupportedTableError
from andes_spark.model.options import is_text

INSERT, UPDATE, DELETE, TRUNCATE = "I", "U", "D", "T"


class Change(NamedTuple):
    """A change record and its position.

    Attributes:
        lsn: commit position of the transaction.
        ordinal: position among all changes of the transaction, from 0.
        line: line number in the feed, from 1.
        record: the parsed document; numbers are strings.
    """

    lsn: int
    ordinal: int
    line: int
    record: dict[str, Any]


class Mod(NamedTuple):
    """One mod of a change: printed values by column; ``columns`` lists the columns of a partial mod.

    It does not reference the record, which is several times as large.
    """

    op: str
    lsn: int
    ordinal: int
    line: int
    values: dict[str, Any]
    columns: list[str] | None


class Transactions:
    """Reader of the records of a feed that yields the mods of each committed transaction.

    Args:
        table: schema and name of the source table.
        to_mods: function that converts a change of that table to mods.
        leave: whether an incomplete last transaction or line is left for the next read.
    """

    def __init__(self, table: tuple[str, str], to_mods: Callable[[Change], Iterable[Mod]], *, leave: bool) -> None:
        self._table = table
        self._to_mods = to_mods
        self._leave = leave
        self._committed = array("q")  # ascending
        self._open: int | None = None  # commit position of the transaction being read
        self._ordinal = 0
        self._mods: list[Mod] = []
        self._line = 0

    def read(self, lines: Iterable[str | bytes]) -> Iterator[list[Mod]]:
        """Yield the mods of each transaction with mods."""
        torn: DamagedError | None = None
        for line in lines:
            if torn is not None:
                raise torn
            self._line += 1
            try:
                record = parse(line, self._line)
            except DamagedError as error:
                if not self._leave:
                    raise
                torn = error  # allowed for the last line
                continue
            if record is not None and self._take(record) and self._mods:
                yield self._mods
        if self._open is not None and not self._leave:
            raise DamagedError(
                f"the change feed ends inside the transaction that commits at {self._open}: read it again "
                "once it is complete, or leave the transaction for the next read with unfinished='leave'",
                lsn=self._open,
                line=self._line,
            )

    def _take(self, record: dict[str, Any]) -> bool:
        """Process one record; return whether it ended a transaction with mods."""
        action = record["action"]
        if action == "B":
            self._begin(self._position(record))
        elif action == "C":
            return self._commit(record)
        elif action in (INSERT, UPDATE, DELETE, TRUNCATE):
            self._change(record)
        else:
            prefix = record.get("prefix")
            raise UnsupportedTableError(
                f"line {self._line} of the change feed is a record of kind {action!r}, not a change of rows: "
                f"keep messages out of the feed with -o filter-msg-prefixes={prefix or '<their prefix>'}",
                feature=f"wal2json action {action}",
                line=self._line,
            )
        return False

    def _change(self, record: dict[str, Any]) -> None:
        if self._open is None:
            damaged("a change outside of a transaction: capture with include-transaction=true", self._line)
        if table_of(record, self._line) == self._table:
            try:
                self._mods += self._to_mods(Change(self._open, self._ordinal, self._line, record))
            except OptionError:  # also a ValueError, but about the caller's argument
                raise
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                damaged("a change that is not as wal2json writes it", self._line, error)
        self._ordinal += 1

    def _begin(self, lsn: int) -> None:
        # An interrupted slot sends the transaction again; continuing with a later one would lose changes.
        if self._open is not None and not (self._leave and lsn <= self._open):
            damaged("the begin of a transaction before the one before it has ended", self._line)
        self._open, self._ordinal, self._mods = lsn, 0, []

    def _commit(self, record: dict[str, Any]) -> bool:
        lsn, committed = self._open, self._committed
        if lsn is None or lsn != self._position(record):
            damaged("the end of a transaction that did not begin", self._line)
        self._open = None
        if not committed or lsn > committed[-1]:
            committed.append(lsn)
            return True
        if committed[bisect_left(committed, lsn)] != lsn:
            damaged(
                f"the end of a transaction that commits at {lsn}, behind {committed[-1]}: files are out of "
                "order, or of different servers",
                self._line,
            )
        return False

    def _position(self, record: dict[str, Any]) -> int:
        try:
            high, low = record["lsn"].split("/")
            lsn = (int(high, 16) << 32) | int(low, 16)
            if not 0 <= lsn < 2**63:
                raise ValueError(record["lsn"])
            return lsn
        except (KeyError, AttributeError, ValueError) as error:
            damaged("a transaction without its log position (include-lsn=true)", self._line, error)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers stay text until the conversion of the column, to avoid floats.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_reject_constant)


def parse(line: str | bytes, number: int) -> dict[str, Any] | None:
    """Parse one record; None for an empty line.

    Raises:
        DamagedError: not a record of format-version 2; ``line``.
    """
    try:
        text = line.decode() if isinstance(line, bytes) else line
        if not text.strip():
            return None
        record = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        damaged("not a JSON document", number, error)
    if not isinstance(record, dict) or not isinstance(record.get("action"), str):
        damaged("not a record of wal2json's format-version 2 (capture with format-version=2)", number)
    return record


def table_of(record: dict[str, Any], number: int) -> tuple[str, str]:
    """Return schema and name of the table of a change."""
    try:
        return record["schema"], record["table"]
    except KeyError as error:
        damaged("a change that does not name its table (include-schemas=true)", number, error)


def table_name(table: str | tuple[str, str]) -> tuple[str, str]:
    """Parse the schema and name of a table.

    Raises:
        OptionError: neither ``schema.table`` nor a pair.
    """
    parts: tuple[str, ...] = ()
    if isinstance(table, str | tuple | list):
        parts = tuple(table.split(".")) if isinstance(table, str) else tuple(table)
    if len(parts) != 2 or not all(is_text(part) and part for part in parts):
        raise OptionError(f"table must be 'schema.table', or a pair of names if one of them holds a dot, not {table!r}")
    return parts[0], parts[1]


def damaged(problem: str, line: int, cause: Exception | None = None) -> NoReturn:
    """Raise ``DamagedError`` for a line of the feed."""
    detail = f" ({type(cause).__name__}: {cause})" if cause else ""
    raise DamagedError(f"line {line} of the change feed is {problem}{detail}", line=line) from cause
