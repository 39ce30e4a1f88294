"""``ModTable``: a keyed table in one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import pyarrow as pa

from andes_spark.errors import OptionError, TableExistsError
from andes_spark.log.log import Log
from andes_spark.model.display import Listing, fields_html
from andes_spark.model.manifest import Manifest
from andes_spark.model.mod import OnNull
from andes_spark.model.options import (
    INTEGER,
    NAME,
    ApplyOptions,
    CreateOptions,
    HistoryOptions,
    ModsOptions,
    ReadOptions,
    VersionOptions,
    require,
)
from andes_spark.model.results import ApplyResult, HistoryEntry, MergeEntry, MergeResult
from andes_spark.run.steps import Progress
from andes_spark.run.telemetry import observed
from andes_spark.schema.schema import Schema
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.open import open_storage
from andes_spark.table.about import about
from andes_spark.table.frames import pandas_frame, polars_frame
from andes_spark.table.maintenance.set_aside import SetAsideResult, set_aside
from andes_spark.table.maintenance.verify import VerifyResult, verify
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable, process_settings
from andes_spark.table.sessions import active_session, s3_options
from andes_spark.table.verbs import reports
from andes_spark.table.verbs.apply import apply_batch
from andes_spark.table.verbs.create import create_table, define, exists, read_schema, schema_of
from andes_spark.table.verbs.merge import run_merge
from andes_spark.table.verbs.read import pin, scan

if TYPE_CHECKING:
    import pandas
    import polars as pl
    from pyspark.sql import DataFrame, SparkSession


class ModTable:
    """A table with a primary key, in one folder on S3 or disk.

    Mods are appended to its log by ``apply`` and folded into its base, a Delta table, by ``merge``; ``read``
    shows both together. Get one from ``create`` or ``open``. A ``ModTable`` may be used by one thread at a
    time; any number of them, in any processes, may work on one table.
    """

    def __init__(self, open_table: OpenTable) -> None:
        self._open_table = open_table

    def __repr__(self) -> str:
        return f"ModTable({self.url!r}, version={self._open_table.log.head})"

    def _repr_html_(self) -> str:
        # What is in memory: to show a table must not ask the store.
        definition = self._open_table.definition
        lists = {"primary key": self.primary_key, "sequence by": self.sequence_by}
        fields = {
            "version": str(self._open_table.log.head),
            **{name: ", ".join(names) for name, names in lists.items() if names},
            "merge": definition.merge,
            "columns": "\n".join(self.schema.select([name]).to_ddl() for name in self.schema.names),
        }
        return fields_html(f"ModTable {self.url}", fields)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | Storage,
        schema: Any = None,
        *,
        primary_key: str | Sequence[str],
        sequence_by: str | Sequence[str] = (),
        text_sequence: bool = False,
        data: Any = None,
        if_not_exists: bool = False,
        allow_existing_files: bool = False,
        partition_by: str | Sequence[str] = (),
        merge: str = "always",
        lateness: str = "30 days",
        batch_retention: str = "30 days",
        deletion_vectors: bool = True,
        comment: str | None = None,
        properties: Mapping[str, str] | None = None,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
        progress: Progress | None = None,
    ) -> ModTable:
        """Create a table.

        Runs Spark jobs only when ``data`` is a Spark DataFrame.

        Args:
            path: folder: a local path, ``s3://`` or ``s3a://``.
            schema: StructType, DDL string or pyarrow Schema; by default that of ``data``.
            primary_key: names of the key columns; never null, compared exactly.
            sequence_by: columns that order the mods of one key. Without them the order of arrival decides.
            text_sequence: accept sequence columns of text, ordered byte by byte, where ``'10'`` comes before ``'9'``.
            data: rows of an initial load, as ``apply`` takes them, written straight to the base; keys must be unique.
            if_not_exists: open the table that is there already, if its keys are the same.
            allow_existing_files: create the table in a folder that holds other files; they stay as they are.
            partition_by: columns by which the base's files are laid out.
            merge: ``"always"`` (each apply ends merged), ``"manual"``, or a staleness such as ``"15 minutes"``.
            lateness: how long the sequences of deleted keys are remembered at least.
            batch_retention: how long batch ids are remembered at least.
            deletion_vectors: False rewrites files instead, for readers that do not know deletion vectors.
            comment: free text, stored with the table.
            properties: free names and values, stored with the table.
            storage_options: access to the store, see ``storage.open_storage``; by default what the Spark session's
                S3A settings say, else the usual chain of boto3.
            settings: of this process.
            spark: session to use; the active one if none is given.
            progress: called with the name of each step as it begins.

        Raises:
            OptionError: names, keys or options that cannot be used, all at once.
            TableExistsError: there is a table already, or the folder holds other files.
            DuplicateKeyError, BadModsError, SchemaMismatchError: ``data`` cannot be loaded.
        """
        chosen = process_settings(settings, spark=spark, progress=progress)
        storage = _storage(path, storage_options, spark)
        options = CreateOptions.checked(
            primary_key=primary_key,
            sequence_by=sequence_by,
            text_sequence=text_sequence,
            if_not_exists=if_not_exists,
            allow_existing_files=allow_existing_files,
            partition_by=partition_by,
            merge=merge,
            lateness=lateness,
            batch_retention=batch_retention,
            deletion_vectors=deletion_vectors,
            comment=comment,
            properties=properties,
        )
        if schema is None:
            schema, data = schema_of(data, chosen, storage)
        definition = define(read_schema(schema), options)
        try:
            with about(storage.url), observed("create", storage, chosen.metrics) as report:
                log = create_table(
                    storage, definition, chosen, data=data, allow_existing_files=options.allow_existing_files
                )
                report.version, report.rows = 0, {"upserts": log.manifest(0).counts.upserts}
        except TableExistsError as error:
            if not options.if_not_exists or error.paths:
                raise
            log = Log.open(storage, chosen)
            there = log.definition
            if (there.primary_key, there.sequence_by) != (definition.primary_key, definition.sequence_by):
                raise exists(storage) from None
        return cls(OpenTable(storage, chosen, log, spark=spark, progress=progress))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | Storage,
        *,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
        progress: Progress | None = None,
    ) -> ModTable:
        """Open a table. Runs no Spark job; arguments are those of ``create``.

        Raises:
            NoSuchTableError: the folder holds no table.
            LogDamagedError, UnsupportedTableError: its log cannot be read.
        """
        chosen = process_settings(settings, spark=spark, progress=progress)
        storage = _storage(path, storage_options, spark)
        log = Log.open(storage, chosen)
        return cls(OpenTable(storage, chosen, log, spark=spark, progress=progress))

    @property
    def url(self) -> str:
        """Where the table lies."""
        return self._open_table.table

    @property
    def schema(self) -> Schema:
        """The columns."""
        return self._open_table.shape().schema

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(self._open_table.definition.primary_key)

    @property
    def sequence_by(self) -> tuple[str, ...]:
        """Names of the sequence columns."""
        return tuple(self._open_table.definition.sequence_by)

    @property
    def version(self) -> int:
        """The newest version; asks the store."""
        return self._open_table.log.refresh()

    def apply(
        self,
        mods: Any,
        *,
        apply_as_deletes: Any = None,
        apply_as_upserts: Any = None,
        apply_as_truncates: Any = None,
        batch_id: tuple[str, SupportsIndex | str] | None = None,
        tie_break_by: Any = (),
        at_least_once: bool = False,
        column_list: str | Sequence[str] | None = None,
        except_column_list: str | Sequence[str] | None = None,
        ignore_null_updates: bool | str | Sequence[str] = False,
        columns_to_update: str | None = None,
        missing: Literal["error", "null"] = "error",
        extra: Literal["error", "drop"] = "error",
        on_null_operation: OnNull = "quarantine",
        max_quarantined: int = 0,
        cast: bool = False,
        time_zone: str | None = None,
        strict_replay: bool = False,
        merge: bool | None = None,
        job: str | None = None,
    ) -> ApplyResult:
        """Apply a batch of mods: one new version, and a merge if the table's policy says so.

        The batch is written once and committed atomically; the table is not read. Runs Spark jobs for a Spark
        DataFrame (one that evaluates it), and for merges above the byte budget.

        Args:
            mods: Spark, polars or pandas DataFrame, LazyFrame, pyarrow Table, RecordBatch, RecordBatchReader or
                Dataset, DuckDB relation or other Arrow stream, list of dicts, or path, glob or folder of Parquet, CSV
                or JSON lines files, or a list of these. Streams and Parquet files are read within the byte budget.
            apply_as_deletes: condition that makes a row a delete: a SQL expression, a Spark Column for Spark
                DataFrames, a polars expression for all else. A delete needs key and sequence only.
            apply_as_upserts: condition that makes a row an upsert; by default each row that meets no other is.
            apply_as_truncates: condition that makes a row a truncate of the whole table, at its sequence.
            batch_id: ``(source, id)``; the same batch sent again does nothing and gives the first result.
            tie_break_by: columns or expressions of the batch that order mods of one key at one sequence within it, the
                most significant first: only the last is written, the others count as collapsed. A NULL makes a bad
                mod. They need no column in the table.
            at_least_once: accepts a batch without ``batch_id`` for a table without ``sequence_by``.
            column_list: upserts set only these columns; others keep their value.
            except_column_list: upserts set all columns but these; columns of the batch that the table lacks are left
                out.
            ignore_null_updates: a NULL keeps the value that the row has: True, or the names of columns.
            columns_to_update: name of an array<string> column that lists what each row carries; NULL: all.
            missing: what columns of the table are that the batch lacks: an ``"error"``, or ``"null"``.
            extra: what happens to columns of the batch that the table lacks: an ``"error"``, or ``"drop"``.
            on_null_operation: what a row is for which a condition is NULL.
            max_quarantined: bad mods that are set aside before the batch is refused.
            cast: casts columns of other types, key and sequence too; a value that cannot be cast makes a bad mod.
            time_zone: zone of times without one, for TIMESTAMP columns: a name or an offset such as ``"+02:00"``. A
                time that a change of clocks skips or repeats makes a bad mod.
            strict_replay: the same batch must be equal in all columns, not only key, sequence and operation.
            merge: overrides the table's merge policy.
            job: name of the job, kept in the manifest.

        Raises:
            OptionError: options that contradict each other.
            SchemaMismatchError: missing, extra and wrong-type columns, all at once.
            BadModsError: more bad mods than ``max_quarantined``.
            SequenceTieError: two different mods of one key at one sequence.
            BatchConflictError: the batch id was used for other content.
            CommitConflictError, CommitUnknownError: see there; sending the same batch again is safe.
        """
        with about(self.url):
            options = ApplyOptions.checked(
                apply_as_deletes=apply_as_deletes,
                apply_as_upserts=apply_as_upserts,
                apply_as_truncates=apply_as_truncates,
                batch_id=batch_id,
                tie_break_by=tie_break_by,
                at_least_once=at_least_once,
                column_list=column_list,
                except_column_list=except_column_list,
                ignore_null_updates=ignore_null_updates,
                columns_to_update=columns_to_update,
                missing=missing,
                extra=extra,
                on_null_operation=on_null_operation,
                max_quarantined=max_quarantined,
                cast=cast,
                time_zone=time_zone,
                strict_replay=strict_replay,
                merge=merge,
                job=job,
            )
            return observe(self._open_table, "apply", lambda: apply_batch(self._open_table, mods, options))

    def merge(self) -> MergeResult:
        """Fold pending mods into the base, in one Delta commit; what ``read`` shows does not change.

        Runs Spark jobs only above the byte budget, and only where there is a session.

        Raises:
            ForeignWriteError: another writer changed rows of the base.
            CommitConflictError: other merges were first, too often.
        """
        return observe(self._open_table, "merge", lambda: run_merge(self._open_table))

    def set_aside(self, version: int) -> SetAsideResult:
        """Take the mods of a committed version out of the table: they take no part from a new version on.

        For a version that ``merge`` names because its mods cannot be written to the base, or a batch that must not
        become visible. Reads of the versions from it up to the new one still show its mods; ``quarantined`` lists
        them. Its batch id stays known: send corrected mods with a new one. Runs no Spark job.

        Args:
            version: not merged yet; setting it aside again changes nothing.

        Raises:
            NoSuchVersionError: it was never committed.
            OptionError: it is merged, or holds no mods.
        """
        return observe(self._open_table, "set aside", lambda: set_aside(self._open_table, version))

    def read(self, *, version: int | None = None) -> DataFrame:
        """The rows as a Spark DataFrame: the newest ones, or those of a version. Pinned when called.

        With nothing pending it is the base's own DataFrame. Runs no Spark job while pending mods fit the byte
        budget.

        Raises:
            NoSuchVersionError, VersionExpiredError: no such version, or no longer.
            MissingPackageError: pyspark is not installed.
        """
        from andes_spark.spark.reads import read_snapshot

        open_table = self._open_table
        pinned = ReadOptions.checked(version=version).version

        def frame() -> DataFrame:
            snapshot = pin(open_table, pinned)
            open_table.begin("read", snapshot.version)
            return read_snapshot(open_table.spark_executor(), snapshot, open_table.storage, open_table.settings)

        return observe(open_table, "read", frame)

    def create_view(self, name: str, *, version: int | None = None) -> None:
        """Register ``read(version)`` as a temporary view for Spark SQL; pinned when called.

        Any name will do; SQL needs backticks around one that is no word.

        Raises:
            OptionError: ``name`` is empty, or no text.
        """
        from andes_spark.spark.columns import escaped

        require("name", name, NAME)
        self.read(version=version).createOrReplaceTempView(escaped(name))

    def to_arrow(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """The rows as one Arrow table, in no order, without Spark: the newest ones, or those of a version.

        Holds the whole result in memory; ``to_batches`` does not.

        Args:
            columns: names of columns; None for all.
            filter: SQL expression, or a polars expression. Files that can hold no such row,
                by the base's statistics, are not read.
            version: None for the newest.
            limit: rows at most, any of them; no file is read once there are so many.

        Raises:
            OptionError: unknown columns, or a filter that cannot be evaluated.
            NoSuchVersionError, VersionExpiredError: no such version, or no longer.
        """
        batches = self.to_batches(columns=columns, filter=filter, version=version, limit=limit)
        return observe(self._open_table, "read", batches.read_all)

    def to_batches(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> pa.RecordBatchReader:
        """As ``to_arrow``, a stream of Arrow record batches that holds no more than the byte budget.

        Pinned when called; files are read as the batches are asked for. The reader can be iterated over, and handed
        to ``apply``, ``create(data=...)``, polars or DuckDB.
        """
        options = ReadOptions.checked(columns=columns, filter=filter, version=version, limit=limit)
        return scan(self._open_table, options)

    def to_polars(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """As ``to_arrow``, a polars DataFrame."""
        return polars_frame(self.to_arrow(columns=columns, filter=filter, version=version, limit=limit))

    def to_pandas(
        self,
        *,
        columns: str | Sequence[str] | None = None,
        filter: Any = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> pandas.DataFrame:
        """As ``to_arrow``, a pandas DataFrame; integers and booleans with NULLs become its nullable types.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return pandas_frame(self.to_arrow(columns=columns, filter=filter, version=version, limit=limit))

    def mods(self, from_version: int = 0, to_version: int | None = None) -> pa.Table:
        """The raw log of some versions, both included: every mod as committed, late ones and all.

        Returns:
            ``_andes_version``, ``_andes_operation``, ``_andes_columns`` (of a partial mod: what it carries;
            NULL for a full one), then the table's columns. Mods that lost are part of it: it is no feed of changes.
        """
        options = ModsOptions.checked(from_version=from_version, to_version=to_version)
        return reports.mods(self._open_table, options.from_version, options.to_version)

    def quarantined(self, *, version: int | None = None) -> pa.Table:
        """Mods set aside up to a version: bad ones at apply, late partials and the like by the law.

        Returns:
            version, reason, column, row_number and row (JSON).
        """
        return reports.quarantined(self._open_table, VersionOptions.checked(version=version).version)

    def status(self) -> reports.Status:
        """The table at a glance, from its logs alone."""
        return reports.status(self._open_table)

    def history(self, *, limit: int | None = None) -> Listing[HistoryEntry]:
        """Versions, newest first."""
        return reports.history(self._open_table, limit=HistoryOptions.checked(limit=limit).limit)

    def merges(self, *, limit: int | None = None) -> Listing[MergeEntry]:
        """Merges of the base, newest first, with what each did."""
        return reports.merges(self._open_table, limit=HistoryOptions.checked(limit=limit).limit)

    def manifest(self, version: int) -> Manifest:
        """The manifest of a version.

        Raises:
            NoSuchVersionError: it was never committed.
        """
        version = require("version", version, INTEGER)
        if version > self._open_table.log.head:
            self._open_table.log.refresh()
        return self._open_table.log.manifest(version)

    def verify(self) -> VerifyResult:
        """Check everything that is stored: chain, checksums, unique keys, base equal to the law's evaluation.

        Reads all files; raises nothing for what it finds, see the result.
        """
        return observe(self._open_table, "verify", lambda: verify(self._open_table))


def _storage(path: str | os.PathLike[str] | Storage, options: Mapping[str, str] | None, spark: Any) -> Storage:
    if not isinstance(path, str | os.PathLike):
        if not hasattr(path, "put_if_absent"):
            raise OptionError(f"path is a folder or URL, and {path!r} was given", option="path")
        return path
    url = os.fspath(path)
    if options is None and url.startswith(("s3://", "s3a://")):
        session = spark if spark is not None else active_session()
        options = None if session is None else s3_options(session)
    return open_storage(url, options=options)
