"""Work beside a commit on which no reader depends: hint, merge lease, checkpoint, compaction.

The rule: once something is committed, nothing that follows may make it look refused, or the caller would send it
again. So no exception of such work leaves this module, whatever its class; the interpreter's own requests to
stop do. Failures become part of the operation's result, and one record of the logger at level WARNING. They are no
Python warnings, since under ``-W error`` a warning is an exception.
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
        table: URL, for messages.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._failures: list[AdvisoryFailure] = []
        self._reported = False
        self._afterwards: list[Callable[[], None]] = []

    @property
    def failures(self) -> tuple[AdvisoryFailure, ...]:
        """Steps that failed, in order."""
        return tuple(self._failures)

    def run(self, step: str, function: Callable[[], T], *, consequence: str) -> T | None:
        """Run an advisory step; return its result, or None if it failed.

        Args:
            step: a gerund for messages, such as "writing the hint".
            function: the step.
            consequence: what follows from a failure, for messages.
        """
        try:
            return function()
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            # Panics of native libraries are no Exception.
            self._failures.append(AdvisoryFailure(step, error, consequence))
            _LOGGER.debug("%s: %s failed", self._table, step, exc_info=error)
            return None

    def later(self, scheduler: Scheduler, step: str, function: Callable[[], object], *, consequence: str) -> None:
        """Run an advisory step at the end of the operation; once the caller has its answer, where the store is far.

        A failure that comes after :meth:`report` is one warning of its own.
        """

        def work() -> None:
            before = len(self._failures)
            self.run(step, function, consequence=consequence)
            if self._reported and len(self._failures) > before:
                self._warn(self._failures[before:], "what was committed stands")

        self._afterwards.append(partial(scheduler.later, step, work))

    def report(self, committed: str) -> tuple[AdvisoryFailure, ...]:
        """Begin what was left for later, and log all failures as one warning.

        Args:
            committed: what holds in spite of them, such as "the batch is applied".
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
