"""The verbs of ``ModTable`` that return rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.delta.hinted import check_chain
from andes_spark.model.options import NAME, require
from andes_spark.model.read_options import GetOptions, ModsOptions, ReadOptions, SnapshotOptions
from andes_spark.table.about import about
from andes_spark.table.change_reads import Moment, TableChanges
from andes_spark.table.frames import pandas_frame, polars_frame
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.observed import naming_gone, observe
from andes_spark.table.sessions import session_zone
from andes_spark.table.verbs import reports
from andes_spark.table.verbs.get import get_rows
from andes_spark.table.verbs.raw_log import mods
from andes_spark.table.verbs.read import pin, scan

if TYPE_CHECKING:
    import pandas
    import polars as pl
    from pyspark.sql import DataFrame


class TableReads(TableChanges):
    """The verbs that read a table: they return rows of a version as DataFrames and Arrow tables, and the raw log."""

    def read(self, *, version: int | None = None, timestamp: Moment | None = None, tag: str | None = None) -> DataFrame:
        """Return the rows of a version as a Spark DataFrame, pinned at the call.

        Without pending mods it is the DataFrame of the base. Runs no Spark job while pending mods fit the byte budget.

        Args:
            version: version of the log; by default the newest.
            timestamp: point in time, for the newest version that was committed then or before: a datetime, a date, or
                a text of ISO 8601 such as ``"2026-11-01T00:00:00Z"``; without a zone, in the zone of the session.
            tag: name of a tag, for the version that it stands for now.

        Raises:
            OptionError: several of these are given, an unknown tag, or a timestamp after the newest version.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
            MissingPackageError: pyspark is not installed.
        """
        from andes_spark.spark.reads import read_snapshot

        open_table = self._open_table
        options = SnapshotOptions.checked(version=version, timestamp=timestamp, tag=tag)

        def frame() -> DataFrame:
            zone = None if options.timestamp is None else session_zone(open_table.spark_executor().spark)
            snapshot = pin(open_table, chosen_version(open_table, options, zone=zone))
            open_table.pending_reads += not snapshot.merged
            open_table.begin("read", snapshot.version)
            if open_table.is_remote:
                # Spark replays the Delta log, of which this handle has the state in memory.
                check_chain(open_table.storage, snapshot.base.version, open_table.base.checkpoint)
            return read_snapshot(open_table.spark_executor(), snapshot, open_table.storage, open_table.settings)

        with about(self.url):
            return observe(open_table, "read", frame)

    def create_view(
        self, name: str, *, version: int | None = None, timestamp: Moment | None = None, tag: str | None = None
    ) -> None:
        """Register the DataFrame of ``read`` as a temporary view of the Spark session, pinned at the call.

        Errors and Spark jobs are those of ``read``.

        Args:
            name: any name; SQL requires backticks around names that are no identifiers.
            version: as for ``read``.
            timestamp: as for ``read``.
            tag: as for ``read``.

        Raises:
            OptionError: ``name`` is empty or not text.
        """
        from andes_spark.spark.columns import escaped

        require("name", name, NAME)
        self.read(version=version, timestamp=timestamp, tag=tag).createOrReplaceTempView(escaped(name))

    def to_arrow(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        timestamp: Moment | None = None,
        tag: str | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return the rows of a version as one Arrow table, in no order. Runs no Spark job.

        The whole result is in memory; ``to_batches`` streams it.

        Args:
            columns: names of columns; by default all.
            filter: condition on the rows: a SQL or polars expression. Files without such rows, by the statistics of the
                base, are not read.
            version: version of the log; by default the newest.
            timestamp: point in time, for the newest version that was committed then or before: a datetime, a date, or
                a text of ISO 8601 such as ``"2026-11-01T00:00:00Z"``, always with its zone.
            tag: name of a tag, for the version that it stands for now.
            limit: maximum number of rows; reading stops at that number.

        Returns:
            Table with the table's column types.

        Raises:
            OptionError: unknown columns, a filter that cannot be evaluated, an unknown tag, a timestamp without a zone
                or after the newest version, or several of version, timestamp and tag.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
        """
        batches = self.to_batches(
            columns=columns, filter=filter, version=version, timestamp=timestamp, tag=tag, limit=limit
        )
        return observe(self._open_table, "read", batches.read_all)

    def to_batches(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        timestamp: Moment | None = None,
        tag: str | None = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """Return the rows as a stream of Arrow record batches, within the byte budget; arguments as for ``to_arrow``.

        The version is pinned at the call, and files are read during the iteration. ``apply``, ``create(data=...)``,
        polars and DuckDB accept the reader. Runs no Spark job.
        """
        options = ReadOptions.checked(
            columns=columns, filter=filter, version=version, timestamp=timestamp, tag=tag, limit=limit
        )
        with about(self.url), naming_gone(self._open_table):
            return scan(self._open_table, options)

    def to_polars(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        timestamp: Moment | None = None,
        tag: str | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Return the rows as a polars DataFrame in memory; otherwise as ``to_arrow``. Runs no Spark job."""
        rows = self.to_arrow(columns=columns, filter=filter, version=version, timestamp=timestamp, tag=tag, limit=limit)
        return polars_frame(rows)

    def to_pandas(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        timestamp: Moment | None = None,
        tag: str | None = None,
        limit: int | None = None,
    ) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame; arguments and errors as for ``to_arrow``.

        Integers and booleans with NULLs have pandas' nullable types. The whole result is in memory. Runs no Spark job.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        rows = self.to_arrow(columns=columns, filter=filter, version=version, timestamp=timestamp, tag=tag, limit=limit)
        return pandas_frame(rows)

    def get(
        self,
        keys: Any,
        *,
        columns: str | Sequence[str] | None = None,
        version: int | None = None,
        timestamp: Moment | None = None,
        tag: str | None = None,
    ) -> pa.Table:
        """Read the rows of some keys, as :meth:`read` shows them: the base and pending mods by the law.

        Reads the pages of the base's files that hold the keys, not the table. Runs no Spark job.

        Args:
            keys: a value, or a tuple or dict for a key of several columns; a list of these; an Arrow table, a
                DataFrame or another object with the key columns and no others.
            columns: names of columns; all by default.
            version: as for ``to_arrow``.
            timestamp: as for ``to_arrow``.
            tag: as for ``to_arrow``.

        Returns:
            The rows that exist, each once, in the order in which their keys are first mentioned; no rows if there are
            none.

        Raises:
            OptionError: keys of the wrong number of values, NULL keys, or unknown columns.
            SchemaMismatchError: keys of another type than the table's, or of other columns.
            NoSuchVersionError, VersionExpiredError: as ``read``.
        """
        options = GetOptions.checked(columns=columns, version=version, timestamp=timestamp, tag=tag)
        with about(self.url):
            return observe(self._open_table, "get", lambda: get_rows(self._open_table, keys, options))

    def mods(self, from_version: int | None = None, to_version: int | None = None) -> pa.Table:
        """Return the raw log of a range of versions: every mod as committed, in memory. Runs no Spark job.

        Mods without effect, such as late ones, are included: it is not a feed of row changes.

        Args:
            from_version: first version; by default the oldest whose mods are kept.
            to_version: last version; by default the newest.

        Returns:
            Columns ``_andes_version`` (int64), ``_andes_operation`` (string), ``_andes_columns`` (list of the columns
            that a partial mod sets; NULL for a full mod), then the table's columns.

        Raises:
            NoSuchVersionError, VersionExpiredError: a version does not exist, or is not kept any more.
        """
        options = ModsOptions.checked(from_version=from_version, to_version=to_version)
        return observe(
            self._open_table, "mods", lambda: mods(self._open_table, options.from_version, options.to_version)
        )

    def quarantined(
        self, *, version: int | None = None, timestamp: Moment | None = None, tag: str | None = None
    ) -> pa.Table:
        """Return the quarantined mods up to a version: bad mods of batches, and mods refused by the law.

        Args:
            version: as for ``to_arrow``.
            timestamp: as for ``to_arrow``.
            tag: as for ``to_arrow``.

        Returns:
            Columns version (int64), reason, column, row_number (int64) and row (JSON text).
        """
        options = SnapshotOptions.checked(version=version, timestamp=timestamp, tag=tag)

        def rows() -> pa.Table:
            return reports.quarantined(self._open_table, chosen_version(self._open_table, options))

        with about(self.url):
            return observe(self._open_table, "quarantined", rows)
