"""The verbs of ``ModTable`` that return what changed between versions."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from andes_spark.model.read_options import ChangesOptions, StreamOptions
from andes_spark.table.about import about
from andes_spark.table.history.changes import changes, compare
from andes_spark.table.history.feed import compared_ranges, table_feed
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable
from andes_spark.table.sessions import session_zone

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Moment = datetime.date | str
"""A point in time: a datetime, a date, or a text of ISO 8601."""


class TableChanges:
    """The verbs that return the changes between versions of a table."""

    def __init__(self, open_table: OpenTable) -> None:
        self._open_table = open_table

    @property
    def url(self) -> str:
        """The URL or path of the table's folder."""
        return self._open_table.table

    def changes(
        self,
        from_version: int | None = None,
        to_version: int | None = None,
        *,
        from_timestamp: Moment | None = None,
        to_timestamp: Moment | None = None,
        from_tag: str | None = None,
        to_tag: str | None = None,
        columns: str | Sequence[str] | None = None,
        before_images: bool = False,
    ) -> pa.RecordBatchReader:
        """Return the rows by which two versions differ, as a stream of Arrow record batches. Runs no Spark job.

        These are net changes: what was changed and changed back is not shown, nor are mods without effect, such as late
        ones. Restores, truncates and versions set aside are shown by the rows that they change. Both versions are
        pinned at the call, and files are read during the iteration, within the byte budget: rows of the keys that mods
        between the two versions name, or all rows where mods do not tell the keys, as after a truncate.

        Args:
            from_version: version to begin with, whose own changes are not shown; 0 is the table as it was created.
            to_version: last version whose changes are shown; by default the newest.
            from_timestamp: begin with the newest version of this time or before it; as for ``to_arrow``.
            to_timestamp: end with the newest version of this time or before it.
            from_tag: begin with the version that this tag stands for now.
            to_tag: end with the version that this tag stands for now.
            columns: names of columns to return; by default all. A row is shown whichever of its columns changed.
            before_images: return updated rows as they were, too.

        Returns:
            The table's columns as of ``to_version``, then ``_change_type`` (``insert``, ``update_postimage``,
            ``delete``, and ``update_preimage`` if asked for), and ``_commit_version`` and ``_commit_timestamp`` (UTC)
            of ``to_version``. At most one change of each key, in the order of the keys; a row as it was directly
            before the row as it is.

        Raises:
            OptionError: no version to begin with, one above the last, or options as in ``to_arrow``.
            NoSuchVersionError, VersionExpiredError: a version does not exist, or is not kept any more.
        """
        options = ChangesOptions.checked(
            from_version=from_version,
            to_version=to_version,
            from_timestamp=from_timestamp,
            to_timestamp=to_timestamp,
            from_tag=from_tag,
            to_tag=to_tag,
            columns=columns,
            before_images=before_images,
        )
        with about(self.url):
            return changes(self._open_table, options)

    def read_changes(
        self,
        from_version: int | None = None,
        to_version: int | None = None,
        *,
        from_timestamp: Moment | None = None,
        to_timestamp: Moment | None = None,
        from_tag: str | None = None,
        to_tag: str | None = None,
        columns: str | Sequence[str] | None = None,
        before_images: bool = False,
    ) -> DataFrame:
        """Return the rows by which two versions differ as a Spark DataFrame, in no order; otherwise as ``changes``.

        Both versions are pinned at the call. Runs no Spark job; tasks find the changes when the DataFrame is evaluated,
        each those of a range of keys. Times without a zone are those of the session's zone.

        Raises:
            OptionError, NoSuchVersionError, VersionExpiredError: as ``changes``.
            MissingPackageError: pyspark is not installed.
        """
        from andes_spark.spark.changes import change_frame

        open_table = self._open_table
        options = ChangesOptions.checked(
            from_version=from_version,
            to_version=to_version,
            from_timestamp=from_timestamp,
            to_timestamp=to_timestamp,
            from_tag=from_tag,
            to_tag=to_tag,
            columns=columns,
            before_images=before_images,
        )

        def frame() -> DataFrame:
            executor = open_table.spark_executor()
            timed = options.from_timestamp is not None or options.to_timestamp is not None
            zone = session_zone(executor.spark) if timed else None
            comparison = compare(open_table, options, zone=zone)
            open_table.begin("changes", comparison.later)
            schema = comparison.after.shape.schema.select(comparison.names)
            return change_frame(executor, compared_ranges(comparison), schema)

        with about(self.url):
            return observe(open_table, "changes", frame)

    def read_stream(
        self,
        from_version: int | None = None,
        *,
        from_timestamp: Moment | None = None,
        from_tag: str | None = None,
        columns: str | Sequence[str] | None = None,
        before_images: bool = False,
        max_versions: int | None = None,
    ) -> DataFrame:
        """Return the changes after a version as a streaming DataFrame, for ``writeStream``. Needs Spark 4.0 or newer.

        Each micro-batch holds the net changes of the versions since the one before, as ``changes`` gives them. The
        checkpoint of the query keeps which versions those are: a query that is started again goes on from there, with
        the same rows in a micro-batch that is run again, whatever ``from_version`` says then. Runs no Spark job itself.

        Args:
            from_version: version to begin with, whose own changes are not part of the stream.
            from_timestamp: begin with the newest version of this time or before it.
            from_tag: begin with the version that this tag stands for now.
            columns: names of columns to return; by default all that the table has now.
            before_images: return updated rows as they were, too.
            max_versions: number of versions of one micro-batch at most, from Spark 4.2 on; by default all that there
                are. Fewer versions are more and smaller micro-batches.

        Raises:
            OptionError: as ``changes``; or Spark is too old.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
            MissingPackageError: pyspark is not installed.
        """
        from andes_spark.spark.changes import change_stream

        open_table = self._open_table
        options = StreamOptions.checked(
            from_version=from_version,
            from_timestamp=from_timestamp,
            from_tag=from_tag,
            columns=columns,
            before_images=before_images,
            max_versions=max_versions,
        )

        def frame() -> DataFrame:
            spark = open_table.spark_executor().spark
            zone = None if options.from_timestamp is None else session_zone(spark)
            feed = table_feed(open_table, options, zone=zone)
            return change_stream(spark, feed, feed.schema)

        with about(self.url):
            return observe(open_table, "read stream", frame)
