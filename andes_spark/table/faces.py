"""The verbs of ``ModTable`` that show a table to readers of other formats, and under a name in a catalog."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Literal

from andes_spark.model.options import NAME, TEXT, require
from andes_spark.model.sync_options import SyncGlueOptions, SyncIcebergOptions, SyncSqlOptions
from andes_spark.table.about import about
from andes_spark.table.glue import GlueSync, sync_glue
from andes_spark.table.iceberg import IcebergSync, sync_iceberg
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable
from andes_spark.table.sql_target import SqlSync, sync_sql


class TableFaces:
    """The verbs that show a table to others, by metadata over the files of the base or as rows in a database."""

    _open_table: OpenTable

    def sync_iceberg(
        self,
        format: int | None = None,
        *,
        name: str | None = None,
        catalog: str | None = None,
        catalog_properties: Mapping[str, str] | None = None,
    ) -> IcebergSync:
        """Show the base to readers of Iceberg: write Iceberg's metadata over its files, which are not copied.

        The rows are those of the newest merge: pending mods are not shown. Deletion vectors become files of position
        deletes in format 2, and Puffin files in format 3. Only what changed since the last call is written, as one
        snapshot; nothing is, if nothing changed. Several callers may race. Memory is O(files of the base) on the first
        call of a handle; runs no Spark job.

        Args:
            format: version of Iceberg's specification, 2 or 3; by default that of the face, and 2 for a new one. A face
                of format 2 can go on in format 3, not the other way.
            name: name in a catalog of Iceberg, such as ``"sales.orders"``: it is registered if it is not there, and
                leads to the newest snapshot after each call. Needs PyIceberg.
            catalog: name of the catalog in PyIceberg's configuration; by default its default one.
            catalog_properties: properties of the catalog, as PyIceberg's ``load_catalog`` takes them.

        Returns:
            Where the newest metadata file lies, what was written, and which version it shows.

        Raises:
            OptionError: another format, or an earlier one than that of the face.
            MissingPackageError: fastavro, or PyIceberg for a name, is not installed.
            UnsupportedTableError: a column or file that Iceberg cannot represent; ``feature``, ``column``.
            ForeignWriteError: another writer committed to the Iceberg face, or to its table in the catalog, or changed
                the base.
            TableExistsError: the name in the catalog is that of another table.
            CommitConflictError: other callers were first each time.
            StorageError: the catalog cannot be reached, or refuses; the face itself is synchronized.
            DamagedError: a file or document is missing or damaged.
        """
        options = SyncIcebergOptions.checked(
            format=format, name=name, catalog=catalog, catalog_properties=catalog_properties
        )
        with about(self._open_table.table):
            return observe(self._open_table, "sync_iceberg", lambda: sync_iceberg(self._open_table, options))

    def sync_glue(
        self,
        name: str,
        as_: Literal["delta", "iceberg", "both"] = "delta",
        *,
        iceberg_name: str | None = None,
        create_database: bool = False,
        freshness: str | datetime.timedelta | None = None,
        adopt: bool = False,
        endpoint: str | None = None,
        region: str | None = None,
        dry_run: bool = False,
    ) -> GlueSync:
        """Show the base under a name in the Glue Data Catalog, for Athena, Trino, Spark and Redshift.

        The entry has the columns with their comments, and as parameters primary key, version and the version that its
        readers see, which is that of the newest merge. Parameters, comments, description and owner that others set
        stay; an entry of others, and columns that others edited, are never overwritten. With nothing to do one request
        is sent to Glue, for a new version two. Several callers may race. What became of the last call is part of
        ``status``; a call that failed changed no data, and the next one does it all. Memory is O(files of the base) on
        the first call of a handle; runs a Spark job only for a large merge, as ``merge``.

        Args:
            name: database and table, such as ``"sales.orders"``, in lower case.
            as_: form of the entry: ``"delta"``; ``"iceberg"``, which writes the metadata of ``sync_iceberg`` first; or
                ``"both"``, under two names.
            iceberg_name: name of the Iceberg form for ``"both"``; by default ``name`` and ``_iceberg``.
            create_database: create the database if there is none.
            freshness: merge first if mods have been pending for this time, such as ``"15 minutes"``.
            adopt: take over an entry of the same folder and form that others wrote or edited.
            endpoint: URL of the Glue API; by default that of the region.
            region: region of the catalog; by default that of the storage options or of the environment.
            dry_run: only return what would change; nothing is written.

        Returns:
            What was done to each entry, and what is not merged yet.

        Raises:
            OptionError: a name or option that cannot be used, or a table that is not on S3.
            ForeignWriteError: the entry is of others, or was edited by others; ``problems``. Or as for ``merge`` and
                ``sync_iceberg``.
            NotFoundError: the database does not exist.
            UnsupportedTableError: a column that Glue, or Iceberg, cannot hold; ``feature``, ``column``.
            CommitConflictError: other writers changed the entry first each time.
            AccessDeniedError, StorageError, StoreUnavailableError: Glue refused, or did not answer.
            MissingPackageError: boto3, or for Iceberg fastavro, is not installed.
            MergeBlockedError: as for ``merge``.
        """
        options = SyncGlueOptions.checked(
            as_=as_,
            iceberg_name=iceberg_name,
            create_database=create_database,
            freshness=freshness,
            adopt=adopt,
            endpoint=endpoint,
            region=region,
            dry_run=dry_run,
        )
        with about(self._open_table.table):
            require("name", name, NAME)
            return observe(self._open_table, "sync_glue", lambda: sync_glue(self._open_table, name, options))

    def sync_sql(
        self,
        url: str,
        name: str,
        on_schema_change: Literal["additive", "freeze", "ignore_new"] = "additive",
        *,
        reload: bool = False,
        count_rows: bool = False,
        stage: str | None = None,
        iam_role: str | None = None,
    ) -> SqlSync:
        """Bring a table of a SQL database up to date with the newest version, pending mods included.

        The first call loads all rows into a new table and swaps it in. Each later one delivers the net changes since
        the version that the table ``_andes_delivery`` beside the target notes, by COPY into a temporary table, and
        moves that cursor in the same transaction: each change arrives exactly once, however calls fail, are killed,
        repeated or race. Where those changes are not kept any more, all rows are loaded anew. What became of the last
        call is part of ``status``. Rows are streamed: memory stays within the byte budget; runs no Spark job.

        Args:
            url: the database, such as ``"postgresql://user@host:5432/database"``, or ``redshift://``; without a
                password, that of the environment variable PGPASSWORD is used.
            name: schema and table in the database, such as ``"sales.orders"``; the schema must exist.
            on_schema_change: ``"additive"`` adds new columns to the target and widens types; ``"freeze"`` refuses any
                difference; ``"ignore_new"`` leaves new columns out. Columns that the table dropped stay in the target.
            reload: load all rows anew in the place of the target, whatever was done to it or to its cursor.
            count_rows: count the rows of the target first, which takes the database a scan.
            stage: for Redshift, a folder on S3 for the files that it loads, deleted afterwards; reached as the table.
            iam_role: for Redshift, ARN of the role with which it reads the stage, or ``"default"``.

        Returns:
            What was delivered, and the version that the target shows.

        Raises:
            OptionError: a URL, name or option that cannot be used.
            UnsupportedTableError: a column that the database cannot hold; ``column``. Nothing was sent.
            SchemaMismatchError: columns that differ against the policy, or a value that the database cannot hold.
            ForeignWriteError: the target or its cursor are of others, of another table or of a later version, or were
                changed by others; ``problems``. Nothing was overwritten.
            CommitConflictError: other deliveries into the target were first each time.
            CommitUnknownError: the connection was lost during the commit; the next call goes on where the cursor is.
            AccessDeniedError, StoreUnavailableError, StorageError: the database refused, or did not answer.
            MissingPackageError: pg8000 is not installed.
            DamagedError: a file or document of the table is missing or damaged.
        """
        options = SyncSqlOptions.checked(
            on_schema_change=on_schema_change, reload=reload, count_rows=count_rows, stage=stage, iam_role=iam_role
        )
        with about(self._open_table.table):
            require("url", url, TEXT)
            require("name", name, NAME)
            return observe(self._open_table, "sync_sql", lambda: sync_sql(self._open_table, url, name, options))
