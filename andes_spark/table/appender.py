"""Appends together: many small batches, of any threads, committed as few versions."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import chain
from types import TracebackType
from typing import Any, Self

from andes_spark.batch.parts import Part, check_quarantine
from andes_spark.batch.write import ArrowRows, PartWriter
from andes_spark.errors import AppendError, OptionError
from andes_spark.inputs.rows import is_spark
from andes_spark.model.mod import BatchId
from andes_spark.model.options import AppenderOptions, ApplyOptions
from andes_spark.model.results import ApplyResult
from andes_spark.table.about import about
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.append import PreparedBatch, append_batches
from andes_spark.table.verbs.apply import apply_batch
from andes_spark.table.verbs.batch_plan import arrow_rows, plan_batch

_MOST_BATCHES = 1_000
"""Maximum number of batches in a version, since its manifest lists them."""
_NOT_OF_BATCH = ("merge", "job")


class Appended(Future[ApplyResult]):
    """Future of a batch: it gives the result once the version is committed, or the error.

    ``batch_id`` is the id of the batch, if it has one.
    """

    batch_id: BatchId | None = None
    retrieved = False

    def result(self, timeout: float | None = None) -> ApplyResult:
        """Wait for the result of the batch, at most ``timeout`` seconds, and return it.

        Raises:
            AndesError: the error of the batch.
            TimeoutError: the batch is neither committed nor refused in this time.
        """
        try:
            return super().result(timeout)
        finally:
            self.retrieved = self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the result of the batch; return its error, None if it is applied."""
        error = super().exception(timeout)
        self.retrieved = True
        return error


@dataclass(frozen=True)
class _Waiting:
    """An accepted batch: small and prepared, or large and applied alone."""

    batch: PreparedBatch | tuple[Any, ApplyOptions]
    future: Appended
    accepted: float
    bytes: int


@dataclass
class _Queue:
    """Accepted batches in the order of arrival; guarded by ``changed``."""

    batches: deque[_Waiting] = field(default_factory=deque)
    bytes: int = 0
    closed: bool = False
    flushing: int = 0
    busy: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class Appender:
    """Collector that commits many small batches as few versions; created by ``ModTable.appender``. Thread-safe.

    A thread of its own commits the batches in groups, one version each: when the oldest batch has waited for
    ``max_delay`` seconds, or when the batches have ``max_bytes``.
    """

    def __init__(self, open_table: OpenTable, options: AppenderOptions) -> None:
        self._open_table = open_table
        self._options = options
        self._shape = open_table.shape()
        self._queue = _Queue()
        self._thread: threading.Thread | None = None
        self._failed: list[Appended] = []
        self._accepted = 0

    def __repr__(self) -> str:
        state = "closed" if self._queue.closed else f"{len(self._queue.batches)} batches waiting"
        return f"Appender({self._open_table.table!r}, {state})"

    def apply(self, mods: Any, **options: Any) -> Appended:
        """Accept a batch, and return a future of its result.

        The batch is checked and converted here, in the calling thread; its errors are raised here and do not affect
        other batches. It waits while ``max_bytes`` are waiting to be committed. A batch above ``max_bytes``, one with
        ``evolve_schema``, a backfill and a Spark DataFrame are committed alone, as a version of their own, in the order
        of arrival.

        Args:
            mods: rows, as for ``ModTable.apply``.
            options: options of ``ModTable.apply``, except ``merge`` and ``job``.

        Returns:
            A future, whose ``result()`` is the ``ApplyResult`` of the batch. All batches of a version share its
            ``version``, ``steps`` and ``merge``.

        Raises:
            OptionError: invalid options, or the appender is closed.
            SchemaMismatchError, BadModsError, SequenceTieError: as for ``ModTable.apply``.
        """
        table = self._open_table.table
        for name in _NOT_OF_BATCH:
            if name in options:
                raise OptionError(f"{table}: {name} is an option of appender(), not of one batch", option=name)
        with about(table):
            checked = ApplyOptions.of(options, where="apply")
            batch = self._prepared(mods, checked)
        size = batch.bytes if isinstance(batch, PreparedBatch) else self._options.max_bytes
        future = Appended()
        future.batch_id = checked.batch_id
        self._accept(_Waiting(batch, future, time.monotonic(), size))
        return future

    def flush(self) -> None:
        """Wait until all batches accepted so far are committed or have failed; failures are in their futures."""
        queue = self._queue
        with queue.changed:
            queue.flushing += 1
            queue.changed.notify_all()
            queue.changed.wait_for(lambda: not queue.batches and not queue.busy)
            queue.flushing -= 1

    def close(self) -> None:
        """Commit the accepted batches, and end.

        Raises:
            AppendError: batches failed and their errors were not read from their futures; ``failures``.
        """
        queue = self._queue
        with queue.changed:
            queue.closed = True
            queue.changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        failed, self._failed = [future for future in self._failed if not future.retrieved], []
        if not failed:
            return
        failures = tuple((future.batch_id, future.exception()) for future in failed)
        first = failures[0][1]
        raise AppendError(
            f"{self._open_table.table}: {len(failures)} of {self._accepted} batches failed; the first error: {first}. "
            "A batch whose error is retryable can be sent again with the same batch_id, which applies it once",
            table=self._open_table.table,
            failures=failures,
        ) from first

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AppendError as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def _prepared(self, mods: Any, options: ApplyOptions) -> PreparedBatch | tuple[Any, ApplyOptions]:
        """Prepare a small batch; a large one is returned as it is."""
        open_table, settings = self._open_table, self._open_table.settings
        plan = plan_batch(open_table.table, self._shape, options)
        if is_spark(mods) or options.evolve_schema is not None or options.backfill:
            return mods, options
        rows = arrow_rows(mods, self._shape, options, settings=settings, storage=open_table.storage)
        tables = iter(rows.tables)
        first = next(tables)
        second = next(tables, None)
        if second is not None or first.nbytes > self._options.max_bytes:
            rest = () if second is None else (second,)
            return ArrowRows(chain((first,), rest, tables), rows.conditions, rows.tie_break), options
        writer = PartWriter(
            open_table.storage, plan, 0, settings.target_file_bytes, settings.threads, options.max_quarantined
        )
        prepared = rows.prepared(first, writer)
        check_quarantine(Part.of_prepared(prepared), plan, allowed=options.max_quarantined)
        return PreparedBatch(options.batch_id, plan, prepared)

    def _accept(self, waiting: _Waiting) -> None:
        queue = self._queue
        with queue.changed:
            queue.changed.wait_for(lambda: queue.closed or not queue.batches or queue.bytes < self._options.max_bytes)
            if queue.closed:
                table = self._open_table.table
                raise OptionError(f"{table}: the appender is closed; the batch was not accepted", table=table)
            queue.batches.append(waiting)
            queue.bytes += waiting.bytes
            self._accepted += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="andes-appender", daemon=True)
                self._thread.start()
            queue.changed.notify_all()

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._commit(group)
            finally:
                with self._queue.changed:
                    self._queue.busy = False
                    self._queue.changed.notify_all()

    def _next_group(self) -> list[_Waiting]:
        """Wait until a group is due, and take it; empty after ``close``."""
        queue = self._queue
        with queue.changed:
            queue.changed.wait_for(lambda: queue.batches or queue.closed)
            while queue.batches and not self._is_due():
                queue.changed.wait(max(0.0, self._deadline() - time.monotonic()))
            group = list(self._take())
            queue.busy = bool(group)
            queue.changed.notify_all()
            return group

    def _deadline(self) -> float:
        return self._queue.batches[0].accepted + self._options.max_delay

    def _is_due(self) -> bool:
        queue = self._queue
        full = queue.bytes >= self._options.max_bytes or len(queue.batches) >= _MOST_BATCHES
        return full or queue.closed or queue.flushing > 0 or time.monotonic() >= self._deadline()

    def _take(self) -> Iterator[_Waiting]:
        """Take the oldest batches up to the limits; a large batch is taken alone."""
        queue, size, count = self._queue, 0, 0
        while queue.batches and count < _MOST_BATCHES:
            oldest = queue.batches[0]
            alone = not isinstance(oldest.batch, PreparedBatch)
            if count and (alone or size + oldest.bytes > self._options.max_bytes):
                return
            queue.batches.popleft()
            queue.bytes -= oldest.bytes
            size, count = size + oldest.bytes, count + 1
            yield oldest
            if alone:
                return

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            outcomes = self._outcomes(group)
        except BaseException as error:  # noqa: BLE001 - panics of native libraries too: each batch gets its outcome
            outcomes = [error] * len(group)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                self._failed.append(waiting.future)
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)

    def _outcomes(self, group: list[_Waiting]) -> list[ApplyResult | BaseException]:
        open_table, options = self._open_table, self._options
        alone = group[0].batch
        if isinstance(alone, PreparedBatch):
            batches = [waiting.batch for waiting in group if isinstance(waiting.batch, PreparedBatch)]
            outcomes = observe(
                open_table,
                "append",
                lambda: append_batches(open_table, batches, merge=options.merge, job=options.job),
            )
        else:
            mods, chosen = alone
            chosen = replace(chosen, merge=options.merge, job=options.job)
            outcomes = [observe(open_table, "apply", lambda: apply_batch(open_table, mods, chosen))]
        self._shape = open_table.shape()
        return outcomes
