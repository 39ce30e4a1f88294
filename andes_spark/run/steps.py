"""Steps of an operation: names, measurements and reports of progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from andes_spark.model.results import Step
from andes_spark.storage.interface import Storage

_LOGGER = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Called with the name of each step as it begins."""


class Steps:
    """Collector of the steps of one operation.

    Args:
        storage: storage that counts the requests.
        progress: function called with the name of each step as it begins.
        spark_jobs: function that returns the number of Spark jobs so far; None without Spark.
    """

    def __init__(
        self,
        storage: Storage,
        progress: Progress | None = None,
        spark_jobs: Callable[[], int] | None = None,
    ) -> None:
        self._storage = storage
        self._progress = progress
        self._spark_jobs = spark_jobs or (lambda: 0)
        self._done: dict[str, Step] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a block of code as a step; a block that raises is not recorded."""
        if self._progress is not None:
            self._progress(name)
        begun, before, jobs = time.perf_counter(), self._storage.counts.snapshot(), self._spark_jobs()
        yield
        spent = self._storage.counts.minus(before)
        step = Step(
            name,
            time.perf_counter() - begun,
            requests=spent.requests,
            bytes_read=spent.bytes_read,
            bytes_written=spent.bytes_written,
            sync_seconds=spent.sync_seconds,
            spark_jobs=self._spark_jobs() - jobs,
        )
        _LOGGER.debug("%s: %s: %.3f s, %d requests", self._storage.url, name, step.seconds, step.requests)
        earlier = self._done.get(name)
        self._done[name] = step if earlier is None else earlier.plus(step)

    @property
    def done(self) -> tuple[Step, ...]:
        """Completed steps, by their first start; repeated steps are added up."""
        return tuple(self._done.values())
