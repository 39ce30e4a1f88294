"""Reference model in plain Python: rows of a version, from the mods of all versions up to it.

Implements the documented rules independently of the library: dictionaries only, no files, no bases, no merges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Mod:
    """One mod, as a row of Python values.

    Attributes:
        op: operation.
        key: key of the row; None for a truncate.
        sequence: sequence of the mod; None in a table without ``sequence_by``.
        values: values by column, without key and sequence.
        partial: whether columns are absent.
        batch: number of its batch within the version.
    """

    op: Literal["upsert", "delete", "truncate"]
    key: Key | None
    sequence: tuple[Any, ...] | None = None
    values: Row = field(default_factory=dict)
    partial: bool = False
    batch: int = 0


@dataclass
class State:
    """State of a version: rows by key (values and sequence), tombstones by key, watermark, cut, quarantined mods."""

    rows: dict[Key, tuple[Any, Row]] = field(default_factory=dict)
    tombstones: dict[Key, Any] = field(default_factory=dict)
    watermark: Any = None
    cut: Any = None
    quarantined: list[tuple[int, Mod]] = field(default_factory=list)


def snapshot(
    versions: Sequence[Sequence[Mod]],
    columns: Sequence[str],
    required: Sequence[str] = (),
    set_aside: Mapping[int, int] | None = None,
    restores: Mapping[int, int] | None = None,
    taken_in: Mapping[int, tuple[int, State]] | None = None,
    expires: Mapping[int, Any] | None = None,
    backfills: Collection[int] = (),
) -> State:
    """Return the state after the last of ``versions``.

    Args:
        versions: mods of each version, in any order within it.
        columns: names of the columns other than key and sequence.
        required: names of the NOT NULL columns among them.
        set_aside: version whose mods are ignored, by the version from which they are ignored.
        restores: version that is restored, by the version that restores it.
        taken_in: state that another writer made of an earlier version's, with that version, by the version that takes
            it in: it is in the place of that version's, and the versions between follow it.
        expires: sequence up to which deletes and truncates are forgotten, by the version that forgets them.
        backfills: versions whose mods take part at any sequence.
    """
    line: set[int] = set()
    number = len(versions) - 1
    while number >= 0:
        line.add(number)
        number = (restores or {}).get(number, number - 1)
    excluded = {version for event, version in (set_aside or {}).items() if event in line}
    newest = max((number for number in taken_in or {} if number in line), default=None)
    first, state = (-1, State()) if newest is None else deepcopy((taken_in or {})[newest])
    for number, mods in enumerate(versions):
        if number in excluded or number not in line or number <= first:
            continue
        if number in (expires or {}):
            _expire(state, (expires or {})[number])
        places = [(mod.sequence if mod.sequence is not None else (number, mod.batch), mod) for mod in mods]
        # By version and batch, then sequence; truncates first at equal sequences, and first of all without sequences.
        for sequence, mod in sorted(places, key=lambda place: (place[1].batch, place[0], place[1].op != "truncate")):
            if state.cut is not None and sequence <= state.cut and number not in backfills:
                state.quarantined.append((number, mod))
            else:
                _take(state, number, sequence, mod, columns, required)
    return state


def _expire(state: State, sequence: Any) -> None:
    """Forget what was deleted at or below a sequence, and set the cut there, unless it is higher."""
    state.tombstones = {key: at for key, at in state.tombstones.items() if at > sequence}
    if state.watermark is not None and state.watermark <= sequence:
        state.watermark = None
    state.cut = sequence if state.cut is None else max(state.cut, sequence)


def _take(state: State, number: int, sequence: Any, mod: Mod, columns: Sequence[str], required: Sequence[str]) -> None:
    if mod.op == "truncate":
        erases_all = mod.sequence is None
        erased_keys = [key for key, (at, _) in state.rows.items() if erases_all or at <= sequence]
        for key in erased_keys:
            del state.rows[key]
        if not erases_all:
            state.watermark = sequence if state.watermark is None else max(state.watermark, sequence)
        return
    assert mod.key is not None
    row = state.rows.get(mod.key)
    # A mod beats a row of its own sequence; a tombstone or a watermark of its sequence beats the mod.
    grave = state.tombstones.get(mod.key) if mod.sequence is not None else None
    buried = grave is not None and sequence <= grave
    below = mod.sequence is not None and state.watermark is not None and sequence <= state.watermark
    if (row is not None and sequence < row[0]) or buried or below:
        if mod.partial:
            state.quarantined.append((number, mod))
        return
    if mod.op == "delete":
        state.rows.pop(mod.key, None)
        state.tombstones[mod.key] = sequence
        return
    if mod.partial and row is None and not set(required) <= set(mod.values):
        state.quarantined.append((number, mod))
        return
    kept = row[1] if mod.partial and row is not None else dict.fromkeys(columns)
    state.rows[mod.key] = (sequence, {**kept, **mod.values})
