"""Reader of a stream of changes: a data source in Python, whose offsets are versions of the table.

The checkpoint of the query keeps the versions of each micro-batch before it runs. The changes between two versions are
always the same rows, so that a micro-batch that runs again is the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pyspark.sql.datasource import DataSourceStreamReader, InputPartition

if TYPE_CHECKING:
    import pyarrow as pa

Part = Callable[[], "Iterable[pa.RecordBatch]"]
"""Rows of a part of the changes; sent to tasks."""
_VERSION = "version"

try:
    from pyspark.sql.streaming.datasource import SupportsTriggerAvailableNow as _AvailableNow
except ImportError:  # before Spark 4.2, which ends such a query at the first version that it finds
    _AvailableNow = object  # type: ignore[assignment, misc]


class Feed(Protocol):
    """Changes of a table, as a stream takes them; sent to the process that plans the stream.

    Attributes:
        from_version: version to begin with.
        max_versions: number of versions of one micro-batch at most; None for no limit.
    """

    from_version: int
    max_versions: int | None

    def newest(self) -> int:
        """Return the newest version of the table."""

    def parts(self, earlier: int, later: int) -> Sequence[Part]:
        """Return the parts of the changes between two versions."""


class ChangeReader(DataSourceStreamReader, _AvailableNow):
    """Reader of the changes of a table."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._last: int | None = None

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """Return the version to begin with."""
        return {_VERSION: self._feed.from_version}

    def getDefaultReadLimit(self) -> Any:  # noqa: N802
        """Limit of a micro-batch. Spark has no limit of versions, and passes on one of files as it is."""
        from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadMaxFiles

        versions = self._feed.max_versions
        return ReadAllAvailable() if versions is None else ReadMaxFiles(versions)

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        """Fix the version at which the query ends."""
        self._last = self._feed.newest()

    def latestOffset(self, start: Any = None, limit: Any = None) -> dict[str, int]:  # noqa: N802
        """Return the version at which the next micro-batch ends; Spark before 4.2 passes no arguments."""
        newest = self._feed.newest() if self._last is None else self._last
        versions = getattr(limit, "max_files", None)
        if start is None:
            return {_VERSION: newest}
        # An offset of a checkpoint may be above the version that was found first.
        newest = max(newest, start[_VERSION])
        return {_VERSION: newest if versions is None else min(newest, start[_VERSION] + versions)}

    def reportLatestOffset(self) -> dict[str, int]:  # noqa: N802
        """Return the newest version, for the progress of the query."""
        return {_VERSION: self._feed.newest()}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        """Return the parts of the changes between two versions."""
        return [InputPartition(part) for part in self._feed.parts(start[_VERSION], end[_VERSION])]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a part."""
        yield from partition.value()
