"""Folding chains of mods, against the oracle."""

from __future__ import annotations

import random

import numpy as np
import pytest

from andes_spark.law.fold import NONE, Chain, Fate, Start, fold
from andes_spark.model.mod import Op
from andes_spark.testing import oracle
from andes_spark.testing.oracle import Mod

COLUMNS = ("a", "b", "must")
REQUIRED = np.array([False, False, True])
OPS = {"upsert": Op.UPSERT, "delete": Op.DELETE, "truncate": Op.TRUNCATE}


def chain_of(versions: list[list[Mod]]) -> tuple[Chain, list[Mod]]:
    """Mods of one key as a chain; the number of a mod is where its values stand."""
    ordered = [
        mod
        for mods in versions
        for mod in sorted(
            mods, key=lambda mod_of_version: (mod_of_version.sequence or (), mod_of_version.op != "truncate")
        )
    ]
    count = len(ordered)
    present = [[name in mod.values for name in COLUMNS] for mod in ordered]
    return Chain(
        key=np.zeros(count, np.int64),
        op=np.array([OPS[mod.op] for mod in ordered], np.int64),
        rank=np.array([mod.sequence[0] for mod in ordered if mod.sequence], np.int64),
        partial=np.array([mod.partial for mod in ordered], np.bool_),
        present=np.array(present, np.bool_).reshape(count, len(COLUMNS)),
        source=np.arange(count),
    ), ordered


def nothing_there() -> Start:
    return Start(np.array([False]), np.array([NONE]), np.array([NONE]))


@pytest.mark.parametrize("seed", range(400))
def test_a_fold_is_what_the_oracle_says(seed: int) -> None:
    rnd = random.Random(seed)
    versions: list[list[Mod]] = []
    for _ in range(rnd.randint(1, 5)):
        mods = []
        for sequence in rnd.sample(range(6), rnd.randint(1, 3)):
            op = rnd.choice(("upsert", "upsert", "upsert", "delete", "truncate"))
            names = rnd.sample(COLUMNS, rnd.randint(0, 3)) if op == "upsert" else []
            values = {name: f"{len(versions)}.{sequence}.{name}" for name in names}
            key = None if op == "truncate" else ("k",)
            mods.append(Mod(op, key, (sequence,), values, op == "upsert" and len(names) < 3))  # type: ignore[arg-type]
        versions.append(mods)
    chain, ordered = chain_of(versions)
    folded = fold(chain, nothing_there(), required=REQUIRED)
    state = oracle.snapshot(versions, COLUMNS, ["must"])
    assert bool(folded.exists[0]) == bool(state.rows)
    if state.rows:
        sequence, values = state.rows["k",]
        sources = [int(source) for source in folded.source[0]]
        folded_values = [
            None if at == NONE else ordered[at].values[name] for at, name in zip(sources, COLUMNS, strict=True)
        ]
        assert folded_values == [values[name] for name in COLUMNS]
        assert folded.rank[0] == sequence[0]
        assert ordered[int(folded.sequence_source[0])].sequence == sequence
    set_aside = (folded.fate == Fate.QUARANTINED_LATE) | (folded.fate == Fate.QUARANTINED_NO_ROW)
    assert [ordered[at] for at in np.flatnonzero(set_aside)] == [mod for _, mod in state.quarantined]
    # Each key has one last mod at most, and it is one that the state shows.
    assert (folded.fate == Fate.LAST).sum() == (folded.last[0] != NONE)


def test_nothing_to_fold() -> None:
    empty = np.zeros(0, np.int64)
    chain = Chain(empty, empty, empty, empty.astype(bool), np.zeros((0, 3), np.bool_), empty)
    start = Start(np.array([True]), np.array([4]), np.array([9]))
    folded = fold(chain, start, required=REQUIRED)
    assert folded.exists.tolist() == [True]
    assert folded.source.tolist() == [[9, 9, 9]]
    assert folded.last.tolist() == [NONE]


@pytest.mark.parametrize(("rank", "fate"), [(3, Fate.QUARANTINED_LATE), (4, Fate.LAST), (5, Fate.LAST)])
def test_a_partial_at_its_rows_sequence_takes_effect(rank: int, fate: Fate) -> None:
    chain, _ = chain_of([[Mod("upsert", ("k",), (rank,), {"a": 1}, partial=True)]])
    start = Start(np.array([True]), np.array([4]), np.array([9]))
    folded = fold(chain, start, required=REQUIRED)
    assert folded.fate.tolist() == [fate]
    assert folded.source.tolist() == [[9 if fate is Fate.QUARANTINED_LATE else 0, 9, 9]]


@pytest.mark.parametrize(("rank", "fate"), [(3, Fate.LATE), (4, Fate.LATE), (5, Fate.LAST)])
def test_a_full_mod_must_be_above_its_tombstone(rank: int, fate: Fate) -> None:
    chain, _ = chain_of([[Mod("upsert", ("k",), (rank,), dict.fromkeys(COLUMNS, 1))]])
    folded = fold(chain, Start(np.array([False]), np.array([4]), np.array([NONE])), required=REQUIRED)
    assert folded.fate.tolist() == [fate]
