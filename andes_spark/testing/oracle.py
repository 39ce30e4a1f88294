"""The law of mods in plain Python: rows of a version, from the mods of all versions up to it.

Written from the law as documented, not from the code: dictionaries only, no files, no bases, no merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Mod:
    """One mod.

    Attributes:
        op: what it does.
        key: of the row; None for a truncate.
        sequence: that orders the mods of a key; None in a table without ``sequence_by``.
        values: columns that it carries, beside key and sequence.
        partial: whether it leaves columns out.
    """

    op: Literal["upsert", "delete", "truncate"]
    key: Key | None
    sequence: tuple[Any, ...] | None = None
    values: Row = field(default_factory=dict)
    partial: bool = False


@dataclass
class State:
    """What a version is: rows by key (values and sequence), tombstones by key, watermark, mods set aside."""

    rows: dict[Key, tuple[Any, Row]] = field(default_factory=dict)
    tombstones: dict[Key, Any] = field(default_factory=dict)
    watermark: Any = None
    quarantined: list[tuple[int, Mod]] = field(default_factory=list)


def snapshot(
    versions: Sequence[Sequence[Mod]],
    columns: Sequence[str],
    required: Sequence[str] = (),
    set_aside: Mapping[int, int] | None = None,
) -> State:
    """The state after the last of ``versions``.

    Args:
        versions: mods of each version, in any order within it.
        columns: names of the columns that are neither key nor sequence.
        required: those of them that must not be NULL.
        set_aside: by the version that says so, the version whose mods take no part from then on.
    """
    state = State()
    gone = {version for event, version in (set_aside or {}).items() if event < len(versions)}
    for number, mods in enumerate(versions):
        if number in gone:
            continue
        places = [(mod.sequence if mod.sequence is not None else (number,), mod) for mod in mods]
        # By version, then sequence; a truncate stands first among its equals, and without sequences first of all.
        for sequence, mod in sorted(places, key=lambda each: (each[0], each[1].op != "truncate")):
            _take(state, number, sequence, mod, columns, required)
    return state


def _take(state: State, number: int, sequence: Any, mod: Mod, columns: Sequence[str], required: Sequence[str]) -> None:
    if mod.op == "truncate":
        erases_all = mod.sequence is None
        gone = [key for key, (at, _) in state.rows.items() if erases_all or at <= sequence]
        for key in gone:
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
