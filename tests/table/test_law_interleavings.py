"""Whatever is interleaved with whatever, every version shows the rows that the oracle gives."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import random
import warnings
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing import oracle
from andes_spark.testing.kinds import KEYS
from andes_spark.testing.oracle import Mod
from andes_spark.testing.random_batches import VALUE_NAMES
from tests.interleave import World, explore

WORKERS = 2
PART = 20
EXPIRING: dict[str, Any] = {
    "sequences": ("int", "two", "decimal", "timestamp", "string"),
    "expiring": 0.4,
    "foreign": 0.0,
    "altering": 0.0,
    "tagging": 0.0,
}


def explore_range(first: int, last: int, steps: int) -> tuple[int, str | None]:
    """Operations run, and the first failure."""
    warnings.simplefilter("error")
    pa.set_cpu_count(1)
    step_count = 0
    for seed in range(first, last):
        try:
            step_count += explore(seed, steps=steps).steps
        except AssertionError as error:
            return step_count, str(error)
    return step_count, None


@pytest.mark.slow
@pytest.mark.parametrize(("first", "share", "steps"), [(0, 1, 4), (100_000, 10, 16)], ids=["many", "long"])
def test_interleavings_equal_the_oracle(first: int, share: int, steps: int, pytestconfig: pytest.Config) -> None:
    count = max(1, pytestconfig.getoption("--interleavings") // share)
    starts = range(first, first + count, PART)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        parts = [pool.submit(explore_range, start, min(start + PART, first + count), steps) for start in starts]
        results = [part.result() for part in parts]
    operations = sum(step_count for step_count, _ in results)
    logging.getLogger(__name__).info("seeds %d to %d: %d operations", first, first + count - 1, operations)
    failures = [failure for _, failure in results if failure]
    assert not failures, "\n".join(failures)
    assert operations == count * steps


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "steps", "chances"),
    [
        pytest.param(700_018, 15, {"forgetting": 0.2, "altering": 0.3, "expiring": 0.0}, id="a group of batches"),
        pytest.param(700_056, 16, {"forgetting": 0.4, "altering": 0.2, "expiring": 0.0}, id="a batch"),
    ],
)
def test_added_columns_that_a_batch_lacks(seed: int, steps: int, chances: dict[str, float]) -> None:
    explore(seed, steps=steps, **chances)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "chances"), [(5_089, {}), (5_004, {"forgetting": 0.3})])
def test_an_expire_after_a_forget_of_another_handle(seed: int, chances: dict[str, float]) -> None:
    """Its choice reads no mods that are deleted."""
    explore(seed, steps=12, **EXPIRING, **chances)


@pytest.mark.slow
def test_a_forget_deletes_a_file_whose_add_the_delta_log_has_lost() -> None:
    """The entries before a conversion are gone, and the checkpoint that named the file with them, by another forget."""
    explore(5_100, steps=12, truncates=True, **EXPIRING)


@pytest.mark.slow
def test_a_take_in_that_ends_a_truncate() -> None:
    """The tombstones that the truncate covers end with it, whether or not a merge had dropped them."""
    explore(100_078, steps=16)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 40))])
def test_merge_points_change_no_row(seed: int) -> None:
    """The same manifests, merged at other points with other settings: the same rows at every version."""
    worlds = [World(200_000 + seed, nested=0.0) for _ in range(2)]
    rnd = random.Random(seed)
    for _ in range(6):
        batch = worlds[0].author.batch()
        for world in worlds:
            result = world.tables[0].apply(batch.rows, batch_id=batch.id, merge=False, **batch.options)
            world._learn(result.version, batch)
            if rnd.random() < 0.5:
                world.merge(rnd.randrange(3))
    # Each compares every version with the oracle, which has the same mods.
    for world in worlds:
        world.finish()
    assert worlds[0].versions == worlds[1].versions


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 30))])
def test_full_mods_without_ties_commute(seed: int) -> None:
    """Full mods with a sequence and no ties: any order, batching, split and replay gives the same rows."""
    rnd = random.Random(seed)
    world = World(300_000 + seed, partials=False, truncates=False, sequences=("int", "two", "decimal"))
    places = [(key, sequence) for key in world.key.values for sequence in world.sequence.values]
    mods = [
        Mod("delete", key, sequence) if rnd.random() < 0.3 else Mod("upsert", key, sequence, world.author.values())
        for key, sequence in rnd.sample(places, min(20, len(places)))
    ]
    # Said once more, as simply as it can be: the greatest mod of each key.
    greatest = {mod.key: mod for mod in sorted(mods, key=lambda mod_of_key: mod_of_key.sequence or ())}
    expected = {
        key: (mod.sequence, tuple(mod.values[name] for name in VALUE_NAMES))
        for key, mod in greatest.items()
        if mod.op == "upsert"
    }
    state = oracle.snapshot([mods], VALUE_NAMES)
    assert {key: (at, tuple(row[n] for n in VALUE_NAMES)) for key, (at, row) in state.rows.items()} == expected
    for settings in (Settings(), Settings(byte_budget=0, target_file_bytes=200, compact_files=2)):
        order = rnd.sample(mods, len(mods)) + rnd.sample(mods, 5)
        table = ModTable.create(
            MemoryStorage(),  # type: ignore[arg-type]
            world.schema,
            primary_key=world.key.names,
            sequence_by=world.sequence.names,
            settings=settings,
        )
        while order:
            size = rnd.randint(1, 9)
            piece, order = order[:size], order[size:]
            rows = [{**world.author.row(mod), "gone": mod.op == "delete"} for mod in piece]
            extra = pa.field("gone", pa.bool_())
            table.apply(world.author.table(rows, VALUE_NAMES, extra), apply_as_deletes="gone", merge=rnd.random() < 0.5)
            if rnd.random() < 0.2:
                table.merge()
        assert world.rows_of(table.to_arrow()) == expected
        assert table.verify().ok


def test_all_kinds_of_keys_are_explored() -> None:
    assert {World(seed).key.names for seed in range(60)} == {kind.names for kind in KEYS.values()}
