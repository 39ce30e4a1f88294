"""Scheduling of requests: beside the caller, after it, or now. All threads for requests are created here.

On a remote store a request costs a round trip, so independent requests run side by side (``ask``), advisory work
runs after the caller has its answer (``later``), and new objects are written while the caller continues (``begin``),
with a barrier before every object that may refer to them. A local store runs the same calls in the order in which
their results are needed, so that tests can step between any two requests.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, ParamSpec, Protocol, TypeVar

from andes_spark.errors import AndesError

A = TypeVar("A")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")

THREADS = 32
WINDOW = 64
"""Number of requests of a long sequence whose answers may be in memory at once."""
BYTES_UNDER_WAY = 64 * 1024 * 1024

logger = logging.getLogger(__name__)


class Asked(Protocol[T_co]):
    """Result of a request that may still be running."""

    def result(self) -> T_co:
        """Wait for the result and return it, or raise the error of the request. May be repeated."""


class Lazy(Generic[T]):
    """A call that is made when its result is first needed, once."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._answer: list[T] = []
        self._error: BaseException | None = None

    def result(self) -> T:
        """See ``Asked.result``."""
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

    def settle(self) -> None:
        """Make the call now; its error is raised by the result."""
        with contextlib.suppress(Exception):
            self.result()


class Scheduler(ABC):
    """Scheduler of the requests of one ``Storage`` object. Thread-safe."""

    @abstractmethod
    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """Start a request that does not depend on requests in progress.

        It must be safe beside them, and must not start others itself: all threads could then wait for requests
        without a thread.
        """

    @abstractmethod
    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """Start a write beside the writes of the caller, under the rules of :meth:`ask`; a local store does it now.

        An error is raised by the result alone.
        """

    @abstractmethod
    def later(self, work_name: str, function: Callable[[], object]) -> None:
        """Do advisory work after the caller has its answer: in order, one at a time, awaited at exit.

        A failure is logged as a warning and changes nothing else.

        Args:
            work_name: name of the work in the warning.
            function: the work.
        """

    def defer(self) -> None:  # noqa: B027  # a local store defers nothing
        """Let ``begin`` return at once from now on, on a remote store.

        Only for a process whose commits all use this object: a task reports its files to the driver when it ends, so
        they must be written by then.
        """

    @abstractmethod
    def begin(self, path: str, size: int, function: Callable[[], object]) -> None:
        """Write a new object while the caller continues, after ``defer``; before that, write it now.

        Args:
            path: path of the object, as for ``wait``.
            size: number of bytes kept in memory until it is written.
            function: writes it.
        """

    @abstractmethod
    def wait(self, path: str) -> None:
        """Wait until an object of ``begin`` exists; raise the error of its write."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until all objects of ``begin`` exist.

        Raises:
            AndesError: a write failed. Every barrier raises it again until ``forget``: nothing may be committed
                while an object that it might refer to is missing.
        """

    @abstractmethod
    def forget(self, paths: list[str]) -> None:
        """Wait for objects before they are deleted, and forget their errors."""

    @abstractmethod
    def settle(self) -> None:
        """Wait for all work of ``later``."""


def in_windows(
    scheduler: Scheduler, function: Callable[[A], T], items: Iterable[A], *, size: int = WINDOW
) -> Iterator[tuple[A, Asked[T]]]:
    """Request something of each item, at most ``size`` at a time; yield the items in order, with their answers."""
    answers: deque[tuple[A, Asked[T]]] = deque()
    for argument in items:
        answers.append((argument, scheduler.ask(function, argument)))
        if len(answers) == size:
            yield answers.popleft()
    yield from answers


class InlineScheduler(Scheduler):
    """Scheduler of a local store: everything runs in the caller's thread."""

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """See ``Scheduler.ask``: the request runs when its result is needed."""
        return Lazy(lambda: function(*args, **kwargs))

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """See ``Scheduler.start``."""
        call = Lazy(lambda: function(*args, **kwargs))
        call.settle()
        return call

    def later(self, work_name: str, function: Callable[[], object]) -> None:
        """See ``Scheduler.later``: the work is done at once."""
        run_advisory(work_name, function)

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
    """Scheduler of a remote store. Threads are created when they are first needed.

    At its exit the interpreter waits for all work in progress.

    Args:
        name: prefix of the names of its threads.
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

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Asked[T]:
        """See ``Scheduler.start``."""
        return self._pool().submit(function, *args, **kwargs)

    def later(self, work_name: str, function: Callable[[], object]) -> None:
        """See ``Scheduler.later``."""
        with self._lock:
            if self._after is None:
                self._after = ThreadPoolExecutor(1, f"{self._name}-later")
            self._after.submit(run_advisory, work_name, function)

    def begin(self, path: str, size: int, function: Callable[[], object]) -> None:
        """See ``Scheduler.begin``. Above a limit of bytes in progress it waits like a plain write."""
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


def run_advisory(work_name: str, function: Callable[[], object]) -> None:
    """Run work; log its failure as a warning."""
    try:
        function()
    except AndesError as error:
        logger.warning("%s failed: %s", work_name, error)
