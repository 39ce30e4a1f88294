"""States of the base that another writer made and a version of the log takes in."""

from __future__ import annotations

import msgspec

from andes_spark.base.foreign import content_of
from andes_spark.base.records import read_record
from andes_spark.delta.log import load_state
from andes_spark.delta.state import DeltaState
from andes_spark.errors import LogDamagedError
from andes_spark.log.line import taken_in
from andes_spark.log.log import Log
from andes_spark.model.events import PendingVersion, TakeIn
from andes_spark.model.merge_record import MergeRecord, no_record
from andes_spark.storage.interface import Storage


class TakenStates:
    """Reads of states that were taken in; the last one is kept.

    Args:
        storage: the table's folder.
        table_id: UUID of the table.
        log: its log.
    """

    def __init__(self, storage: Storage, table_id: str, log: Log) -> None:
        self._storage = storage
        self._table_id = table_id
        self._log = log
        self._kept: tuple[TakeIn, DeltaState, MergeRecord] | None = None

    def pending(self, applied: int) -> tuple[PendingVersion, TakeIn] | None:
        """Return the last take-in among the versions of the log that a base with version ``applied`` lacks."""
        return taken_in(self._log.pending(applied, self._log.head)) if applied < self._log.head else None

    def load(self, event: TakeIn, newest: DeltaState | None) -> tuple[DeltaState, MergeRecord]:
        """Load the state of an event, and the tombstones and watermarks beside it.

        Raises:
            LogDamagedError: it is not the state that was taken in, or a document is missing.
        """
        if self._kept is not None and self._kept[0] == event:
            return self._kept[1:]
        state = newest
        if state is None or state.version != event.delta_version:
            state = load_state(self._storage, version=event.delta_version)
        if content_of(state) != event.content:
            raise LogDamagedError(
                f"{self._storage.url}: Delta version {event.delta_version} has other files than when it was taken in: "
                "its entries were overwritten; restore them",
                table=self._storage.url,
                delta_version=event.delta_version,
            )
        record = self._record(event)
        self._kept = (event, state, record)
        return state, record

    def _record(self, event: TakeIn) -> MergeRecord:
        if event.applied == 0:
            before = no_record(self._table_id)
        else:
            commit_id = self._log.commit_id(event.applied)
            before = read_record(self._storage, self._table_id, event.applied, commit_id)
        return msgspec.structs.replace(
            before,
            tombstones=[*before.tombstones, *event.tombstones],
            truncates=[] if event.ends_truncate else before.truncates,
        )
