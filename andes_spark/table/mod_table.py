"""``ModTable``: a keyed table in one folder."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

from andes_spark.errors import DamagedError, LogDamagedError, NoSuchTableError, OptionError, UnsupportedTableError
from andes_spark.model.adoption_options import ConvertOptions
from andes_spark.model.display import fields_html
from andes_spark.model.mod import OnNull
from andes_spark.model.options import (
    FLAG,
    INTEGER,
    NAME,
    AppenderOptions,
    ApplyOptions,
    CreateOptions,
    require,
)
from andes_spark.model.read_options import SnapshotOptions
from andes_spark.model.repair_options import RepairOptions
from andes_spark.model.results import ApplyResult, MergeResult
from andes_spark.model.stream_options import ApplyStreamOptions
from andes_spark.run.steps import Progress
from andes_spark.run.telemetry import observed
from andes_spark.schema.schema import Schema
from andes_spark.settings import MIB, Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.open import open_storage
from andes_spark.storage.s3_options import Access
from andes_spark.table.about import about
from andes_spark.table.adoption.clone import clone
from andes_spark.table.adoption.convert import convert
from andes_spark.table.adoption.drop import DropResult, drop, finish_drop
from andes_spark.table.appender import Appender
from andes_spark.table.evolution.alter import TableAlter
from andes_spark.table.faces import TableFaces
from andes_spark.table.maintenance.set_aside import SetAsideResult, set_aside
from andes_spark.table.maintenance.verify import VerifyResult, verify, verify_damaged
from andes_spark.table.named import find_named
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable, process_settings
from andes_spark.table.reads import TableReads
from andes_spark.table.repair.repair import RepairResult, repair_manifests
from andes_spark.table.sessions import access_of, active_session, session_access
from andes_spark.table.stream import TableStream, check_stream
from andes_spark.table.upkeep import TableUpkeep
from andes_spark.table.verbs import reports
from andes_spark.table.verbs.after_merge import begin_faces
from andes_spark.table.verbs.apply import apply_batch
from andes_spark.table.verbs.create import create_or_open
from andes_spark.table.verbs.merge import run_merge
from andes_spark.table.versions import TableVersions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class ModTable(TableReads, TableVersions, TableUpkeep, TableFaces):
    """A table with a primary key, in one folder on S3 or disk.

    ``apply`` appends mods to the table's log, ``merge`` folds them into its base, which is a Delta table, and ``read``
    returns both together. Create an instance by ``create`` or ``open``. An instance is not thread-safe; any number of
    instances, in any number of processes, may work on one table.
    """

    def __repr__(self) -> str:
        return f"ModTable({self.url!r}, version={self._open_table.log.head})"

    def _repr_html_(self) -> str:
        # From memory: the display of a table sends no request.
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
        cast: bool = False,
        time_zone: str | None = None,
        merge: str = "always",
        lateness: str = "30 days",
        batch_retention: str = "30 days",
        deletion_vectors: bool = True,
        faces: str | Sequence[str] = (),
        comment: str | None = None,
        properties: Mapping[str, str] | None = None,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
        progress: Progress | None = None,
    ) -> ModTable:
        """Create a table.

        Runs Spark jobs only if ``data`` is a Spark DataFrame. Memory stays within the byte budget if ``data`` is a
        stream, a Dataset or Parquet files.

        Args:
            path: folder of the table: a local path or a URL with ``s3://`` or ``s3a://``.
            schema: StructType, DDL string or pyarrow Schema; by default the schema of ``data``.
            primary_key: names of the key columns, which are never NULL and compared exactly.
            sequence_by: names of the columns that order the mods of one key; by default the order of versions.
            text_sequence: accept sequence columns of text, ordered byte by byte: ``'10'`` before ``'9'``.
            data: rows of an initial load, in the forms that ``apply`` accepts; they are written to the base. Keys must
                be unique.
            if_not_exists: open an existing table with the same key and sequence columns.
            allow_existing_files: create the table in a folder with other files, which are not changed.
            partition_by: names of the partition columns of the base.
            cast: cast columns of ``data``, as ``apply`` does; a value that cannot be cast is an error.
            time_zone: zone of times without one in ``data``, as for ``apply``.
            merge: ``"always"`` (after each apply), ``"auto"`` (when reads of pending mods outweigh the merge),
                ``"manual"``, or a maximum staleness such as ``"15 minutes"``.
            lateness: minimum time for which sequences of deleted keys are kept.
            batch_retention: minimum time for which batch ids are kept.
            deletion_vectors: mark deleted rows; False rewrites files, for readers without deletion vectors.
            faces: formats whose readers are shown each merge, after its commit: ``"iceberg"``; see ``sync_iceberg``.
            comment: free text, stored with the table.
            properties: free names and values, stored with the table.
            storage_options: access to the store, see ``storage.open_storage``; by default as S3A of the Spark session
                has it, without one the credential chain of boto3.
            settings: settings of this process.
            spark: Spark session; by default the active one.
            progress: function called with the name of each step at its start.

        Raises:
            OptionError: invalid names, keys or options, all at once.
            TableExistsError: the folder contains a table or other files.
            DuplicateKeyError, BadModsError, SchemaMismatchError: rows of ``data`` that cannot be loaded; no table is
                created.
            UnsupportedTableError, MissingPackageError: a face cannot represent a column, or needs a package.
        """
        chosen = process_settings(settings, spark=spark, progress=progress)
        storage = _storage(path, storage_options, spark, chosen)
        options = CreateOptions.checked(
            primary_key=primary_key,
            sequence_by=sequence_by,
            text_sequence=text_sequence,
            if_not_exists=if_not_exists,
            allow_existing_files=allow_existing_files,
            partition_by=partition_by,
            cast=cast,
            time_zone=time_zone,
            merge=merge,
            lateness=lateness,
            batch_retention=batch_retention,
            deletion_vectors=deletion_vectors,
            faces=faces,
            comment=comment,
            properties=properties,
        )
        log = create_or_open(storage, schema, data, options, chosen)
        return cls(begin_faces(OpenTable(storage, chosen, log, spark=spark, progress=progress)))

    @classmethod
    def convert(
        cls,
        path: str | os.PathLike[str] | Storage,
        *,
        primary_key: str | Sequence[str],
        sequence_by: str | Sequence[str] = (),
        text_sequence: bool = False,
        partitions: str | None = None,
        merge: str = "always",
        lateness: str = "30 days",
        batch_retention: str = "30 days",
        deletion_vectors: bool = True,
        faces: str | Sequence[str] = (),
        comment: str | None = None,
        properties: Mapping[str, str] | None = None,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
        progress: Progress | None = None,
    ) -> ModTable:
        """Make an existing Delta table, or a folder of Parquet files, a table of this library in place.

        No data file is written. Key and sequence columns of all files are read, within the byte budget, and keys must
        be unique; the rows become version 0. The Delta table keeps its history, and gets protocol 3/7. A call that was
        interrupted is finished by the same call. Runs no Spark job.

        Args:
            path: folder of the table, as for ``create``.
            primary_key: names of the key columns.
            sequence_by: names of columns of the table that order the mods of one key; by default the order of versions.
            text_sequence: accept sequence columns of text, as for ``create``.
            partitions: for Parquet files in folders such as ``region=eu``: the columns of these folders as DDL,
                ``"region STRING"``. A Delta table says its partition columns itself.
            merge: when mods are merged, as for ``create``.
            lateness: minimum time for which sequences of deleted keys are kept.
            batch_retention: minimum time for which batch ids are kept.
            deletion_vectors: mark deleted rows; False rewrites files, for readers without deletion vectors.
            faces: formats whose readers are shown each merge, as for ``create``.
            comment: free text; by default the description of the Delta table.
            properties: free names and values, stored with the table.
            storage_options: access to the store, as for ``create``.
            settings: settings of this process.
            spark: Spark session of the table; by default the active one.
            progress: function called with the name of each step at its start.

        Raises:
            NoSuchTableError: there is neither a Delta table nor a Parquet file.
            TableExistsError: the folder contains a table of this library, or files of another kind; ``paths``.
            OptionError: invalid names, keys or options, all at once.
            UnsupportedTableError: a feature of the Delta table, or a type, that a table of this library cannot have;
                the message has the remedy.
            DuplicateKeyError, BadModsError: rows that share a key, or have NULL in a key or sequence column.
            FileDamagedError, LogDamagedError: a file is missing or cannot be read.
            CommitConflictError: other writers committed first too often.
        """
        chosen = process_settings(settings, spark=spark, progress=progress)
        storage = _storage(path, storage_options, spark, chosen)
        options = ConvertOptions.checked(
            primary_key=primary_key,
            sequence_by=sequence_by,
            text_sequence=text_sequence,
            partitions=partitions,
            merge=merge,
            lateness=lateness,
            batch_retention=batch_retention,
            deletion_vectors=deletion_vectors,
            faces=faces,
            comment=comment,
            properties=properties,
        )
        with about(storage.url), observed("convert", storage, chosen.metrics) as report:
            log = convert(storage, options, chosen, progress)
            report.version, report.rows = 0, {"upserts": log.manifest(0).counts.upserts}
        return cls(begin_faces(OpenTable(storage, chosen, log, spark=spark, progress=progress)))

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
        """Open a table; arguments as for ``create``. Runs no Spark job and reads no data file.

        Raises:
            NoSuchTableError: the folder contains no table.
            LogDamagedError, UnsupportedTableError: the log cannot be read.
        """
        chosen = process_settings(settings, spark=spark, progress=progress)
        storage = _storage(path, storage_options, spark, chosen)
        return cls(OpenTable.open(storage, chosen, spark=spark, progress=progress))

    @classmethod
    def for_name(
        cls,
        spark: SparkSession | None,
        name: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        progress: Progress | None = None,
    ) -> ModTable:
        """Open a table by its name in a catalog, which tells its folder. Runs no Spark job.

        ``SELECT * FROM sales.orders`` in Spark shows the base, without pending mods. For SQL on all rows:
        ``ModTable.for_name(spark, "sales.orders").create_view("orders")``.

        Args:
            spark: Spark session whose catalogs have the table; on EMR that may be Glue. None asks Glue itself.
            name: name in the catalog, such as ``"sales.orders"``; of either form that ``sync_glue`` writes.
            endpoint: URL of the Glue API, without ``spark``; by default that of the region.
            region: region of the Glue catalog, without ``spark``.
            storage_options: access to the store, as for ``create``, and to Glue.
            settings: settings of this process.
            progress: function called with the name of each step at its start.

        Raises:
            NoSuchTableError: the catalog has no such table, or the folder contains none of this library.
            ForeignWriteError: the folder contains another table than the one that Glue shows.
            AccessDeniedError, StoreUnavailableError: Glue refused, or did not answer.
            LogDamagedError, UnsupportedTableError: the log cannot be read.
        """
        process_settings(settings, spark=spark, progress=progress)
        require("name", name, NAME)
        named = find_named(spark, name, storage_options, endpoint=endpoint, region=region)
        table = cls.open(
            named.location, storage_options=storage_options, settings=settings, spark=spark, progress=progress
        )
        named.check(table._open_table.table_id)
        return table

    @property
    def schema(self) -> Schema:
        """The columns of the table, as of the newest version that this object has read; sends no request."""
        return self._open_table.shape().schema

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The names of the key columns, in the order of the key."""
        return tuple(self._open_table.definition.primary_key)

    @property
    def sequence_by(self) -> tuple[str, ...]:
        """The names of the columns that order the mods of a key; empty if the order of versions does."""
        return tuple(self._open_table.definition.sequence_by)

    @property
    def alter(self) -> TableAlter:
        """The verbs that change the table's definition: ``add_column``, ``widen``, ``drop_column``, ``set`` ..."""
        return TableAlter(self._open_table)

    @property
    def version(self) -> int:
        """The number of the newest version of the log, which is read for it: one request or more, no Spark job."""
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
        evolve_schema: Literal["add", "add_and_widen"] | None = None,
        on_null_operation: OnNull = "quarantine",
        max_quarantined: int = 0,
        cast: bool = False,
        time_zone: str | None = None,
        backfill: bool = False,
        strict_replay: bool = False,
        merge: bool | None = None,
        job: str | None = None,
    ) -> ApplyResult:
        """Apply a batch of mods as one new version, followed by a merge if the table's policy requires it.

        The batch is written once and committed atomically, without a read of the table. Runs one Spark job for a Spark
        DataFrame; checks and merges above the byte budget run more if there is a session. Otherwise runs none.

        Args:
            mods: Spark, polars or pandas DataFrame, LazyFrame, pyarrow Table, RecordBatch, RecordBatchReader or
                Dataset, DuckDB relation or other Arrow stream, list of dicts, or path, glob or folder of Parquet, CSV
                or JSON lines files, or a list of these. Streams and Parquet files are read within the byte budget.
            apply_as_deletes: condition for deletes: a SQL expression, a Spark Column for Spark DataFrames, a polars
                expression for other inputs. A delete requires key and sequence only.
            apply_as_upserts: condition for upserts; by default every row without another operation.
            apply_as_truncates: condition for truncates of the whole table, each at the sequence of its row.
            batch_id: ``(source, id)``; a batch with a known id is not applied again and returns the first result.
            tie_break_by: columns or expressions of the batch that order mods of one key at one sequence, the most
                significant first: only the last mod is written, the others count as collapsed. A NULL makes a bad mod.
                The table needs no column for them.
            at_least_once: accept a batch without ``batch_id`` for a table without ``sequence_by``.
            column_list: columns set by upserts; others keep their value.
            except_column_list: columns not set by upserts; columns that only the batch has are ignored.
            ignore_null_updates: columns whose NULLs keep the value of the row; True for all.
            columns_to_update: name of an array<string> column with the columns that each row sets; NULL for all.
            missing: treatment of columns, and fields of structs, that the batch lacks: ``"error"`` or ``"null"``.
            extra: treatment of columns that the table lacks: ``"error"`` or ``"drop"``.
            evolve_schema: ``"add"`` gives the table the columns and fields that it lacks, ``"add_and_widen"`` wider
                types as well, as ``alter`` does, in a version before that of the batch.
            on_null_operation: treatment of a row with a condition that is NULL: ``"quarantine"`` or ``"upsert"``.
            max_quarantined: maximum number of bad mods; with more of them the batch is refused.
            cast: cast columns of other types, key and sequence included; a value that cannot be cast makes a bad mod.
            time_zone: zone of times without one, for TIMESTAMP columns: a name, or an offset such as ``"+02:00"``. A
                time that a change of clocks skips or repeats makes a bad mod.
            backfill: let mods at or below the cut of an ``expire`` take part; else they are set aside as expired.
            strict_replay: compare a repeated batch in all columns, not only key, sequence and operation.
            merge: merge after the apply or not; by default the table's merge policy.
            job: name of the job, stored in the manifest.

        Raises:
            OptionError: invalid or contradictory options.
            SchemaMismatchError: missing, extra and wrong-type columns, all at once.
            BadModsError: more bad mods than ``max_quarantined``.
            SequenceTieError: two different mods of one key at one sequence.
            BatchConflictError: the batch id was used for other content.
            CommitConflictError: other writers committed first too often; the same batch can be sent again.
            CommitUnknownError: the outcome of the commit is unknown; with a ``batch_id`` the batch can be sent again.
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
                evolve_schema=evolve_schema,
                on_null_operation=on_null_operation,
                max_quarantined=max_quarantined,
                cast=cast,
                time_zone=time_zone,
                backfill=backfill,
                strict_replay=strict_replay,
                merge=merge,
                job=job,
            )
            return observe(self._open_table, "apply", lambda: apply_batch(self._open_table, mods, options))

    def apply_stream(
        self,
        stream: DataFrame,
        *,
        source: str,
        checkpoint: str | os.PathLike[str],
        trigger: str | None = None,
        query_name: str | None = None,
        on_batch: Callable[[ApplyResult], None] | None = None,
        **options: Any,
    ) -> TableStream:
        """Apply a Spark stream: each micro-batch becomes a version, exactly once, followed by a merge if one is due.

        The id of a batch is that of the query and of the micro-batch, which the checkpoint keeps: after a restart a
        batch that was committed before is recognised. With a new checkpoint the source is read again from where it
        begins; in a table with ``sequence_by`` the rows are the same in the end, since mods that were applied before
        change nothing. The stream works on a handle of its own. Runs one Spark job for each micro-batch, beside those
        of ``apply``.

        Args:
            stream: streaming DataFrame, of ``spark.readStream``.
            source: name of the feed.
            checkpoint: folder of the stream's checkpoint.
            trigger: ``"available now"`` for what is there, then the stream ends; an interval such as ``"10 seconds"``;
                by default one micro-batch after the other.
            query_name: name of the streaming query.
            on_batch: function called with the result of each micro-batch, in the thread of the query.
            options: options of ``apply``, except ``batch_id``; conditions are SQL texts, or columns by name.

        Returns:
            The running stream, with ``progress()``, ``await_termination()`` and ``stop()``. An error of a micro-batch
            ends it; ``await_termination`` raises it.

        Raises:
            OptionError: not a stream, or options that do not fit.
        """
        chosen = ApplyStreamOptions.checked(
            source=source,
            checkpoint=os.fspath(checkpoint),
            trigger=trigger,
            query_name=query_name,
            on_batch=on_batch,
        )
        with about(self.url):
            return TableStream.start(self._open_table, stream, chosen, check_stream(stream, options))

    def appender(
        self, *, max_delay: float = 1.0, max_bytes: int = 64 * MIB, merge: bool | None = None, job: str | None = None
    ) -> Appender:
        """Return an appender: it commits many small batches, of any threads, as few versions.

        Used as a context manager, whose end commits the rest and raises what failed. The appender works on a handle of
        its own, so that this one can be used meanwhile. Batches of one version take effect in the order of arrival, as
        if each had its own version. Runs no Spark job, except for Spark DataFrames and merges as ``apply``.

        Args:
            max_delay: seconds after which an accepted batch is committed at the latest.
            max_bytes: bytes in memory of the batches of one version; a larger batch is a version of its own.
            merge: merge after each version or not; by default the table's merge policy.
            job: name of the job, stored in the manifests.

        Raises:
            OptionError: invalid options.
        """
        options = AppenderOptions.checked(max_delay=max_delay, max_bytes=max_bytes, merge=merge, job=job)
        return Appender(self._open_table.copy(), options)

    def merge(self) -> MergeResult:
        """Fold pending mods into the base in one Delta commit; the rows of ``read`` do not change.

        Runs Spark jobs only above the byte budget and if there is a session; otherwise ranges of keys are merged one
        after the other within the budget.

        Raises:
            ForeignWriteError: another writer changed rows of the base.
            MergeBlockedError: a version cannot be merged; ``version``.
            CommitConflictError: other merges committed first too often.
        """
        return observe(self._open_table, "merge", lambda: run_merge(self._open_table))

    def set_aside(self, version: int) -> SetAsideResult:
        """Exclude the mods of a committed version from the table, as a new version.

        Used for a version that ``merge`` cannot write to the base, and for a batch that must not become visible. Reads
        of versions before the new one still contain the mods; ``quarantined`` lists them. The batch id stays known:
        corrected mods need a new one. Runs no Spark job.

        Args:
            version: version that is not merged; a repeated call changes nothing.

        Raises:
            NoSuchVersionError: the version does not exist.
            OptionError: the version is merged, or contains no mods.
        """
        return observe(self._open_table, "set aside", lambda: set_aside(self._open_table, version))

    def status(self, *, files: bool = False) -> reports.Status:
        """Return versions, pending mods, rows, files and sizes, from the logs. Reads no data file, runs no Spark job.

        Args:
            files: also list all files, and tell what a vacuum would delete and what keeps it from more.
        """
        require("files", files, FLAG)
        return observe(self._open_table, "status", lambda: reports.status(self._open_table, files=files))

    def verify(self, since: int | None = None) -> VerifyResult:
        """Check the stored table: chain of manifests, checksums, unique keys, and the base against the log.

        Reads all files, within the byte budget. Problems are part of the result and raise nothing. Runs no Spark job.

        Args:
            since: check only what was added after this version: manifests, their mods, Delta entries and files of the
                base, whose rows are compared with what the mods since then make of the state before.

        Raises:
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is below those that a vacuum kept.
        """
        since = require("since", since, INTEGER.or_none())
        return observe(self._open_table, "verify", lambda: verify(self._open_table, since))

    def clone(
        self,
        path: str | os.PathLike[str] | Storage,
        *,
        version: int | None = None,
        timestamp: str | datetime.date | None = None,
        tag: str | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> ModTable:
        """Make a new table with the rows of a version in another folder; later changes of one do not affect the other.

        The files of a merged version are copied, on S3 by the store itself within a bucket; other rows are loaded
        within the byte budget. The new table has the same columns, keys and options, an id and a log of its own. Mods
        that would lose against a delete or truncate of the original lose there too; ids of batches are not known
        there. A clone that was interrupted is finished by the same call. Runs no Spark job.

        Args:
            path: folder of the new table, as for ``create``.
            version: version to clone; by default the newest; or by ``timestamp`` or ``tag``, as for ``to_arrow``.
            timestamp: the newest version of this time or before it.
            tag: the version that this tag stands for.
            storage_options: access to the store of the new table; by default as this table's.

        Raises:
            OptionError: several of version, timestamp and tag; a folder within this table's.
            TableExistsError: the folder contains a table or other files.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
        """
        open_table = self._open_table
        options = SnapshotOptions.checked(version=version, timestamp=timestamp, tag=tag)
        same = access_of(open_table.storage) if storage_options is None else storage_options
        target = _storage(path, same if _is_s3(path) else None, open_table.spark, open_table.settings)
        with about(self.url):
            return type(self)(observe(open_table, "clone", lambda: clone(open_table, target, options)))

    def drop(self, *, confirm: str) -> DropResult:
        """Remove the table with all its files; nothing can bring it back. Runs no Spark job.

        The last version says that the table is dropped, so that other writers and readers stop with a
        ``NoSuchTableError``; then its files are deleted. A drop that was interrupted goes on by ``drop_folder``.

        Args:
            confirm: name of the table's folder, or its URL.

        Raises:
            OptionError: ``confirm`` is another name.
            TableExistsError: the folder has files that are no part of the table; ``paths``. Nothing is deleted.
        """
        require("confirm", confirm, NAME)
        return observe(self._open_table, "drop", lambda: drop(self._open_table, confirm))

    @classmethod
    def drop_folder(
        cls,
        path: str | os.PathLike[str] | Storage,
        *,
        confirm: str,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
    ) -> DropResult:
        """As ``open(path).drop(confirm=...)``, also for a table whose drop was interrupted.

        Args:
            path: folder of the table, as for ``create``.
            confirm: name of the table's folder, or its URL.
            storage_options: access to the store, as for ``create``.
            settings: settings of this process.
            spark: Spark session, for access to the store.

        Raises:
            NoSuchTableError: the folder holds no table.
            OptionError, TableExistsError: as for ``drop``.
        """
        require("confirm", confirm, NAME)
        chosen = process_settings(settings, spark=spark, progress=None)
        storage = _storage(path, storage_options, spark, chosen)
        finished = finish_drop(storage, confirm)
        return cls.open(storage, settings=settings).drop(confirm=confirm) if finished is None else finished

    @classmethod
    def repair_folder(
        cls,
        path: str | os.PathLike[str] | Storage,
        foreign: str | None = None,
        *,
        lost: str | None = None,
        dry_run: bool = False,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
        progress: Progress | None = None,
    ) -> RepairResult:
        """As ``open(path).repair(...)``, also for a table that cannot be opened since manifests are lost or damaged.

        Arguments are those of ``open`` and ``repair``, and errors too.

        Raises:
            NoSuchTableError: the folder holds no table.
            LogDamagedError: nothing tells what a lost manifest said; it names what to restore.
        """
        options = RepairOptions.checked(foreign=foreign, lost=lost, dry_run=dry_run)
        try:
            table = cls.open(path, storage_options=storage_options, settings=settings, spark=spark, progress=progress)
        except LogDamagedError as error:
            chosen = process_settings(settings, spark=spark, progress=progress)
            repaired = repair_manifests(_storage(path, storage_options, spark, chosen), chosen, options, error)
            return repaired[0] if isinstance(repaired, tuple) else repaired
        return table.repair(foreign, lost=lost, dry_run=dry_run)

    @classmethod
    def verify_folder(
        cls,
        path: str | os.PathLike[str] | Storage,
        since: int | None = None,
        *,
        storage_options: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        spark: SparkSession | None = None,
    ) -> VerifyResult:
        """As ``open(path).verify(since)``, also for a table that is too damaged to be opened.

        Then each manifest, Delta entry and file is checked for itself, and the result names the damaged ones; the base
        is not compared with the log. Arguments are those of ``open``.

        Raises:
            NoSuchTableError: the folder holds no table.
        """
        try:
            table = cls.open(path, storage_options=storage_options, settings=settings, spark=spark)
        except (DamagedError, NoSuchTableError, UnsupportedTableError) as error:
            chosen = process_settings(settings, spark=spark, progress=None)
            return verify_damaged(_storage(path, storage_options, spark, chosen), chosen, error)
        return table.verify(since)


def _is_s3(path: Any) -> bool:
    return isinstance(path, str) and path.startswith(("s3://", "s3a://"))


def _storage(path: str | os.PathLike[str] | Storage, options: Access | None, spark: Any, settings: Settings) -> Storage:
    if not isinstance(path, str | os.PathLike):
        if not hasattr(path, "put_if_absent"):
            raise OptionError(f"path is a folder or URL, and {path!r} was given", option="path")
        return path
    url = os.fspath(path)
    if options is None and _is_s3(url):
        options = session_access(spark if spark is not None else active_session())
    return open_storage(url, options=options, seconds=settings.store_seconds)
