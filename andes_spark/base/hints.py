"""What leads to the newest state of the base: the note of the last merge, and a checkpoint of the Delta log."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from andes_spark.delta import checkpoints
from andes_spark.delta.hinted import HintedState
from andes_spark.delta.state import Commit
from andes_spark.log.lease import MergeNote, read_note
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked


@dataclass(frozen=True)
class BaseHints:
    """Requests for the objects that lead to the newest state; old answers cost requests, and change no result.

    Attributes:
        note: end of the last merge, with a checkpoint.
        begun: time of the requests by ``time.monotonic``.
    """

    note: Asked[MergeNote]
    begun: float


def ask_hints(storage: Storage) -> BaseHints:
    """Request what leads to the newest state of the base, without waiting."""
    return BaseHints(storage.scheduler.ask(_read_hints, storage), time.monotonic())


def _read_hints(storage: Storage) -> MergeNote:
    """The note; where it names no checkpoint, with that of ``_last_checkpoint``."""
    note = read_note(storage)
    if note.checkpoint is None:
        note = msgspec.structs.replace(note, checkpoint=checkpoints.read_hint(storage))
    return note


@dataclass(frozen=True)
class BegunState:
    """A first read of the state under way, and the note that led to it."""

    note: MergeNote
    state: HintedState


@dataclass(frozen=True)
class NewerAnswers:
    """Answers under way: the entry after a version, and that version's own where it was not read back yet."""

    version: int
    following: Asked[Commit | None]
    unread: Asked[Commit | None] | None
