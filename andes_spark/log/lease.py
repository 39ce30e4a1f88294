"""The merge lease: a note with the owner of a running merge, and the end of the last one.

The lease is advisory. It keeps other writers from doing the same merge at the same time. No commit depends on it, and
two merges that begin at the same time may both hold it. The owner renews it during the merge and clears it at the end.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from typing import ClassVar

import msgspec

from andes_spark.errors import AndesError
from andes_spark.log.clock import TOLERANCE_MS
from andes_spark.model.documents import is_sealed, seal
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked

LEASE_PATH = "_andes/merging.json"
LEASE_MS = 2 * 60 * 1000
RENEWALS = 4
"""Number of renewals within the time of one lease."""

_LOGGER = logging.getLogger(__name__)


class MergeNote(msgspec.Struct, frozen=True):
    """Content of the lease's file; its last member is a checksum, since readers act on it.

    Attributes:
        owner: host, process and random id of the running merge; None if none is running.
        until: end of its lease, in milliseconds since 1970.
        delta_version: Delta version of the last completed merge.
        commit_id: commit id of that merge's Delta entry.
        applied: newest version of the log that it merged.
        newest: newest Delta version known to its writer.
        checkpoint: version of a Delta checkpoint in one file; -1 if there was none, and the entries suffice; None if
            neither is known.
    """

    owner: str | None = None
    until: int | None = None
    delta_version: int | None = None
    commit_id: str | None = None
    applied: int | None = None
    newest: int | None = None
    checkpoint: int | None = None


def read_note(storage: Storage) -> MergeNote:
    """Return the stored note; an empty one if it is missing or not as it was written."""
    data = storage.find(LEASE_PATH)
    if data is None or not is_sealed(data):
        return MergeNote()
    try:
        return msgspec.json.decode(data, type=MergeNote)
    except msgspec.DecodeError:
        return MergeNote()


class MergeLease:
    """The lease of one merge.

    Args:
        storage: the table's folder.
        clock: milliseconds since 1970.
        lease_ms: time after which others may take a lease that was not renewed, whatever the clock of its owner says.
    """

    _running: ClassVar[set[str]] = set()
    """Owners in this process that hold a lease: the note of an owner that failed to release it counts for nothing."""

    def __init__(self, storage: Storage, clock: Callable[[], int], *, lease_ms: int = LEASE_MS) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
        self._storage = storage
        self._clock = clock
        self._lease_ms = lease_ms
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._answer: Asked[MergeNote] | None = None

    def expect(self, note: Asked[MergeNote]) -> None:
        """Set the note for :meth:`is_held_elsewhere`, which was requested in parallel with other objects."""
        self._answer = note

    def is_held_elsewhere(self) -> bool:
        """Return whether another merge is running: its lease has not ended, and its process lives, if on this host."""
        answer, self._answer = self._answer, None
        return self._is_held(read_note(self._storage) if answer is None else answer.result())

    def _is_held(self, note: MergeNote) -> bool:
        if note.owner is None or note.until is None:
            return False
        # An end further away was dated by a wrong clock: nobody may wait for it after its owner has died.
        if not 0 <= note.until - self._clock() <= self._lease_ms + TOLERANCE_MS:
            return False
        host, _, rest = note.owner.partition(":")
        process = rest.partition(":")[0]
        if host != socket.gethostname() or not process.isdigit():
            return True
        if int(process) == os.getpid():
            return note.owner != self.owner and note.owner in self._running
        return _is_alive(int(process))

    def acquire(self) -> bool:
        """Take the lease, and renew it in a background thread until it is released.

        Returns:
            False if another merge is running, as far as its note can be seen: the lease is not taken.
        """
        note = read_note(self._storage)
        if self._is_held(note):
            return False
        self._running.add(self.owner)
        self._put(note)
        # Two that read the same note have both written theirs: the last one counts.
        if read_note(self._storage).owner != self.owner:
            self._running.discard(self.owner)
            return False
        self._thread = threading.Thread(target=self._keep, name="andes-merge-lease", daemon=True)
        self._thread.start()
        return True

    def renew(self) -> bool:
        """Extend the lease; False if another merge has taken it, whose note is not changed."""
        note = read_note(self._storage)
        if note.owner != self.owner:
            return False
        self._put(note)
        return True

    def release(self, merged: MergeNote | None) -> None:
        """Release the lease; another owner's lease is not changed.

        Args:
            merged: end of this merge; None if it committed nothing.
        """
        self._stop.set()
        self._running.discard(self.owner)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        note = read_note(self._storage)
        is_own = note.owner in (None, self.owner)
        if merged is None and (note.owner is None or not is_own):
            return
        last = note if merged is None or (note.delta_version or -1) > (merged.delta_version or -1) else merged
        self._write(
            msgspec.structs.replace(last, owner=None if is_own else note.owner, until=None if is_own else note.until)
        )

    def _put(self, note: MergeNote) -> None:
        self._write(msgspec.structs.replace(note, owner=self.owner, until=self._clock() + self._lease_ms))

    def _write(self, note: MergeNote) -> None:
        self._storage.put(LEASE_PATH, seal(msgspec.json.encode(note)), sync=False)

    def _keep(self) -> None:
        """Renew until released, or until another merge has taken the lease."""
        while not self._stop.wait(self._lease_ms / RENEWALS / 1000):
            try:
                if not self.renew():
                    _LOGGER.info("%s: another merge has taken the lease", self._storage.url)
                    return
            except AndesError as error:
                _LOGGER.info("%s: the lease of the merge was not renewed: %s", self._storage.url, error)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
