"""The base for readers and merges: a Delta version, the version of the log that it contains, and its merge record.

The ``txn`` action of our commits names the version of the log that a Delta version contains.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from andes_spark.base.foreign import (
    ForeignChange,
    cut_off,
    find_foreign,
    has_columns_of,
    overwritten,
    replaced,
    unwritable,
)
from andes_spark.base.hints import BaseHints, BegunState, NewerAnswers, ask_hints
from andes_spark.base.older import OlderStates
from andes_spark.base.recent import RecentEntries
from andes_spark.base.records import read_record
from andes_spark.base.snapshot import BaseSnapshot, KeptSnapshot
from andes_spark.base.taken import TakenStates
from andes_spark.delta.hinted import HintedState
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.replay import advanced
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import AndesError, LogDamagedError, UnsupportedTableError
from andes_spark.log.lease import MergeNote, read_note
from andes_spark.log.log import Log
from andes_spark.log.origin import origin_of
from andes_spark.model.events import PendingVersion, TakeIn
from andes_spark.model.merge_record import MergeRecord, no_record
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked, Lazy

__all__ = ["Base", "BaseSnapshot"]


_Answers = BaseHints | BegunState | NewerAnswers

_HINT_SECONDS = 2.0
"""Age of hints beyond which a handle asks for them again."""


class Base:
    """The base of one table, with its state in memory. Not thread-safe.

    Attributes:
        recent: newest entries of the Delta log.
        checkpoint: version of the newest checkpoint in one file that was read or written, as in ``MergeNote``.
    """

    def __init__(self, storage: Storage, table_id: str, log: Log, hints: BaseHints | None = None) -> None:
        self._storage = storage
        self._log = log
        self._hints = hints
        self._table_id = table_id
        self._state: DeltaState | None = None
        self._checked = -1
        self._foreign: ForeignChange | None = None
        self._unwritable: UnsupportedTableError | None = None
        self._older = OlderStates(storage, table_id)
        self._taken = TakenStates(storage, table_id, log)
        self._kept: KeptSnapshot | None = None
        self._newest_record: MergeRecord | None = None
        self._asked_record: tuple[str, Asked[MergeRecord]] | None = None
        self._answers: _Answers | None = None
        self._unread: Commit | None = None
        self._cuts = log.cuts
        self.checkpoint: int | None = None
        self.recent = RecentEntries(storage, self.is_merge)

    def ask(self) -> None:
        """Start the requests of the next :meth:`snapshot`, beside others; older answers are not used."""
        ask, storage = self._storage.scheduler.ask, self._storage
        self._drop_if_cut()
        if self._state is None:
            self._answers = self._begun() or ask_hints(self._storage)
        else:
            version = self._state.version
            unread = None if self._unread is None else ask(read_commit, storage, version)
            self._answers = NewerAnswers(version, ask(read_commit, storage, version + 1), unread)

    def ask_with_note(self) -> Asked[MergeNote]:
        """As :meth:`ask`; return the note of the last merge, which may be among these requests."""
        self.ask()
        answers = self._answers
        if isinstance(answers, BaseHints):
            return answers.note
        if isinstance(answers, BegunState):
            return Lazy(lambda: answers.note)
        return self._storage.scheduler.ask(read_note, self._storage)

    def _begun(self) -> BaseHints | BegunState | None:
        """A read that follows the hints of the open, if that was just now: their answers came with the log."""
        hints, self._hints = self._hints, None
        if hints is None or time.monotonic() - hints.begun >= _HINT_SECONDS:
            return None
        try:
            return self._begin(hints.note.result())
        except AndesError:
            # Raised again by the snapshot: an append does without the base.
            return hints

    def snapshot(self) -> BaseSnapshot:
        """Return the newest state with the rows of the log alone; one round of requests from a state in memory.

        Raises:
            UnsupportedTableError: a feature that keeps this library from reading the base, with no state before it.
            ForeignWriteError: our last merge was overwritten by another writer.
            LogDamagedError: the merge record is missing.
        """
        self._drop_if_cut()
        if self._answers is None:
            self.ask()
        answers, self._answers = self._answers, None
        if isinstance(answers, BaseHints | BegunState) and self._state is None:
            state, commit = self._load(answers)
        else:
            state, commit = self._refreshed(answers), partial(read_commit, self._storage)
        if state.version > self._checked:
            self._foreign = self._find_foreign(state, checked=self._checked, known=self._foreign, commit=commit)
            self._unwritable = None if self._foreign is not None else unwritable(self._storage.url, state)
            self._checked = state.version
        self._state = state
        try:
            return self.in_memory()
        except LogDamagedError:
            if read_commit(self._storage, state.version + 1) is None:
                raise
        return self.snapshot()  # a vacuum deleted the record of a state that is no longer the newest one

    def in_memory(self) -> BaseSnapshot:
        """Return the base as it was read or advanced last, without a request; :meth:`snapshot` if nothing was read."""
        self._drop_if_cut()
        if self._state is None:
            return self.snapshot()
        foreign = self._foreign
        return self._of(self._state, self._unwritable) if foreign is None else self._of(foreign.before, None, foreign)

    @property
    def newest(self) -> DeltaState | None:
        """The newest state that was read, foreign changes included; None before the first read."""
        return self._state

    def advance(self, commit: Commit, record: MergeRecord | None = None) -> None:
        """Take in a commit of ours that was just created on the newest state: what was written need not be asked for.

        Delta's own writers may overwrite an entry in a race, so it is read once before anything later is built on it:
        by the next :meth:`snapshot`.

        Args:
            commit: the entry.
            record: the merge record that belongs to it; None where it merges nothing.
        """
        if self._state is None or self._state.version != commit.version - 1:
            return
        if record is not None and self._foreign is None:
            self._keep(self._state, record.version)
        self._foreign = None
        self._state = advanced(self._state, commit)
        self._checked, self._unread, self._answers = commit.version, commit, None
        self.recent.remember(commit)
        if record is not None:
            self._newest_record = record
            self._older.remember(commit.version, record.version)

    def _keep(self, state: DeltaState, until: int) -> None:
        """Keep the state before a merge of ours, if its record is in memory too."""
        applied, record = state.txns.get(self._table_id, 0), self._newest_record
        if applied == 0:
            record = no_record(self._table_id)
        if record is not None and record.version == applied:
            self._kept = KeptSnapshot(BaseSnapshot(state, applied, record), until)

    def _refreshed(self, requested: _Answers | None) -> DeltaState:
        """Refresh the state in memory to the newest one."""
        state = self._state
        if state is None:
            return load_state(self._storage)
        fits = isinstance(requested, NewerAnswers) and requested.version == state.version
        answers = requested if isinstance(requested, NewerAnswers) and fits else None
        if self._unread is not None:
            unread = answers.unread if answers is not None else None
            self._check_unread(read_commit(self._storage, state.version) if unread is None else unread.result())
        following = None if answers is None else answers.following.result()
        if answers is not None and following is None:
            return state
        named = state.commit_id if following is None else following.previous
        if None not in (named, state.commit_id) and named != state.commit_id:
            # A repair cut the Delta log off, and versions were given a second time.
            self._forget()
            return load_state(self._storage)
        return load_state(self._storage, previous=state)

    def _check_unread(self, stored: Commit | None) -> None:
        """Compare the last entry of this process with the stored one."""
        written, self._unread = self._unread, None
        if written is None or (stored is not None and stored.commit_id == written.commit_id):
            return
        # The log still has all mods.
        self._forget()
        raise overwritten(self._storage.url, written.version)

    def _drop_if_cut(self) -> None:
        """Drop all that was read before a repair cut the Delta log off."""
        if self._cuts != self._log.cuts:
            self._cuts, self._answers, self._hints = self._log.cuts, None, None
            self._forget()

    def _forget(self) -> None:
        """Drop what is in memory: it is not what is stored."""
        self._state, self._checked, self._foreign, self._newest_record = None, -1, None, None
        self._kept, self._unread, self._asked_record, self.checkpoint = None, None, None, None
        self._older.forget()
        self.recent.forget()

    def _begin(self, note: MergeNote) -> BegunState:
        """Request the state that a note leads to, without waiting."""
        known = note.delta_version or 0
        # Behind an exact hint of the log, the note is seldom old: it is written first.
        beyond = 1 if self._log.hint_was_exact else 2
        hinted = HintedState(self._storage, note.checkpoint, known, note.newest or 0, beyond=beyond)
        self._ask_record(note)
        return BegunState(note, hinted)

    def _load(self, answers: BaseHints | BegunState) -> tuple[DeltaState, Callable[[int], Commit | None]]:
        """The newest state where none was read before, and what reads entries of it."""
        begun = answers if isinstance(answers, BegunState) else self._begin(answers.note.result())
        hinted = begun.state
        state = hinted.state()
        for entry in hinted.entries:
            self.recent.remember(entry)
        self._check_last_merge(begun.note, hinted.commit, state.version)
        self.checkpoint = state.checkpoint
        return state, hinted.commit

    def _ask_record(self, note: MergeNote) -> None:
        """Ask for the merge record that the note leads to, where the log in memory tells its name."""
        commit_id = None if not note.applied else self._log.known_commit_id(note.applied)
        if note.applied and commit_id is not None:
            record = self._storage.scheduler.ask(read_record, self._storage, self._table_id, note.applied, commit_id)
            self._asked_record = (commit_id, record)

    def snapshot_at(self, version: int) -> BaseSnapshot:
        """Return the newest state that contains no version of the log above ``version``; the last older one is kept."""
        self.snapshot()
        try:
            return self.older(version)
        except LogDamagedError:
            cuts = self._log.cuts
            self._log.refresh()
            if self._log.cuts == cuts:
                raise
        self.snapshot()
        return self.older(version)

    def older(self, version: int) -> BaseSnapshot:
        """As :meth:`snapshot_at`, among the states up to the one in memory."""
        newest = self.in_memory()
        if newest.applied <= version:
            return newest
        kept = self._kept
        if kept is None or not kept.snapshot.applied <= version < kept.until:
            kept = self._kept = self._older_than(newest, version)
        return kept.snapshot

    def _older_than(self, newest: BaseSnapshot, version: int) -> KeptSnapshot:
        """Find an older state; its record does not take the place of the newest one in memory."""
        storage, table_id = self._storage, self._table_id
        self._older.remember(newest.version, newest.applied)
        older = self._older.find(version, origin=origin_of(self._log).delta_version, newest=newest.version)
        record: Asked[MergeRecord] = Lazy(lambda: no_record(table_id))
        if older.applied:
            commit_id = self._log.commit_id(older.applied)
            record = storage.scheduler.ask(read_record, storage, table_id, older.applied, commit_id)
        state = self._older.load(older.delta_version, self.checkpoint)
        if state.txns.get(table_id, 0) != older.applied:
            raise replaced(storage.url, older.delta_version)
        if older.doubtful:
            foreign = self._find_foreign(state, checked=-1, known=None)
            state = state if foreign is None else foreign.before
        return KeptSnapshot(BaseSnapshot(state, older.applied, record.result()), older.until)

    def _find_foreign(
        self,
        state: DeltaState,
        *,
        checked: int,
        known: ForeignChange | None,
        commit: Callable[[int], Commit | None] | None = None,
    ) -> ForeignChange | None:
        return find_foreign(
            self._storage,
            state,
            checked=checked,
            known=known,
            is_merge=self.is_merge,
            commit=partial(read_commit, self._storage) if commit is None else commit,
            has_own_columns=self._has_own_columns,
        )

    def _has_own_columns(self, state: DeltaState) -> bool:
        return has_columns_of(self._log.definition_at(state.txns.get(self._table_id, 0)), state)

    def after_take_in(self, version: PendingVersion, event: TakeIn) -> BaseSnapshot:
        """Return the state that a version takes in, in the place of the one with an earlier version of the log."""
        state, record = self._taken.load(event, self._state)
        return BaseSnapshot(state, event.applied, record, take_in_version=version.version)

    def taken_foreign(self, snapshot: BaseSnapshot) -> ForeignChange | None:
        """Return the foreign change of a snapshot that the log has not taken in; None if there is none."""
        take_in = None if snapshot.foreign is None else self._taken.pending(snapshot.applied)
        if take_in is None or self._state is None or self._state.version < take_in[1].delta_version:
            return snapshot.foreign
        return self._find_foreign(self._state, checked=take_in[1].delta_version, known=None)

    def obstacle(self, snapshot: BaseSnapshot) -> AndesError | None:
        """Return why nothing can be merged into a snapshot: an error that says what to do; None if merges go on."""
        foreign = self.taken_foreign(snapshot)
        return snapshot.unwritable if foreign is None else foreign.error(self._storage.url)

    def require_mergeable(self, snapshot: BaseSnapshot) -> DeltaState:
        """Refuse to build on what another writer changed, or on features that this library does not write.

        Returns:
            The state that the Delta entry of a merge follows: the newest one.

        Raises:
            ForeignWriteError: names the Delta version and what it was.
            UnsupportedTableError: names the features.
            CommitConflictError: a repair cut the Delta log off since it was read.
        """
        if self.is_void(snapshot):
            raise cut_off(self._storage.url)
        error = self.obstacle(snapshot)
        if error is not None:
            raise error
        return snapshot.state if snapshot.foreign is None or self._state is None else self._state

    def require_writable(self, snapshot: BaseSnapshot) -> None:
        """Refuse as ``require_mergeable``, and what another writer changed until a merge of it is committed.

        Raises:
            ForeignWriteError: names the Delta version and what it was.
            UnsupportedTableError: names the features.
        """
        self.require_mergeable(snapshot)
        if snapshot.foreign is not None:
            raise snapshot.foreign.not_merged(self._storage.url)

    def is_void(self, snapshot: BaseSnapshot) -> bool:
        """Return whether a repair cut the Delta log off since a newest state was read, by the log in memory."""
        return snapshot.cuts != self._log.cuts

    def is_merge(self, commit: Commit) -> bool:
        """Return whether a Delta commit is one of our merges, or our create."""
        return self._table_id in commit.txns

    def _of(
        self, state: DeltaState, unwritable: UnsupportedTableError | None, foreign: ForeignChange | None = None
    ) -> BaseSnapshot:
        applied = state.txns.get(self._table_id, 0)
        return BaseSnapshot(state, applied, self._record(applied), foreign, unwritable, cuts=self._cuts)

    def assume(self, record: MergeRecord) -> None:
        """Use a merge record for the newest state whose own one is damaged, to find older states; nothing is read."""
        self._newest_record = record

    def assume_newest(self, state: DeltaState) -> None:
        """Take an older state for the newest one, to find out what can be built on it; nothing is committed."""
        self._state, self._checked = state, state.version

    def _record(self, applied: int) -> MergeRecord:
        if applied == 0:
            return no_record(self._table_id)
        commit_id = self._log.commit_id(applied)
        if self._newest_record is None or self._newest_record.commit_id != commit_id:
            answer, self._asked_record = self._asked_record, None
            if answer is not None and answer[0] == commit_id:
                self._newest_record = answer[1].result()
            else:
                self._newest_record = read_record(self._storage, self._table_id, applied, commit_id)
        return self._newest_record

    def _check_last_merge(self, note: MergeNote, commit: Callable[[int], Commit | None], newest: int) -> None:
        """Compare the last merge in memory with the stored entry."""
        if note.delta_version is None:
            return
        stored = commit(note.delta_version)
        if stored is None and newest >= note.delta_version:
            # Delta's log cleanup removes entries below a checkpoint.
            return
        if stored is None or stored.commit_id != note.commit_id:
            raise overwritten(self._storage.url, note.delta_version)
