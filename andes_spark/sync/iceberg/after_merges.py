"""Synchronizations of the face after merges: on a remote store they run while the caller goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from andes_spark.sync.iceberg.face import Face, Outcome
from andes_spark.sync.iceberg.metadata import Shown


class FaceAfterMerges:
    """The face of a table, kept up with its merges. Thread-safe.

    Attributes:
        paused: whether merges show nothing for now.
        failure: description of the last failure; None if the last synchronization succeeded.

    Args:
        face: the face.
        clock: clock, in milliseconds since 1970.
        attempts: number of commits that other writers may win.
    """

    def __init__(self, face: Face, clock: Callable[[], int], attempts: int) -> None:
        self._face = face
        self._clock = clock
        self._attempts = attempts
        self._waiting: deque[Shown] = deque(maxlen=1)
        self.paused = False
        self.failure: str | None = None

    def begin(self, shown: Shown) -> Callable[[], None]:
        """Note the state after a merge; return the function that shows it.

        Merges may be faster than the function is called: it shows the newest state alone, and the others are left out.
        """
        self._waiting.append(shown)
        return self._catch_up

    def _catch_up(self) -> None:
        try:
            shown = self._waiting.popleft()
        except IndexError:
            return  # shown with a later merge
        try:
            self._face.synchronize(
                lambda: shown,
                format_version=None,
                now_ms=self._clock,
                attempts=self._attempts,
                after=self._finish,
                is_newest=False,
            )
        except Exception as error:
            self.failure = str(error)
            raise
        self.failure = None

    def _finish(self, outcome: Outcome) -> None:
        self._face.write_hint(outcome)
        if outcome.expired:
            self._face.delete_unnamed(outcome, self._clock())
