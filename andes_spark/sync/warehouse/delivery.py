"""A delivery: net changes, or all rows, in one transaction that also moves the cursor of the target."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.errors import (
    CommitConflictError,
    ForeignWriteError,
    SchemaMismatchError,
    StorageError,
    VersionExpiredError,
)
from andes_spark.schema.versions import SchemaVersion
from andes_spark.sync.warehouse.columns import (
    ColumnPlan,
    SchemaPolicy,
    TargetColumn,
    changed_by_others,
    check_present,
    column_plan,
    first_plan,
    from_text,
    to_text,
)
from andes_spark.sync.warehouse.dialects import CHANGE, PostgreSql
from andes_spark.sync.warehouse.loading import Loader
from andes_spark.sync.warehouse.session import UNIQUE_VIOLATION, Session

_NEW_KEYS = "it has rows of keys that are new in the table"
_LETTERS = {"insert": "I", "update_postimage": "U", "delete": "D"}


@dataclass(frozen=True)
class Cursor:
    """What a target was last brought to.

    Attributes:
        table_id: id of the table.
        generation: number of times that all rows were loaded.
        epoch: epoch of the version.
        version: version of the table.
        manifest: SHA-256 of the manifest of the version.
        rows: rows of the target.
        columns: columns of the target, as delivered.
    """

    table_id: str
    generation: int
    epoch: int
    version: int
    manifest: str
    rows: int
    columns: tuple[TargetColumn, ...]


class Source(Protocol):
    """The table, at the version that is to be delivered."""

    table_id: str
    version: int
    epoch: int
    manifest: str
    schema: SchemaVersion
    key: Sequence[str]

    def check(self, version: int, manifest: str) -> None:
        """Check that the changes since a version can be read and that it is a version of this table.

        Raises:
            ForeignWriteError: the table has no such version.
            VersionExpiredError: it is not kept any more.
        """

    def ids_at(self, version: int) -> Collection[int]:
        """Return the field ids of the columns at a version."""

    def rows(self) -> Iterable[pa.RecordBatch]:
        """Return all rows."""

    def changes(self, version: int, columns: Sequence[str]) -> Iterable[pa.RecordBatch]:
        """Return the net changes since a version, with ``_change_type``."""


@dataclass(frozen=True)
class Delivered:
    """What a delivery did.

    Attributes:
        action: ``load``, ``changes``, ``reload``, or ``none`` if the target was up to date.
        cursor: the cursor after it.
        from_version: version of the target before; None before the first load.
        inserted, updated, deleted: rows of a delivery of changes.
        added: names of columns that were added.
        reason: why all rows were loaded anew.
    """

    action: Literal["load", "changes", "reload", "none"]
    cursor: Cursor
    from_version: int | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    added: tuple[str, ...] = ()
    reason: str | None = None


class Delivery:
    """A delivery of a table into a target.

    Attributes:
        dialect: statements of the database.
        source: the table, as of its newest version when the cursor was read.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        dialect: PostgreSql,
        pin: Callable[[], Source],
        loader: Loader,
        *,
        policy: SchemaPolicy = "additive",
        reload: bool = False,
        count_rows: bool = False,
    ) -> None:
        self.dialect = dialect
        self._pin = pin
        self._loader = loader
        self._connect = connect
        self._policy = policy
        self._reload = reload
        self._count_rows = count_rows
        self._target = f"{dialect.product} {dialect.name}"
        self._take_source()

    def _take_source(self) -> None:
        """Pin the newest version; refuse columns that the database cannot hold."""
        self.source = self._pin()
        self._columns = self.dialect.columns(self.source.schema)
        self.dialect.check_key(self.source.schema.schema, self.source.key)

    def run(self, attempts: int) -> Delivered:
        """Deliver; other deliveries may be first ``attempts`` times.

        Raises:
            CommitConflictError: they were first each time.
            ForeignWriteError: the target or its cursor are not what this table's deliveries left.
            SchemaMismatchError: columns or values that cannot be delivered.
            AccessDeniedError, StoreUnavailableError, StorageError, CommitUnknownError: as the database says.
        """
        reason = "reload was asked for" if self._reload else None
        conflict: CommitConflictError | None = None
        for _ in range(attempts):
            try:
                with self._connect() as session:
                    return self._deliver(session, reason)
            except VersionExpiredError as error:
                reason = error.message
            except CommitConflictError as error:
                conflict = error
        raise CommitConflictError(
            f"{self._target}: other deliveries were first {attempts} times; deliver again"
        ) from conflict

    def _deliver(self, session: Session, reason: str | None) -> Delivered:
        self._create_cursors(session)
        session.execute("begin", self.dialect.begin)
        cursor, present = self._read(session)
        # Not before: the cursor of another delivery that just ended would be ahead of it.
        self._take_source()
        if cursor is None:
            if present:
                raise ForeignWriteError(
                    f"{self._target} exists, and no delivery of this library has made it: it is left as it is. Choose "
                    "another name, or drop it",
                    problems=("the table exists without a cursor",),
                )
            return self._load(session, None, exists=False, reason=None)
        self._check_owner(cursor)
        if reason is not None:
            return self._load(session, cursor, exists=bool(present), reason=reason)
        self.source.check(cursor.version, cursor.manifest)
        check_present(self._target, cursor.columns, present, self.dialect.folded)
        if self._count_rows:
            self._check_count(session, cursor.rows)
        if cursor.version == self.source.version:
            return Delivered("none", cursor, cursor.version)
        return self._apply_changes(session, cursor)

    def _create_cursors(self, session: Session) -> None:
        """Create the table of the cursors; of two sessions that do so at once, one may fail."""
        try:
            session.execute("create cursors", self.dialect.create_cursors())
        except StorageError as error:
            if error.code != UNIQUE_VIOLATION:
                raise
            raise CommitConflictError(error.message) from None

    def _read(self, session: Session) -> tuple[Cursor | None, dict[str, str]]:
        name = self.dialect.name
        answer = session.execute("read cursor", self.dialect.read_cursor(), target=self.dialect.folded(name.table))
        names: dict[str, Any] = {
            "schema": self.dialect.folded(name.schema),
            "relation": self.dialect.folded(name.table),
        }
        columns = session.execute("read columns", self.dialect.read_columns(), **names).rows
        present = {str(column): str(kind) for column, kind in columns}
        if not answer.rows:
            return None, present
        table_id, generation, epoch, version, manifest, rows, text = answer.rows[0]
        try:
            delivered = from_text(text)
        except (TypeError, ValueError):
            raise changed_by_others(self._target, ["its cursor names no columns"]) from None
        return Cursor(table_id, generation, epoch, version, manifest, rows, delivered), present

    def _check_owner(self, cursor: Cursor) -> None:
        problem = None
        if cursor.table_id != self.source.table_id:
            problem = f"it shows the table with id {cursor.table_id}, and this one has {self.source.table_id}"
        elif self._reload:
            return
        elif cursor.version > self.source.version:
            problem = f"its cursor is at version {cursor.version}, and the table's newest is {self.source.version}"
        elif cursor.epoch > self.source.epoch:
            problem = f"its cursor is at epoch {cursor.epoch}, and the table is at {self.source.epoch}"
        if problem is not None:
            raise ForeignWriteError(
                f"{self._target} is left as it is: {problem}. Deliver the table that it shows, or choose another name"
                + ("" if cursor.table_id != self.source.table_id else "; reload replaces its rows"),
                problems=(problem,),
            )

    def _check_count(self, session: Session, expected: int) -> None:
        rows = session.execute("count target", self.dialect.count(self.dialect.target)).rows[0][0]
        if rows != expected:
            raise changed_by_others(self._target, [f"it has {rows:,} rows, and {expected:,} were delivered"])

    # All rows

    def _load(self, session: Session, cursor: Cursor | None, *, exists: bool, reason: str | None) -> Delivered:
        """Load a shadow, count it, and swap it in."""
        dialect, source = self.dialect, self.source
        plan = first_plan(self._columns)
        shadow = f"_andes_{secrets.token_hex(8)}"
        sent: Counter[str] = Counter()
        session.execute("create shadow", dialect.create_table(shadow, plan.delivered, source.key))
        batches = _counted(source.rows(), sent)
        self._loader.load(session, "load shadow", dialect.in_schema(shadow), plan.delivered, batches)
        add_key = dialect.add_key(shadow, source.key)
        if add_key is not None:
            session.execute("add key", add_key)
        count = session.execute("count shadow", dialect.count(dialect.in_schema(shadow))).rows[0][0]
        if count != sent["rows"]:
            raise StorageError(
                f"{self._target}: {sent['rows']:,} rows were sent, and {count:,} arrived; nothing was delivered"
            )
        moved = self._move(session, cursor, plan, count, generation=cursor.generation + 1 if cursor else 1)
        if exists:
            session.execute("drop target", dialect.drop())
        session.execute("swap", dialect.rename(shadow))
        session.execute("commit", "COMMIT")
        return Delivered(
            "load" if cursor is None else "reload", moved, None if cursor is None else cursor.version, reason=reason
        )

    # Changes

    def _apply_changes(self, session: Session, cursor: Cursor) -> Delivered:
        dialect = self.dialect
        plan = column_plan(
            self._target,
            cursor.columns,
            self._columns,
            ids_before=self.source.ids_at(cursor.version),
            policy=self._policy,
        )
        names = [column.name for column in plan.delivered]
        if plan.retyped and not dialect.retypes:
            raise SchemaMismatchError(
                f"{self._target}: {plan.retyped[0].name} is {plan.retyped[0].type} now, and {dialect.product} cannot "
                "widen a column within a transaction: load all rows anew with reload",
                column=plan.retyped[0].name,
            )
        sent: Counter[str] = Counter()
        session.execute("create stage", dialect.create_stage(plan.delivered))
        batches = _lettered(self.source.changes(cursor.version, names), sent)
        self._loader.load(session, "load stage", dialect.stage, plan.delivered, batches, extra=(CHANGE,))
        analyze = dialect.analyze()
        if analyze is not None:
            session.execute("analyze stage", analyze)
        moved = self._move(session, cursor, plan, cursor.rows + sent["I"] - sent["D"], generation=cursor.generation)
        self._alter(session, plan)
        self._apply_stage(session, plan, sent)
        session.execute("commit", "COMMIT")
        return Delivered(
            "changes",
            moved,
            cursor.version,
            inserted=sent["I"],
            updated=sent["U"],
            deleted=sent["D"],
            added=tuple(column.name for column in plan.added),
        )

    def _alter(self, session: Session, plan: ColumnPlan) -> None:
        for column in plan.added:
            session.execute("add column", self.dialect.add_column(column))
        for column in plan.retyped:
            session.execute("widen column", self.dialect.retype(column))

    def _apply_stage(self, session: Session, plan: ColumnPlan, sent: Counter[str]) -> None:
        """Apply the stage; a key that is there and should not be, or the other way round, was changed by others."""
        for statement in self.dialect.apply(plan.delivered, self.source.key):
            rows = sum(sent[change] for change in statement.changes)
            if rows == 0:
                continue
            try:
                answer = session.execute(statement.step, statement.sql)
            except StorageError as error:
                if error.code != UNIQUE_VIOLATION:
                    raise
                raise changed_by_others(self._target, [_NEW_KEYS]) from None
            count = answer.rows[0][0] if statement.answers else answer.count
            if statement.meets_none and count:
                raise changed_by_others(self._target, [_NEW_KEYS])
            if statement.counts and not statement.meets_none and count != rows:
                raise changed_by_others(
                    self._target, [f"{statement.step} met {count:,} rows, and {rows:,} were delivered before"]
                )

    def _move(self, session: Session, cursor: Cursor | None, plan: ColumnPlan, rows: int, *, generation: int) -> Cursor:
        """Set or move the cursor, unless another delivery has: the row stays locked until the transaction ends."""
        source = self.source
        moved = Cursor(source.table_id, generation, source.epoch, source.version, source.manifest, rows, plan.recorded)
        values: dict[str, Any] = {
            "target": self.dialect.folded(self.dialect.name.table),
            "table_id": moved.table_id,
            "generation": generation,
            "epoch": moved.epoch,
            "version": moved.version,
            "manifest": moved.manifest,
            "row_count": rows,
            "columns": to_text(plan.recorded),
        }
        if cursor is None:
            try:
                session.execute("set cursor", self.dialect.insert_cursor(), **values)
            except StorageError as error:
                if error.code != UNIQUE_VIOLATION:
                    raise
                raise _overtaken(self._target) from None
            return moved
        old: dict[str, Any] = {
            "old_generation": cursor.generation,
            "old_version": cursor.version,
            "old_manifest": cursor.manifest,
        }
        if session.execute("move cursor", self.dialect.move_cursor(), **values, **old).count != 1:
            raise _overtaken(self._target)
        return moved


def _overtaken(target: str) -> CommitConflictError:
    return CommitConflictError(f"{target}: another delivery moved the cursor first; nothing was delivered")


def _counted(batches: Iterable[pa.RecordBatch], sent: Counter[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        sent["rows"] += batch.num_rows
        yield batch


def _lettered(batches: Iterable[pa.RecordBatch], sent: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Yield changes with the letter of each, and count them by it."""
    kinds, letters = list(_LETTERS), pa.array(list(_LETTERS.values()))
    for batch in batches:
        kind = batch.column("_change_type").cast(pa.string())
        change = letters.take(pc.index_in(kind, pa.array(kinds)))
        sent.update({row["values"]: row["counts"] for row in change.value_counts().to_pylist()})
        yield batch.append_column(CHANGE, change)
