"""Changes of a table as a stream takes them, and as parts that tasks read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from andes_spark.law.keys.ranges import KeyRange
from andes_spark.log.readable import check_readable
from andes_spark.model.read_options import ChangesOptions, StreamOptions
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.history.changes import compare
from andes_spark.table.history.comparison import Comparison
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import resolved


@dataclass(frozen=True)
class ComparedRange:
    """Changes of the keys of a range; sent to tasks."""

    comparison: Comparison
    bounds: KeyRange | None

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Yield the changes."""
        for batch in self.comparison.batches([self.bounds]):
            # Slices of nested values with NULLs cannot be sent to the JVM.
            yield from pa.Table.from_batches([batch]).combine_chunks().to_batches()


def compared_ranges(comparison: Comparison) -> list[ComparedRange]:
    """Split a comparison into parts that tasks read."""
    return [ComparedRange(comparison, bounds) for bounds in comparison.ranges()]


@dataclass
class TableFeed:
    """Changes of the table in a folder; sent to the process that plans the stream, which opens the table.

    Attributes:
        storage: the table's folder.
        settings: settings of the process.
        from_version: version to begin with.
        max_versions: number of versions of one micro-batch at most; None for no limit.
        columns: columns to return.
        before_images: whether to return updated rows as they were, too.
    """

    storage: Storage
    settings: Settings
    from_version: int
    max_versions: int | None
    columns: tuple[str, ...]
    before_images: bool
    _opened: list[OpenTable] = field(default_factory=list)

    def newest(self) -> int:
        """Newest version of the table."""
        return self._table().log.refresh()

    def parts(self, earlier: int, later: int) -> Sequence[ComparedRange]:
        """Parts of the changes between two versions; none if they are the same."""
        if earlier == later:
            return []
        options = ChangesOptions.checked(
            from_version=earlier, to_version=later, columns=self.columns, before_images=self.before_images
        )
        return compared_ranges(compare(self._table(), options))

    def _table(self) -> OpenTable:
        if not self._opened:
            self._opened.append(OpenTable.open(self.storage, self.settings, spark=None, progress=None))
        return self._opened[0]


def table_feed(open_table: OpenTable, options: StreamOptions, *, zone: str | None) -> TableFeed:
    """Make the feed of a stream.

    Args:
        open_table: the table.
        options: where it begins, and what it returns.
        zone: zone of a timestamp without one; None to refuse it.

    Raises:
        OptionError: a column does not exist.
        NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
    """
    open_table.log.refresh()
    version = chosen_version(open_table, options.start, zone=zone)
    assert version is not None
    check_readable(open_table.log, version)
    columns = resolved(open_table.shape(), options.columns)
    return TableFeed(
        open_table.storage, open_table.settings, version, options.max_versions, columns, options.before_images
    )
