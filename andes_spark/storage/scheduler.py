"""When requests run: beside the caller, after it, or now. The only place that makes threads for requests.

On a store that is far away a request costs a round trip, so what does not depend on each other is asked at once
(``ask``), what is advisory is done after the caller has its answer (``later``), and new objects are put while the
caller goes on (``begin``), with a barrier before everything that may refer to them. A store in this machine runs
the same calls in the order in which their results are needed, so that tests can step between any two requests.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, ParamSpec, Protocol, TypeVar

from andes_spark.errors import AndesError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")

THREADS = 32
BYTES_UNDER_WAY = 64 * 1024 * 1024

logger = logging.getLogger(__name__)


class Asked(Protocol[T_co]):
    """An answer that may not have come yet."""

    def result(self) -> T_co:
        """The answer; waits for it, and raises what the request raised. May be called again."""


class _Lazy(Generic[T]):
    """A request that runs when its answer is first needed."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._answer: list[T] = []
        self._error: BaseException | None = None

    def result(self) -> T:
        if self._function is not None:
            function, self._function = self._function, None
            try:
                self._answer.append(function())
            except BaseException as error:
                self._error = error
                raise
        if self._error is not None:
            raise self._error
        return self._answer[0]


class Scheduler(ABC):
    """When the requests of one ``Storage`` object run. Every method may be called by several threads."""

    @abstractmethod
    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """Begin a request that does not depend on others that are under way.

        It must be safe beside them, and must not ask for others itself: all threads could wait for requests that have
        none left.
        """

    @abstractmethod
    def later(self, what: str, function: Callable[[], object]) -> None:
        """Do advisory work after the caller has its answer: in order, one at a time, awaited at exit.

        A failure is logged as a warning and changes nothing else.

        Args:
            what: names the work in the warning.
            function: the work.
        """

    def defer(self) -> None:  # noqa: B027  # a store in this machine has nothing to put off
        """From now on ``begin`` does not wait, where the store is far away.

        For a process whose commits all go through this object. A task's files are named to the driver when the task
        ends, so they are written by then.
        """

    @abstractmethod
    def begin(self, path: str, size: int, function: Callable[[], object]) -> None:
        """Write a new object while the caller goes on, once ``defer`` was called; before that, now.

        Args:
            path: of the object; ``wait`` and ``barrier`` know it by this name.
            size: bytes that are kept in memory until it is written.
            function: writes it.
        """

    @abstractmethod
    def wait(self, path: str) -> None:
        """Wait until an object that was begun exists; raises what writing it raised."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until all objects that were begun exist.

        Raises:
            AndesError: writing one of them failed. It is raised again by every barrier until ``forget``: nothing may
                be committed while an object that it might refer to is missing.
        """

    @abstractmethod
    def forget(self, paths: list[str]) -> None:
        """Wait for objects that are about to be deleted, whatever became of them."""

    @abstractmethod
    def settle(self) -> None:
        """Wait for all work that was left for later."""


class InlineScheduler(Scheduler):
    """The scheduler of a store in this machine: everything runs in the caller's thread."""

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """See ``Scheduler.ask``: the request runs when its answer is needed."""
        return _Lazy(lambda: function(*args, **kwargs))

    def later(self, what: str, function: Callable[[], object]) -> None:
        """See ``Scheduler.later``: the work is done at once."""
        run_advisory(what, function)

    def begin(self, path: str, size: int, function: Callable[[], object]) -> None:
        """See ``Scheduler.begin``: the object is written at once."""
        function()

    def wait(self, path: str) -> None:
        """See ``Scheduler.wait``: nothing is under way."""

    def barrier(self) -> None:
        """See ``Scheduler.barrier``: nothing is under way."""

    def forget(self, paths: list[str]) -> None:
        """See ``Scheduler.forget``: nothing is under way."""

    def settle(self) -> None:
        """See ``Scheduler.settle``: nothing was left."""


class ThreadScheduler(Scheduler):
    """The scheduler of a store that is far away. Threads are made when they are first needed.

    The interpreter waits at its exit for everything that was begun.

    Args:
        name: begins the names of its threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._beside: ThreadPoolExecutor | None = None
        self._after: ThreadPoolExecutor | None = None
        self._begun: dict[str, Future[object]] = {}
        self._bytes = 0
        self._deferring = False

    def defer(self) -> None:
        """See ``Scheduler.defer``."""
        self._deferring = True

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """See ``Scheduler.ask``."""
        return self._pool().submit(function, *args, **kwargs)

    def later(self, what: str, function: Callable[[], object]) -> None:
        """See ``Scheduler.later``."""
        with self._lock:
            if self._after is None:
                self._after = ThreadPoolExecutor(1, f"{self._name}-later")
            self._after.submit(run_advisory, what, function)

    def begin(self, path: str, size: int, function: Callable[[], object]) -> None:
        """See ``Scheduler.begin``; above 64 MiB under way it waits like a plain write."""
        with self._lock:
            deferred = self._deferring and self._bytes + size <= BYTES_UNDER_WAY
            if deferred:
                self._bytes += size
        if not deferred:
            function()
            return
        future = self._pool().submit(function)
        with self._lock:
            self._begun[path] = future
        future.add_done_callback(lambda future: self._ended(path, size, future))

    def _ended(self, path: str, size: int, future: Future[object]) -> None:
        with self._lock:
            self._bytes -= size
            if future.exception() is None and self._begun.get(path) is future:
                del self._begun[path]

    def wait(self, path: str) -> None:
        """See ``Scheduler.wait``."""
        with self._lock:
            future = self._begun.get(path)
        if future is not None:
            future.result()

    def barrier(self) -> None:
        """See ``Scheduler.barrier``."""
        with self._lock:
            begun = list(self._begun.values())
        for future in begun:
            future.result()

    def forget(self, paths: list[str]) -> None:
        """See ``Scheduler.forget``."""
        for path in paths:
            with self._lock:
                future = self._begun.get(path)
            if future is not None:
                future.exception()
                with self._lock:
                    if self._begun.get(path) is future:
                        del self._begun[path]

    def settle(self) -> None:
        """See ``Scheduler.settle``."""
        with self._lock:
            waiting = None if self._after is None else self._after.submit(int)
        if waiting is not None:
            waiting.result()

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._beside is None:
                self._beside = ThreadPoolExecutor(THREADS, f"{self._name}-beside")
            return self._beside


def run_advisory(what: str, function: Callable[[], object]) -> None:
    """Do work whose failure is a warning in the log."""
    try:
        function()
    except AndesError as error:
        logger.warning("%s failed: %s", what, error)
