"""An open table: folder, log, base and executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from andes_spark.base.files import TableShape
from andes_spark.base.hints import BaseHints, ask_hints
from andes_spark.base.key_folder import KeyFolder
from andes_spark.base.keys import KeyCache
from andes_spark.base.merge.merge import BaseContext
from andes_spark.base.snapshots import Base, BaseSnapshot
from andes_spark.law.columns import KeyColumns
from andes_spark.log.clock import StoreClock
from andes_spark.log.lease import MergeLease
from andes_spark.log.ledger import Ledger
from andes_spark.log.line import newest_base, taken_in
from andes_spark.log.log import Log, NewerVersions
from andes_spark.log.rolled import RollUps
from andes_spark.model.definition import Definition
from andes_spark.model.events import PendingVersion
from andes_spark.model.mod import BatchId
from andes_spark.model.options import Kind, require
from andes_spark.run.executor import Executor, LocalExecutor
from andes_spark.run.steps import Progress, Steps
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersion, SchemaVersions
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked, Lazy
from andes_spark.sync.iceberg.after_merges import FaceAfterMerges
from andes_spark.sync.iceberg.face import Face
from andes_spark.table.sessions import active_session, is_session

if TYPE_CHECKING:
    from andes_spark.spark.tasks import SparkExecutor


_ALONE = 8
"""Number of applies and merges after a lost race until a handle counts as the only writer again."""


@dataclass(frozen=True)
class BeforeCommit:
    """Requests whose answers are needed before a version is committed.

    Attributes:
        newer: versions of other writers.
        newest_merged: newest version above the head with a merge record; None if that was checked before, or the base
            will be read.
    """

    newer: NewerVersions
    newest_merged: Asked[int] | None


@dataclass(frozen=True)
class BeforeMerge:
    """Answers that a merge begins with.

    Attributes:
        lease: lease of this merge.
        held: whether another merge is running.
        base: newest state of the base.
    """

    lease: MergeLease
    held: Asked[bool]
    base: Asked[BaseSnapshot]


class OpenTable:
    """Shared state of the operations on an open table. Not thread-safe.

    Attributes:
        storage: the table's folder.
        settings: settings of the process.
        log: the log, with a cache.
        base: the base, with a cache.
        ledger: lookup of batch ids.
        roll_ups: roll-ups of the versions that this handle commits.
        face: the Iceberg face, with a cache.
        face_after_merges: its synchronization after merges, if the definition asks for it.
        progress: function called with the name of each step as it begins.
        pending_reads: number of reads of pending mods by this handle since its last merge.
        merges_wait: whether the merge policy deferred the last merge of this handle for its cost.
    """

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        log: Log,
        *,
        spark: Any = None,
        progress: Progress | None = None,
        hints: BaseHints | None = None,
    ) -> None:
        self.storage = storage
        storage.scheduler.defer()
        self.settings = settings
        self.log = log
        self.table_id = log.manifest(log.head).table_id
        self.base = Base(storage, self.table_id, log, hints)
        self.ledger = Ledger(log)
        self.roll_ups = RollUps(log, self.ledger)
        self.progress = progress
        self.face = Face(storage, self.table_id)
        self.face_after_merges = FaceAfterMerges(self.face, log.clock, settings.commit_attempts)
        self._keys = ((-1, -1), KeyCache(0))
        self.clock = StoreClock(log)
        self._alone_since = _ALONE
        self.merges_wait = False
        self.pending_reads = 0
        self._checked_log = False
        self._shape: tuple[Definition, TableShape] | None = None
        self._spark = spark
        self._executor: SparkExecutor | None = None
        self._verb, self._version = "open", log.head

    def copy(self) -> OpenTable:
        """Return another open table with the same log in memory, for another thread; sends no request."""
        copy = OpenTable(self.storage, self.settings, self.log.copy(), spark=self._spark)
        copy._checked_log, copy._keys = self._checked_log, self._keys
        return copy

    @property
    def contended(self) -> bool:
        """Whether another writer was first in one of the last applies or merges of this handle."""
        return self._alone_since < _ALONE

    def met_writer(self, met: bool) -> None:
        """Note whether another writer was first in an apply or a merge."""
        self._alone_since = 0 if met else self._alone_since + 1

    @classmethod
    def open(cls, storage: Storage, settings: Settings, *, spark: Any, progress: Progress | None) -> OpenTable:
        """Open an existing table.

        What leads to the base is requested beside the log, and read by the first verb that needs the base.

        Raises:
            NoSuchTableError, LogDamagedError, UnsupportedTableError: see ``Log.open``.
        """
        hints = ask_hints(storage)
        return cls(storage, settings, Log.open(storage, settings), spark=spark, progress=progress, hints=hints)

    @property
    def table(self) -> str:
        """The table's URL, for messages."""
        return self.storage.url

    @property
    def is_remote(self) -> bool:
        """Whether each request costs a round trip."""
        return self.table.startswith("s3")

    @property
    def definition(self) -> Definition:
        """Definition of the table, as of the newest version seen."""
        return self.log.definition

    @property
    def spark(self) -> Any:
        """The session of this table, else the active one, else None; no session is started."""
        return self._spark if self._spark is not None else active_session()

    def spark_executor(self, frame: Any = None) -> SparkExecutor:
        """Return Spark's tasks, on the session of a DataFrame, or the table's own.

        Raises:
            OptionError: there is no session, or it was stopped.
            MissingPackageError: pyspark or Delta is missing.
        """
        from andes_spark.spark.pairs import name_untested
        from andes_spark.spark.session import require_running, spark_for
        from andes_spark.spark.tasks import SparkExecutor

        session = frame.sparkSession if frame is not None else self.spark or spark_for()
        require_running(session)
        if self._executor is None or self._executor.spark is not session:
            name_untested(session)
            self._executor = SparkExecutor(session, self.table)
        self._executor.purpose = f"{self._verb} {self.table} v{self._version}"
        return self._executor

    def shape(self) -> TableShape:
        """Return the shape of the table, as of the newest version in memory."""
        return self.shape_at(self.log.head)

    def shape_at(self, version: int) -> TableShape:
        """Return the shape of the table as of a version."""
        definition = self.log.definition_at(version)
        if self._shape is None or self._shape[0] != definition:
            self._shape = (definition, shape_of(definition, self.table))
        return self._shape[1]

    def key_cache(self) -> KeyCache:
        """Return the cache of keys for the current schema and epoch."""
        line = (self.definition.schema_id, self.log.manifest(self.log.head).epoch)
        if self._keys[0] != line:
            folder, limit = self.settings.key_folder, self.settings.key_folder_bytes
            images = None if folder is None else KeyFolder(folder, limit)
            self._keys = (line, KeyCache(self.settings.key_cache_bytes, images))
        return self._keys[1]

    def executor(self) -> Executor:
        """Return the executor of parts: Spark's tasks if a session runs, else threads of this process.

        Work on a table in memory stays in this process: tasks cannot read it.
        """
        session = self.spark
        if self.storage.url.startswith("memory:") or session is None:
            return LocalExecutor(self.settings.threads)
        from andes_spark.spark.session import is_running

        if not is_running(session):
            return LocalExecutor(self.settings.threads)
        return self.spark_executor()

    def base_context(self, version: int | None = None) -> BaseContext:
        """Return the context of operations on the base, with the definition as of a version; the newest for None."""
        definition = self.definition if version is None else self.log.definition_at(version)
        return BaseContext(
            self.storage,
            self.settings,
            self.executor(),
            self.table_id,
            self.shape() if version is None else self.shape_at(version),
            definition,
            # The cache is for the newest schema.
            self.key_cache() if definition.schema_id == self.definition.schema_id else KeyCache(0),
        )

    def check_log(self) -> None:
        """Read the versions of other writers; refuse to append to a log that has lost versions of the base.

        Each merge writes its record before its Delta entry, so a listing of records suffices. The base is read only if
        there is a record for the version after the head.

        Raises:
            LogDamagedError: the log ends below the version that the base contains: a new version would repeat a number,
                and never be merged.
        """
        self.take_before_commit(self.ask_before_commit(None))

    def ask_before_commit(
        self, *batches: BatchId | None, look_ahead: bool = True, reads_base: bool = False
    ) -> BeforeCommit:
        """Start the requests that are needed before batches are committed, without waiting.

        Args:
            batches: ids of the batches; None for one without an id.
            look_ahead: see ``Log.ask_newer``.
            reads_base: whether the base will be read before the commit: it tells what it contains.
        """
        newest_merged = None if self._checked_log or reads_base else self.log.ask_newest_merged()
        newer = self.log.ask_newer(look_ahead=look_ahead)
        self.ledger.ask(*(batch for batch in batches if batch is not None))
        return BeforeCommit(newer, newest_merged)

    def ask_before_merge(self) -> BeforeMerge:
        """Start the first requests of a merge, without waiting."""
        lease = MergeLease(self.storage, self.log.clock)
        lease.expect(self.base.ask_with_note())
        return BeforeMerge(lease, Lazy(lease.is_held_elsewhere), Lazy(self.base.snapshot))

    def take_before_commit(self, requests: BeforeCommit, base: Callable[[], BaseSnapshot | None] = lambda: None) -> int:
        """Read the answers to :meth:`ask_before_commit`; return the head.

        Args:
            requests: the requests.
            base: function that reads the base; None if it cannot be read.

        Raises:
            LogDamagedError: see :meth:`check_log`, or another manifest is stored at the head.
        """
        head = self.log.take_newer(requests.newer)
        if not self._checked_log:
            self._check_not_lost(requests.newest_merged, base)
            self._checked_log = True
        return head

    def _check_not_lost(self, newest_merged: Asked[int] | None, read_base: Callable[[], BaseSnapshot | None]) -> None:
        base = read_base() if newest_merged is None else None
        if base is not None:
            self.log.check_not_lost(base.applied, lambda: base.applied)
            return
        # A base that cannot be read does not keep batches from being appended.
        listed = self.log.ask_newest_merged() if newest_merged is None else newest_merged
        self.log.check_not_lost(listed.result(), lambda: self.base.snapshot().applied)

    def evaluable(self, base: BaseSnapshot, version: int) -> tuple[BaseSnapshot, list[PendingVersion]]:
        """Return the state of the base to evaluate the versions up to ``version`` on, and the versions that it lacks.

        It is ``base``, unless that contains a version which was set aside later, or lacks one that takes a state in.
        """
        *_, start = self.starts(base, version)
        return start

    def starts(self, base: BaseSnapshot, version: int) -> Iterator[tuple[BaseSnapshot, list[PendingVersion]]]:
        """Yield the states that are looked at to find the one of :meth:`evaluable`, which is the last."""
        while True:
            versions = self.log.pending(base.applied, version)
            yield base, versions
            take_in = taken_in(versions)
            if take_in is not None:
                state = self.base.after_take_in(*take_in)
                yield state, self.log.pending(state.applied, version)
                return
            bound = newest_base(versions, base.applied)
            if bound is None:
                return
            base = self.base.older(bound)

    def forget_base(self) -> None:
        """Read the base anew: its documents were replaced."""
        self.base = Base(self.storage, self.table_id, self.log)

    def begin(self, verb: str, version: int) -> Steps:
        """Begin an operation: return its collector of steps, and name Spark jobs by it."""
        self._verb, self._version = verb, version
        return self.new_steps()

    def new_steps(self) -> Steps:
        """Create a collector of steps."""
        return Steps(self.storage, self.progress, self.spark_jobs)

    def spark_jobs(self) -> int:
        """Return the number of Spark jobs run so far for this table."""
        return 0 if self._executor is None else self._executor.jobs


def process_settings(settings: Settings | None, *, spark: Any, progress: Any) -> Settings:
    """Check the settings of the process; without settings, return the defaults.

    Raises:
        OptionError: an argument is of the wrong type; ``option``.
    """
    require("spark", spark, Kind("a SparkSession", is_session).or_none())
    require("progress", progress, Kind("a function that is called with text", callable).or_none())
    require("settings", settings, Kind("a Settings object", lambda value: isinstance(value, Settings)).or_none())
    return settings if settings is not None else Settings()


def shape_of(definition: Definition, table: str) -> TableShape:
    """Return the shape of a table with a definition."""
    versions = {
        schema.id: SchemaVersion(schema.id, Schema.from_json(schema.struct), schema.field_ids)
        for schema in definition.schemas
    }
    return TableShape(
        table=table,
        schema=versions[definition.schema_id].schema,
        partition_by=tuple(definition.partition_by),
        columns=KeyColumns(tuple(definition.primary_key), tuple(definition.sequence_by)),
        versions=SchemaVersions(versions, definition.schema_id),
    )
