"""Where the context runs its parts: threads of this process, or something handed in that maps over a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Executor(Protocol):
    """Maps a function over parts. Function and parts must pickle where ``distributed`` is true.

    Where ``distributed`` is true, work above the byte budget is better off there.
    """

    @property
    def distributed(self) -> bool:
        """Whether parts run in other processes."""

    @property
    def slots(self) -> int:
        """Parts that run at the same time."""

    def map(self, function: Callable[[A], B], parts: Iterable[A], *, step: str) -> list[B]:
        """Results in the order of ``parts``; the first error ends it. ``step`` names the work to a person."""


class LocalExecutor:
    """Threads of the calling process; one part at a time while each may fill the byte budget."""

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
    """Results in the order of ``parts``, of which at most ``slots`` are under way or wait to be taken."""
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
