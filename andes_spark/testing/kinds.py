"""Kinds of keys and sequences for the interleaving tests."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

UTC = datetime.UTC


@dataclass(frozen=True)
class Kind:
    """A kind of key or sequence: columns with their types, and their possible values in ascending order."""

    columns: tuple[tuple[str, pa.DataType], ...]
    values: tuple[tuple[Any, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.columns)


def _day(number: int) -> datetime.date:
    return datetime.date(1969, 12, 30) + datetime.timedelta(days=number)


def _moment(number: int) -> datetime.datetime:
    return datetime.datetime(1999, 12, 31, 23, 59, 59, 999_998, UTC) + datetime.timedelta(microseconds=number)


DECIMAL = pa.decimal128(12, 3)
KEYS = {
    "int": Kind((("id", pa.int64()),), tuple((n,) for n in (-3, 0, 1, 2, 5))),
    "string": Kind((("id", pa.string()),), tuple((s,) for s in ("", "a", "a b%/'\"`", "é", "z" * 40))),
    "composite": Kind(
        (("region", pa.string()), ("id", pa.int32())), (("eu", 1), ("eu", 2), ("us", 1), ("us", 2), ("", 1))
    ),
    "decimal": Kind((("id", DECIMAL),), tuple((Decimal(n).scaleb(-3),) for n in (-1500, -1, 0, 10, 2000))),
    "date": Kind((("id", pa.date32()),), tuple((_day(n),) for n in range(5))),
    "timestamp": Kind((("id", pa.timestamp("us", "UTC")),), tuple((_moment(n),) for n in range(5))),
    "binary": Kind((("id", pa.binary()),), tuple((b,) for b in (b"", b"\x00", b"\x00\x01", b"\xff", b"\xff\x00"))),
}
SEQUENCES = {
    "none": Kind((), ((),)),
    "int": Kind((("lsn", pa.int64()),), tuple((n,) for n in range(-2, 7))),
    "two": Kind((("lsn", pa.int64()), ("ordinal", pa.int32())), tuple((a, b) for a in (1, 2, 3) for b in (-1, 0, 1))),
    "timestamp": Kind((("at", pa.timestamp("us", "UTC")),), tuple((_moment(n),) for n in range(8))),
    "decimal": Kind((("lsn", DECIMAL),), tuple((Decimal(n).scaleb(-3),) for n in range(-3, 6))),
    "string": Kind((("lsn", pa.string()),), tuple((f"{'9' * 30}{n}",) for n in range(8))),
}
