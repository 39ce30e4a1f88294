"""The verbs of ``ModTable`` that show a table to readers of other formats."""

from __future__ import annotations

from andes_spark.model.sync_options import SyncIcebergOptions
from andes_spark.table.about import about
from andes_spark.table.iceberg import IcebergSync, sync_iceberg
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable


class TableFaces:
    """The verbs that show a table to others: they write metadata in other formats over the files of the base."""

    _open_table: OpenTable

    def sync_iceberg(self, format: int = 2) -> IcebergSync:
        """Show the base to readers of Iceberg: write Iceberg's metadata over its files, which are not copied.

        The rows are those of the newest merge: pending mods are not shown. Deletion vectors become files of position
        deletes. Only what changed since the last call is written, as one snapshot; nothing is, if nothing changed.
        Several callers may race. Memory is O(files of the base) on the first call of a handle; runs no Spark job.

        Args:
            format: version of Iceberg's specification: 2.

        Returns:
            Where the newest metadata file lies, what was written, and which version it shows.

        Raises:
            OptionError: another format.
            MissingPackageError: fastavro is not installed.
            UnsupportedTableError: a column or file that Iceberg cannot represent; ``feature``, ``column``.
            ForeignWriteError: another writer committed to the Iceberg face, or changed the base.
            CommitConflictError: other callers were first each time.
            DamagedError: a file or document is missing or damaged.
        """
        options = SyncIcebergOptions.checked(format=format)
        with about(self._open_table.table):
            return observe(self._open_table, "sync_iceberg", lambda: sync_iceberg(self._open_table, options))
