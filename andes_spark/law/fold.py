"""Folding of the mods of keys with partial mods, mod by mod and column by column.

Mods are taken by batch, in the order of arrival, then by sequence. Each takes effect if its sequence is at or above the
key's current one (above, if the key was deleted). An absent column keeps its value. An expire forgets the sequence of a
key without a row. Values are not inspected: a folded row is the source row number of each column, so that any type
folds exactly.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from andes_spark.model.mod import Op

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NONE = -1
EXPIRE = -1
"""Operation of an expire in a chain, beside those of ``Op``."""


class Fate(enum.IntEnum):
    """What becomes of a mod when the mods of its key are folded."""

    LAST = 0
    """The last mod that took effect on its key."""
    FOLDED = 1
    """Took effect and is part of the row."""
    SUPERSEDED = 2
    """Took effect and was replaced by a later full mod, delete or truncate."""
    LATE = 3
    """A full mod below its key's sequence."""
    QUARANTINED_LATE = 4
    """A partial mod below its key's sequence."""
    QUARANTINED_NO_ROW = 5
    """A partial mod for a row that does not exist, without all required columns."""
    BEATEN = 6
    """A full upsert at the sequence of a delete, which stays in effect."""


@dataclass(frozen=True)
class Chain:
    """Mods to fold, sorted by key, arrival, sequence; a truncate and an expire are one mod of every key each.

    Attributes:
        key: number of the key, from 0 up.
        op: ``Op``, or EXPIRE.
        rank: dense rank of the sequence, comparable with ``Start.rank``.
        partial: whether the mod is partial.
        present: (mods, columns): whether the mod has the column.
        source: row number of the mod's values; -1 for truncates and expires.
    """

    key: Ints
    op: Ints
    rank: Ints
    partial: Bools
    present: Bools
    source: Ints


@dataclass(frozen=True)
class Start:
    """State of the keys in the base, one element of each array for each key.

    Attributes:
        exists: whether the key has a row.
        rank: rank of its row's sequence, else of its tombstone or the watermark, else -1.
        source: row number of its values, else -1.
        deleted: whether the rank is that of a tombstone; None if no key has a tombstone.
    """

    exists: Bools
    rank: Ints
    source: Ints
    deleted: Bools | None = None


@dataclass(frozen=True)
class Folded:
    """State of the keys after folding, and the outcome of each mod.

    Attributes:
        exists: whether the key has a row.
        rank: rank of the sequence of its row, tombstone or watermark; -1 for none.
        source: (keys, columns): row number of the value, -1 for NULL.
        sequence_source: row number of the sequence; -1 without a mod or after a truncate.
        deleted: whether the rank is that of a tombstone.
        last: number of the last mod that took effect, -1 if none did.
        fate: outcome of each mod.
    """

    exists: Bools
    rank: Ints
    source: Ints
    sequence_source: Ints
    deleted: Bools
    last: Ints
    fate: Ints


class _State:
    """State of the keys during folding; see ``Folded``."""

    def __init__(self, start: Start, columns: int, mods: int) -> None:
        self.exists = start.exists.copy()
        self.rank = start.rank.copy()
        self.source = np.repeat(np.where(start.exists, start.source, NONE)[:, None], columns, axis=1)
        self.sequence_source = np.where(start.exists, start.source, NONE)
        self.last = np.full(len(start.rank), NONE, np.int64)
        self.deleted = np.zeros(len(start.rank), np.bool_) if start.deleted is None else start.deleted.copy()
        self.resets = np.zeros(len(start.rank), np.int64)
        self.effect = np.full(mods, NONE, np.int64)
        self.fate = np.full(mods, Fate.SUPERSEDED, np.int64)


def fold(chain: Chain, start: Start, *, required: Bools) -> Folded:
    """Fold mods into the state of their keys. The number of steps is the length of the longest chain of a key.

    Args:
        chain: mods, sorted by key, arrival, sequence.
        start: state of the keys, by key number.
        required: whether each column is NOT NULL.
    """
    state = _State(start, chain.present.shape[1], len(chain.key))
    for turn in _turns(chain.key):
        _apply(state, chain, turn, required)
    took = state.effect != NONE
    keys = chain.key[took]
    current = state.effect[took] == state.resets[keys]
    state.fate[took] = np.where(current, Fate.FOLDED, Fate.SUPERSEDED)
    state.fate[state.last[state.last != NONE]] = Fate.LAST
    return Folded(state.exists, state.rank, state.source, state.sequence_source, state.deleted, state.last, state.fate)


def _turns(key: Ints) -> list[Ints]:
    """Return group mod numbers by position within their key: the first mods of all keys, the second ones, and so on."""
    if len(key) == 0:
        return []
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    place = np.arange(len(key)) - np.repeat(first, np.diff(np.r_[first, len(key)]))
    order = np.argsort(place, kind="stable")
    return np.split(order, np.cumsum(np.bincount(place))[:-1])


def _apply(state: _State, chain: Chain, mods: Ints, required: Bools) -> None:
    """Apply at most one mod to each key."""
    expires = chain.op[mods] == EXPIRE
    _forget(state, chain, mods[expires])
    mods = mods[~expires]
    key, op, rank, partial = chain.key[mods], chain.op[mods], chain.rank[mods], chain.partial[mods]
    exists_before, rank_before = state.exists[key], state.rank[key]
    on_time = np.where(state.exists[key], rank >= state.rank[key], rank > state.rank[key])
    truncate = op == Op.TRUNCATE
    # A truncate removes what is at or below it, so it beats a row of its own sequence as a delete does.
    late = ~on_time & ~truncate
    state.fate[mods[late]] = np.where(partial[late], Fate.QUARANTINED_LATE, Fate.LATE)
    beaten = late & ~partial & (op == Op.UPSERT) & state.deleted[key] & (rank == state.rank[key])
    state.fate[mods[beaten]] = Fate.BEATEN
    no_row = on_time & partial & ~state.exists[key] & ~chain.present[mods][:, required].all(axis=1)
    state.fate[mods[no_row]] = Fate.QUARANTINED_NO_ROW
    took = on_time & ~no_row
    resets = took & ~(partial & state.exists[key])
    state.resets[key[resets]] += 1
    _empty(state, key[took & (truncate | (op == Op.DELETE))])
    _write(state, chain, mods[took & (op == Op.UPSERT)])
    state.rank[key[took]] = rank[took]
    state.deleted[key[took]] = op[took] == Op.DELETE
    real = took & ~truncate
    state.effect[mods[real]] = state.resets[key[real]]
    # A truncate that meets nothing, as after an expire, changes nothing: what took effect last stays so.
    nothing = truncate & ~exists_before & (rank_before == NONE)
    state.last[key[took & ~nothing]] = np.where(truncate, NONE, mods)[took & ~nothing]
    state.sequence_source[key[took]] = np.where(truncate[took], NONE, chain.source[mods[took]])


def _forget(state: _State, chain: Chain, expires: Ints) -> None:
    """Forget tombstones and truncates at or below an expire."""
    key = chain.key[expires]
    expired = key[~state.exists[key] & (state.rank[key] <= chain.rank[expires])]
    state.rank[expired] = NONE
    state.deleted[expired] = False


def _empty(state: _State, keys: Ints) -> None:
    state.exists[keys] = False
    state.source[keys] = NONE


def _write(state: _State, chain: Chain, mods: Ints) -> None:
    keys = chain.key[mods]
    kept = np.where(state.exists[keys][:, None], state.source[keys], NONE)
    whole = ~chain.partial[mods]
    kept[whole] = NONE
    state.source[keys] = np.where(chain.present[mods], chain.source[mods][:, None], kept)
    state.exists[keys] = True
