"""Work beside a commit on which no reader depends: hint, merge lease, checkpoint, compaction.

After a commit, an error of later work must not reach the caller, who would take the commit for refused and send the
batch again. So no exception of such work leaves this module, except KeyboardInterrupt, SystemExit and GeneratorExit.
Failures become part of the operation's result and one log record at level WARNING. They are not Python warnings,
since under ``-W error`` a warning is an exception.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from andes_spark.model.results import AdvisoryFailure
from andes_spark.storage.scheduler import Scheduler

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


class Advisory:
    """The advisory steps of one operation.

    Args:
        table: URL of the table, for messages.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._failures: list[AdvisoryFailure] = []
        self._reported = False
        self._afterwards: list[Callable[[], None]] = []

    @property
    def failures(self) -> tuple[AdvisoryFailure, ...]:
        """The steps that failed, in order; empty if none did."""
        return tuple(self._failures)

    def run(self, step: str, function: Callable[[], T], *, consequence: str) -> T | None:
        """Run an advisory step; return its result, or None if it failed.

        Args:
            step: a gerund for messages, such as "writing the hint".
            function: the step.
            consequence: consequence of a failure, for messages.
        """
        try:
            return function()
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            # Panics of native libraries are not subclasses of Exception.
            self._failures.append(AdvisoryFailure(step, error, consequence))
            _LOGGER.debug("%s: %s failed", self._table, step, exc_info=error)
            return None

    def later(self, scheduler: Scheduler, step: str, function: Callable[[], object], *, consequence: str) -> None:
        """Run an advisory step at the end of the operation; on a remote store, after the caller has its result.

        A failure after :meth:`report` is logged as a separate warning.
        """

        def work() -> None:
            before = len(self._failures)
            self.run(step, function, consequence=consequence)
            if self._reported and len(self._failures) > before:
                self._warn(self._failures[before:], "the commit is not affected")

        self._afterwards.append(partial(scheduler.later, step, work))

    def report(self, committed: str) -> tuple[AdvisoryFailure, ...]:
        """Start the steps given to :meth:`later`, and log all failures as one warning.

        Args:
            committed: the committed result, for messages, such as "the batch is applied".
        """
        afterwards, self._afterwards = self._afterwards, []
        for begin in afterwards:
            begin()
        self._reported = True
        failures = self.failures
        if failures:
            self._warn(failures, committed)
        return failures

    def _warn(self, failures: Sequence[AdvisoryFailure], committed: str) -> None:
        parts = [f"{failure.step} failed: {failure.error}; {failure.consequence}" for failure in failures]
        _LOGGER.warning("%s: %s, but %s", self._table, committed, "; and ".join(parts))
