"""Changes of a table as a stream takes them, and as parts that tasks read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.errors import SchemaMismatchError
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.log.readable import check_readable
from andes_spark.model.read_options import ChangesOptions, StreamOptions
from andes_spark.schema.schema import Schema
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
        begun: newest version when the stream was made, whose columns it has.
        schema: columns to return.
        before_images: whether to return updated rows as they were, too.
    """

    storage: Storage
    settings: Settings
    from_version: int
    max_versions: int | None
    begun: int
    schema: Schema
    before_images: bool
    _opened: list[OpenTable] = field(default_factory=list)

    def newest(self) -> int:
        """Return the newest version of the table."""
        return self._table().log.refresh()

    def parts(self, earlier: int, later: int) -> Sequence[ComparedRange]:
        """Return the parts of the changes between two versions; none if they are the same.

        Raises:
            SchemaMismatchError: the later version has columns of other types, or lacks some.
        """
        if earlier == later:
            return []
        open_table = self._table()
        if open_table.log.head < max(later, self.begun):
            open_table.log.refresh()
        self._check_columns(open_table.shape_at(max(later, self.begun)), later)
        options = ChangesOptions.checked(
            from_version=earlier, to_version=later, columns=self.schema.names, before_images=self.before_images
        )
        return compared_ranges(compare(open_table, options, columns_of=self.begun))

    def _check_columns(self, shape: TableShape, version: int) -> None:
        for column in self.schema:
            name = column.name
            if name in shape.schema.names and shape.schema.field(name).type == column.type:
                continue
            state = f"is {shape.schema.select([name]).to_ddl()}" if name in shape.schema.names else "is not there"
            began = self.schema.select([name]).to_ddl()
            raise SchemaMismatchError(
                f"{shape.table}: the stream began with the column {began}, which {state} in version {version}; make "
                "the stream anew by read_stream() and start the query again: it goes on from its checkpoint",
                table=shape.table,
                column=name,
            )

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
    begun = open_table.log.refresh()
    version = chosen_version(open_table, options.start, zone=zone)
    assert version is not None
    check_readable(open_table.log, version)
    shape = open_table.shape()
    return TableFeed(
        storage=open_table.storage,
        settings=open_table.settings,
        from_version=version,
        max_versions=options.max_versions,
        begun=begun,
        schema=shape.schema.select(resolved(shape, options.columns)),
        before_images=options.before_images,
    )
