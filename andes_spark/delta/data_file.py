"""One live file of a Delta table, from its ``add`` action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from andes_spark.delta import statistics
from andes_spark.delta.action_columns import ActionRow
from andes_spark.delta.paths import decode_path
from andes_spark.delta.ranges import UNKNOWN, read_statistics
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import LogDamagedError

FOOTER_TAG = "andes.footer"
"""Tag of an ``add`` of this library: the file's footer mark, see ``storage.parquet``."""
ARROW_TAG = "andes.arrow_bytes"
"""Tag of an ``add`` of this library: size of the file's rows in Arrow's memory format."""
KEYS_TAG = "andes.keys"
"""Tag of an ``add`` of this library: least and greatest key of the file, as JSON."""
EXPANSION = 4
"""Estimated Arrow bytes per byte of a Parquet file."""
_SENT = ("stats", "tags")
"""Members of the action that tasks read."""


class DataFile:
    """A live file of the table. Immutable; two are equal if path, partition values, size and vector are.

    Args:
        path: as in the log, URL-encoded.
        partition_values: text by partition column, None for null.
        size: number of bytes.
        add: the raw action, or its row in columns.
        vector: deleted rows, None if there are none.
        num_records: number of rows in the file, ``ranges.UNKNOWN`` if statistics lack it; None: they are read when it
            is needed.
    """

    __slots__ = ("_add", "_records", "location", "partition_values", "path", "size", "vector")

    def __init__(
        self,
        path: str,
        partition_values: Mapping[str, str | None],
        size: int,
        add: Mapping[str, Any] | ActionRow,
        vector: VectorDescriptor | None,
        num_records: int | None = None,
    ) -> None:
        self.path = path
        self.location = decode_path(path)
        self.partition_values = partition_values
        self.size = size
        self.vector = vector
        self._records = num_records
        self._add = add

    def __repr__(self) -> str:
        return f"DataFile({self.path!r}, {self.partition_values!r}, {self.size}, vector={self.vector!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataFile) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def _identity(self) -> tuple[Any, ...]:
        return self.path, dict(self.partition_values), self.size, self.vector

    def __reduce__(self) -> tuple[Any, ...]:
        # Tasks read a file; they do not write its action again.
        members = {name: self._member(name) for name in _SENT}
        add = {name: value for name, value in members.items() if value is not None}
        return DataFile, (self.path, dict(self.partition_values), self.size, add, self.vector, self._records)

    @property
    def add(self) -> Mapping[str, Any]:
        """The raw action, written again unchanged; read-only. In a task, statistics and tags only."""
        return self._add.action() if isinstance(self._add, ActionRow) else self._add

    def _member(self, name: str) -> Any:
        return self._add.member(name) if isinstance(self._add, ActionRow) else self._add.get(name)

    @property
    def num_records(self) -> int | None:
        """Number of rows in the file, deleted ones included; None if unknown."""
        if self._records is None:
            [self._records], _ = read_statistics([self.stats_text], {})
        return None if self._records == UNKNOWN else int(self._records)

    @property
    def stats_text(self) -> str | None:
        """Statistics as JSON; None if there are none."""
        text = self._member("stats")
        return text if isinstance(text, str) else None

    @property
    def stats(self) -> dict[str, Any]:
        """Statistics with exact numbers (``Decimal`` for fractions), parsed anew; empty if there are none."""
        return statistics.parse(self.stats_text)

    def tag(self, name: str) -> str | None:
        """Return a tag of the file; None if it lacks the tag."""
        text: str | None = (self._member("tags") or {}).get(name)
        return text

    @property
    def footer(self) -> str | None:
        """The file's footer mark; None for a file of another writer."""
        return self.tag(FOOTER_TAG)

    @property
    def arrow_bytes(self) -> int:
        """Size of the rows in Arrow's memory format; estimated from the size of a file of another writer."""
        tag = self.tag(ARROW_TAG) or ""
        return int(tag) if tag.isascii() and tag.isdigit() else self.size * EXPANSION

    @property
    def live_records(self) -> int | None:
        """Number of rows that are not deleted; None if unknown."""
        rows = self.num_records
        return rows if rows is None or self.vector is None else rows - self.vector.cardinality

    @classmethod
    def from_add(cls, add: Mapping[str, Any]) -> DataFile:
        """Read an ``add`` action.

        Raises:
            LogDamagedError: a member is missing or malformed; ``path``.
            UnsupportedTableError: a deletion vector of an unsupported kind; ``feature``.
        """
        try:
            vector = add.get("deletionVector")
            return cls(
                add["path"],
                add.get("partitionValues") or {},
                int(add["size"]),
                add,
                None if vector is None else VectorDescriptor.from_json(vector),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LogDamagedError(
                f"an add action that cannot be read: {str(add)[:200]}", path=add.get("path")
            ) from error
