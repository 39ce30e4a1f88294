"""Roll-ups: what every tenth manifest repeats of the versions before it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from andes_spark.errors import AndesError
from andes_spark.log.lease import MergeNote, read_note
from andes_spark.log.ledger import Ledger
from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.origin import origin_of
from andes_spark.log.readable import floor_of
from andes_spark.log.tags import current_tags
from andes_spark.model.events import PendingVersion, files_of
from andes_spark.model.features import HASHED_TOMBSTONES
from andes_spark.model.files import LedgerFile
from andes_spark.model.manifest import Manifest, RollUp
from andes_spark.storage.scheduler import Asked

_LOGGER = logging.getLogger(__name__)
_ROLLED_ENTRIES = 1_000
"""Maximum number of entries and versions in a roll-up; older ones are in the roll-ups before it."""


def first_rolled(applied: int, last: int) -> int:
    """Return the version after which a roll-up collects pending versions; older ones would exceed its limit."""
    return max(min(applied, last), last - _ROLLED_ENTRIES)


def newest(versions: Sequence[PendingVersion]) -> list[PendingVersion]:
    """Return the newest versions, up to the limit of a roll-up."""
    room = _ROLLED_ENTRIES
    kept: list[PendingVersion] = []
    for version in reversed(versions):
        room -= len(list(files_of(version.events))) + 1
        if room < 0:
            break
        kept.append(version)
    return kept[::-1]


@dataclass(frozen=True)
class _Begun:
    """A roll-up under way for a version after a certain manifest.

    Attributes:
        version: version that will carry it.
        previous: digest of the manifest before.
        ledger: its ledger files, the last of which may be new.
        note: note of the last merge; None if the base is known to contain all versions.
    """

    version: int
    previous: str
    ledger: Asked[list[LedgerFile]]
    note: Asked[MergeNote] | None


class RollUps:
    """The roll-ups of the versions that one handle commits. Not thread-safe.

    Args:
        log: of the table.
        ledger: of the table.
    """

    def __init__(self, log: Log, ledger: Ledger) -> None:
        self._log = log
        self._ledger = ledger
        self._begun: _Begun | None = None

    def begin(self) -> None:
        """Start to write the ledger file of the next version, if that carries a roll-up, beside its batch.

        What an earlier attempt began, whose outcome is not known, is left alone: a version may name the file.
        """
        self._begun = None
        log, version = self._log, self._log.head + 1
        if version % ROLL_UP_INTERVAL:
            return
        time = max(log.clock(), log.manifest(log.head).time)
        note = None if log.applied >= log.head else log.storage.scheduler.ask(read_note, log.storage)
        self._begun = _Begun(version, log.digest(log.head), self._ledger.begin_roll_up(version, time), note)

    def make(self, version: int, time: int) -> RollUp:
        """Return the roll-up of the log before ``version``, for a manifest dated ``time``."""
        log, begun = self._log, self._begun
        if begun is not None and (begun.version, begun.previous) != (version, log.digest(version - 1)):
            begun = None
        note = None if begun is None or begun.note is None else begun.note.result()
        applied = self.assumed_applied(note)
        if HASHED_TOMBSTONES in log.manifest(version - 1).reader_features:
            # A forget takes ranges of keys out of the versions up to the floor, and this handle may know them still.
            applied = max(applied, floor_of(log))
        pending = newest(log.pending(first_rolled(applied, version - 1), version - 1))
        behind = pending[0].version - 1 if pending else version - 1
        return RollUp(
            applied=behind,
            applied_commit_id=log.commit_id(behind),
            pending=pending,
            definition=log.definition_at(version - 1),
            ledger=self._ledger.roll_up(version, time) if begun is None else begun.ledger.result(),
            tags=list(current_tags(log).values()),
            origin=origin_of(log),
        )

    def assumed_applied(self, note: MergeNote | None = None) -> int:
        """Estimate of the version that the base contains, without a read of the base.

        A wrong estimate does no harm: if it is too low, a roll-up repeats more versions; if it is too high, readers
        continue with the roll-up before it.

        Args:
            note: of the last merge; None to read it here where it may tell more.
        """
        log = self._log
        if log.applied >= log.head:
            return log.applied
        noted = (read_note(log.storage) if note is None else note).applied or 0
        roll_up = log.manifest(log.last_roll_up).roll_up
        return max(log.applied, noted if noted <= log.head else 0, 0 if roll_up is None else roll_up.applied)

    def end(self, manifest: Manifest | None) -> None:
        """Delete the new ledger file, after the caller has its result, unless a manifest names it.

        Only for an outcome that is known: otherwise the manifest that names it may be committed.

        Args:
            manifest: manifest of the batch; None if the batch was refused.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            return
        rolled = None if manifest is None else manifest.roll_up
        named = {file.path for file in (rolled.ledger if rolled is not None else ())}
        self._log.storage.scheduler.later(
            "deleting a ledger file that no version names", lambda: self._drop(begun, named)
        )

    def _drop(self, begun: _Begun, named: set[str]) -> None:
        try:
            files = begun.ledger.result()
        except AndesError as error:
            _LOGGER.info("%s: a ledger file was not written, and is not needed: %s", self._log.table, error)
            return
        unused = [file.path for file in files if file.path not in named and file.to_version == begun.version - 1]
        self._log.storage.scheduler.forget(unused)
        self._log.storage.delete(unused)
