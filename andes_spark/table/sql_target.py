"""Delivery into a SQL database as a verb: the table as the source, and the outcome."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from andes_spark.errors import AndesError, ForeignWriteError, OptionError
from andes_spark.log.advisory import Advisory
from andes_spark.log.readable import check_readable
from andes_spark.model.display import Displayed, count_text, counts_text
from andes_spark.model.read_options import ChangesOptions, ReadOptions
from andes_spark.model.results import Step
from andes_spark.model.sync_options import SyncSqlOptions
from andes_spark.schema.versions import SchemaVersion
from andes_spark.storage.open import open_storage
from andes_spark.sync.outcomes import TargetOutcome, write_outcome
from andes_spark.sync.warehouse.delivery import Delivered, Delivery
from andes_spark.sync.warehouse.dialects import PostgreSql, TargetName
from andes_spark.sync.warehouse.loading import CopyFromS3, CopyStream, Loader
from andes_spark.sync.warehouse.redshift import Redshift
from andes_spark.sync.warehouse.session import Address, Session
from andes_spark.table.history.changes import changes
from andes_spark.table.open_table import OpenTable
from andes_spark.table.sessions import access_of
from andes_spark.table.verbs.read import scan

_DONE = {"load": "loaded", "reload": "loaded anew", "changes": "brought up to date", "none": "is up to date"}


@dataclass(frozen=True, repr=False)
class SqlSync(Displayed):
    """Result of a delivery, as ``ModTable.sync_sql`` returns it.

    Attributes:
        target: the database's address and the name of the table in it.
        action: ``load`` of all rows; ``reload`` of all rows in the place of those delivered before; ``changes``; or
            ``none`` if the target was up to date.
        version: version of the table that the target shows.
        from_version: version that it showed before; None before the first load.
        rows: rows of the target.
        inserted, updated, deleted: rows of a delivery of changes.
        added_columns: names of columns that the target gained.
        reason: why all rows were loaded anew.
        steps: time, requests and bytes of each step.
    """

    target: str
    action: str
    version: int
    from_version: int | None
    rows: int
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    added_columns: tuple[str, ...] = ()
    reason: str | None = None
    steps: tuple[Step, ...] = field(default=(), compare=False)

    def summary(self) -> str:
        """See ``Displayed``."""
        verb = _DONE[self.action]
        return f"{self.target}: {verb}, shows version {self.version}, {count_text(self.rows, 'rows')}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        counts = {"inserted": self.inserted, "updated": self.updated, "deleted": self.deleted}
        details = {
            "target": self.target,
            "delivery": _DONE[self.action],
            "shows version": str(self.version),
            "rows": f"{self.rows:,}",
        }
        if self.action == "changes":
            details["changes"] = counts_text(counts, none="none")
            details["from version"] = str(self.from_version)
        if self.added_columns:
            details["columns added"] = ", ".join(self.added_columns)
        if self.reason is not None:
            details["reason"] = self.reason
        return details


class _Source:
    """A version of an open table, as ``delivery.Source`` describes it."""

    def __init__(self, open_table: OpenTable) -> None:
        log = open_table.log
        self._open_table = open_table
        self.table_id = open_table.table_id
        self.version = log.refresh()
        self.epoch = log.manifest(self.version).epoch
        self.manifest = log.digest(self.version)
        self._shape = open_table.shape_at(self.version)
        self.schema: SchemaVersion = self._shape.versions.current
        self.key: Sequence[str] = self._shape.columns.key

    def check(self, version: int, manifest: str) -> None:
        """See ``delivery.Source``."""
        log = self._open_table.log
        check_readable(log, version)
        if log.digest(version) != manifest:
            problem = f"its cursor is at another version {version} than the one of this table"
            raise ForeignWriteError(
                f"{log.table}: {problem}: the folder was replaced by a copy that went another way. Nothing was "
                "delivered; load all rows anew with reload",
                problems=(problem,),
            )

    def ids_at(self, version: int) -> Collection[int]:
        """See ``delivery.Source``."""
        return {node.field_id for node in self._open_table.shape_at(version).versions.current.nodes}

    def rows(self) -> pa.RecordBatchReader:
        """See ``delivery.Source``."""
        return scan(self._open_table, ReadOptions(version=self.version))

    def changes(self, version: int, columns: Sequence[str]) -> pa.RecordBatchReader:
        """See ``delivery.Source``."""
        options = ChangesOptions.checked(from_version=version, to_version=self.version, columns=tuple(columns))
        return changes(self._open_table, options)


def sync_sql(open_table: OpenTable, url: str, name: str, options: SyncSqlOptions) -> SqlSync:
    """Deliver a table into a database; see ``ModTable.sync_sql``."""
    address = Address.parse(url)
    dialect, loader = _route(open_table, address, TargetName.parse(name), options)
    target = f"{address.shown} {dialect.name}"
    steps = open_table.begin("sync_sql", open_table.log.head)
    advisory = Advisory(open_table.table)
    try:
        with steps.step("deliver"):
            delivery = Delivery(
                lambda: Session(address),
                dialect,
                lambda: _Source(open_table),
                loader,
                policy=options.on_schema_change,
                reload=options.reload,
                count_rows=options.count_rows,
            )
            delivered = delivery.run(open_table.settings.commit_attempts)
    except AndesError as error:
        _note(open_table, advisory, target, error=error)
        raise
    _note(open_table, advisory, target, delivered=delivered)
    return _result(target, delivered, steps.done)


def _route(
    open_table: OpenTable, address: Address, name: TargetName, options: SyncSqlOptions
) -> tuple[PostgreSql, Loader]:
    """Return the statements of a database, and the way of rows into it."""
    if address.scheme == "postgresql":
        for option in ("stage", "iam_role"):
            if getattr(options, option) is not None:
                raise OptionError(f"{option} is for Redshift: rows go to PostgreSQL by the connection", option=option)
        dialect = PostgreSql(name)
        return dialect, CopyStream(f"{dialect.product} {name}")
    if options.stage is None or not options.stage.startswith("s3://") or options.iam_role is None:
        raise OptionError(
            "Redshift loads files from S3: give a folder as stage, such as s3://bucket/stage, and the iam_role that "
            "reads it",
            option="iam_role" if options.stage else "stage",
        )
    storage = open_storage(options.stage, options=access_of(open_table.storage))
    return Redshift(name), CopyFromS3(f"Redshift {name}", storage, options.iam_role)


def _result(target: str, delivered: Delivered, steps: tuple[Step, ...]) -> SqlSync:
    cursor = delivered.cursor
    return SqlSync(
        target,
        delivered.action,
        cursor.version,
        delivered.from_version,
        cursor.rows,
        delivered.inserted,
        delivered.updated,
        delivered.deleted,
        delivered.added,
        delivered.reason,
        steps,
    )


def _note(
    open_table: OpenTable,
    advisory: Advisory,
    target: str,
    *,
    delivered: Delivered | None = None,
    error: AndesError | None = None,
) -> None:
    """Store the outcome for ``status``; a failure to do so is a record of the logger."""
    applied = None if delivered is None else delivered.cursor.version
    text = None if error is None else f"{type(error).__name__}: {error}"
    outcome = TargetOutcome(target, "rows", open_table.log.clock(), applied, text)
    advisory.run(
        f"noting the outcome of the delivery into {target}",
        lambda: write_outcome(open_table.storage, outcome),
        consequence="status shows the outcome before",
    )
    advisory.report("the delivery ended")
