"""Executors for the parts of an operation: threads of this process, or tasks of a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Executor(Protocol):
    """Map of a function over parts.

    If ``distributed`` is true, function and parts must pickle, and work above the byte budget runs there.
    """

    @property
    def distributed(self) -> bool:
        """Whether the parts run in other processes."""

    @property
    def slots(self) -> int:
        """Number of parts that run at the same time."""

    def map(self, function: Callable[[A], B], parts: Iterable[A], *, step: str) -> list[B]:
        """Return results in the order of ``parts``, or raise the first error; ``step`` is a name for people."""


class LocalExecutor:
    """Executor with threads of the calling process."""

    distributed = False

    def __init__(self, threads: int) -> None:
        self.slots = threads

    def map(self, function: Callable[[A], B], parts: Iterable[A], *, step: str) -> list[B]:
        """See :class:`Executor`."""
        work = list(parts)
        if len(work) < 2 or self.slots < 2:
            return [function(part) for part in work]
        with ThreadPoolExecutor(min(self.slots, len(work)), thread_name_prefix=step) as pool:
            return list(pool.map(function, work))


def ahead(function: Callable[[A], B], parts: Iterable[A], *, slots: int, step: str) -> Iterator[B]:
    """Yield results in the order of ``parts``; at most ``slots`` are computed ahead of the caller."""
    if slots < 2:
        yield from map(function, parts)
        return
    running: deque[Future[B]] = deque()
    with ThreadPoolExecutor(slots, thread_name_prefix=step) as pool:
        try:
            for part in parts:
                running.append(pool.submit(function, part))
                if len(running) == slots:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
