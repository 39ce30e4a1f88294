"""Columns of the table as which the columns of a file are read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from andes_spark.schema.casts import to_timestamps
from andes_spark.schema.spelling import known_field

_LOCAL = pa.timestamp("us")
_ZONED = r"[T ].*(?:Z|[+-]\d\d(?::?\d\d)?)$"


@dataclass(frozen=True)
class Columns:
    """How the columns of input files are read.

    Attributes:
        known: types of the columns of the table; other columns of a file get the type that Arrow infers.
        text: names of the columns that may be read as text, for a later cast.
        time_zone: zone of times without a zone; None to refuse them in columns of times with a zone.
    """

    known: pa.Schema
    text: Collection[str] = ()
    time_zone: str | None = None

    def named(self, name: str) -> pa.Field | None:
        """Return the column of the table that a column of a file is; None if the table lacks it."""
        return known_field(name, self.known)

    def may_be_text(self, field: pa.Field) -> bool:
        """Return whether a column is left as text for a cast."""
        return field.name in self.text and has_text(field.type)

    def takes_local_times(self, field: pa.Field) -> bool:
        """Return whether a column of times with a zone takes times without one before any cast."""
        return self.time_zone is not None and field.name not in self.text and is_zoned(field.type)

    def times(self, texts: pa.Array) -> pa.Array:
        """Convert texts, with and without a zone, to times; see :meth:`in_zone`.

        Raises:
            pa.ArrowInvalid, ValueError: a text is no time, or not one of the zone.
        """
        zoned, null = pc.match_substring_regex(texts, _ZONED), pa.scalar(None, texts.type)
        local = pc.if_else(zoned, null, texts).cast(_LOCAL)
        return self.in_zone(local, pc.if_else(zoned, texts, null).cast(pa.timestamp("us", "UTC")))

    def in_zone(self, local: pa.Array, zoned: pa.Array) -> pa.Array:
        """Join times without a zone and times with one, of which each row has at most one.

        If all lack a zone, they are left so, for the conversion of the whole batch.

        Raises:
            ValueError: a change of clocks of the zone skips or repeats a time.
        """
        if zoned.null_count == len(zoned):
            return local
        moved, failed = to_timestamps(local, self.time_zone or "UTC")
        if failed.any():
            first = local[int(failed.argmax())]
            raise ValueError(f"{str(first)!r} is skipped or repeated by a change of clocks of {self.time_zone}")
        return pc.coalesce(zoned, moved)


def has_text(kind: pa.DataType) -> bool:
    """Return whether values of a type can be cast from text."""
    return not (pat.is_nested(kind) or pat.is_binary(kind))


def is_zoned(kind: pa.DataType) -> bool:
    """Return whether a type is one of times with a zone."""
    return bool(pat.is_timestamp(kind)) and kind.tz is not None
