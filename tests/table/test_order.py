"""Full rows with a sequence and no ties: any order, batching, split or replay gives the same rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("lsn", pa.int64(), nullable=False),
        pa.field("n", pa.int64()),
        pa.field("op", pa.string()),
    ]
)
PLACES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=25, unique=True)
Mod = dict[str, Any]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Mod], list[tuple[list[Mod], bool]]]:
    """Mods without ties, and batches that hold each at least once, some of them merged after."""
    mods = [
        {"id": key, "lsn": lsn, "n": number, "op": draw(st.sampled_from("UUD"))}
        for number, (key, lsn) in enumerate(draw(PLACES))
    ]
    for lsn in draw(st.lists(st.integers(0, 9), max_size=1)):
        mods.append({"id": None, "lsn": lsn, "n": None, "op": "T"})
    sent = draw(st.permutations([*mods, *draw(st.lists(st.sampled_from(mods), max_size=8))]))
    batches = []
    while sent:
        size = draw(st.integers(1, len(sent)))
        batches.append((sent[:size], draw(st.booleans())))
        sent = sent[size:]
    return mods, batches


def greatest(mods: list[Mod]) -> set[tuple[int, int, int]]:
    """The rows: of each key the mod with the greatest sequence, if it is an upsert above every truncate."""
    mark = max((mod["lsn"] for mod in mods if mod["op"] == "T"), default=-1)
    newest: dict[int, Mod] = {}
    for mod in sorted(mods, key=lambda mod: mod["lsn"]):
        if mod["op"] != "T":
            newest[mod["id"]] = mod
    alive = [mod for mod in newest.values() if mod["op"] == "U" and mod["lsn"] > mark]
    return {(mod["id"], mod["lsn"], mod["n"]) for mod in alive}


@pytest.mark.slow
@given(histories())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_batching_split_and_replay_make_no_difference(
    history: tuple[list[Mod], list[tuple[list[Mod], bool]]],
) -> None:
    mods, batches = history
    table = ModTable.create(MemoryStorage(), SCHEMA.remove(3), primary_key=["id"], sequence_by=["lsn"], merge="manual")
    schema = pa.schema([field.with_nullable(True) for field in SCHEMA])
    for rows, merge in batches:
        batch = pa.Table.from_pylist(rows, schema=schema)
        table.apply(batch, apply_as_deletes="op = 'D'", apply_as_truncates="op = 'T'", merge=merge)
    for _ in range(2):
        tuples = [tuple(row.values()) for row in table.to_arrow().to_pylist()]
        assert len(tuples) == len(set(tuples))
        assert set(tuples) == greatest(mods)
        table.merge()
    assert table.verify().ok
