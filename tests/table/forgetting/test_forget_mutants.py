"""Planted mistakes in forget: each is found by a search of the stored bytes, by the rows, or by the proof itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from andes_spark import ModTable
from andes_spark.base import forgotten, tombstones
from andes_spark.errors import CommitConflictError
from andes_spark.log import rolled
from andes_spark.model.manifest import MANIFESTS
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.forgetting import forget as forget_module
from andes_spark.table.forgetting import redaction, release, sweep
from andes_spark.testing.tables import copy_of
from andes_spark.testing.tapped import TappedStorage
from tests.forgotten import KEY, LAST, forget, holding, made, mods, opened, rows, send, without

pytestmark = pytest.mark.faults

Patch = pytest.MonkeyPatch


def others(seq: int) -> pa.Table:
    batch = mods(seq)
    return batch.filter(pc.not_equal(batch["email"], KEY))


def forget_and_use(storage: MemoryStorage, meanwhile: Callable[[], Any] | None = None, nth: int = 1) -> None:
    """Forget the key, use the table, and compare."""
    expected, behind = without(opened(storage)), opened(storage)
    tapped, left = TappedStorage(storage), [nth]

    def tap(kind: str, path: str) -> None:
        left[0] -= kind == "put_if_absent" and path.startswith(MANIFESTS)
        if left[0] == 0 and meanwhile is not None:
            tapped.tap = None
            meanwhile()

    tapped.tap = tap
    result = forget(tapped)
    assert holding(storage) == []
    assert result.ok
    if meanwhile is None:
        assert rows(opened(storage)) == expected
        for number in range(8):
            send(behind, others(60 + number), 60 + number, merge=False)
        assert holding(storage) == []
    for handle in (opened(storage), behind):
        send(handle, mods(LAST), 200, merge=False)
        assert handle.get([KEY]).num_rows == 0
        handle.merge()
        assert handle.get([KEY]).num_rows == 0
    checked = ModTable.open(storage).verify()
    assert checked.ok, checked.problems


def alone(storage: MemoryStorage) -> None:
    forget_and_use(storage)


def not_merged(storage: MemoryStorage) -> None:
    """A table whose roll-ups repeat versions that are not merged."""
    forget_and_use(made(merge="manual"))


def beside_a_writer(storage: MemoryStorage) -> None:
    table = opened(storage)
    forget_and_use(storage, lambda: send(table, mods(2), 40), 3)


def beside_a_delete(storage: MemoryStorage) -> None:
    """Another writer deletes the key at a higher sequence: its tombstone is the one that counts."""
    table, newer = opened(storage), pa.table({"email": [KEY], "seq": [50]})
    forget_and_use(storage, lambda: table.apply(newer, apply_as_deletes="seq > 0", batch_id=("feed", 50)), 2)
    send(opened(storage), mods(50), 300)
    assert opened(storage).get([KEY]).num_rows == 0


def dead_rows_stay(patch: Patch) -> None:
    """Files of the base whose deletion vectors hide the rows are not written anew."""
    patch.setattr(forget_module, "rewrite_base", lambda open_table, keys: None)


def tombstones_stay(patch: Patch) -> None:
    """Tombstones keep the keys beside the hashed ones."""
    patch.setattr(tombstones, "without_forgotten", lambda storage, rows, forgotten, shape: rows)


def tombstones_of_any_sequence_go(patch: Patch) -> None:
    """A tombstone above the sequence of the hashed one goes as well."""
    patch.setattr(forgotten, "above", lambda left, right: pl.lit(False))


def hashes_are_lost(patch: Patch) -> None:
    """Hashed tombstones are not looked at."""
    patch.setattr(
        tombstones,
        "forgotten_keys",
        lambda storage, files, shape, keys, cache: keys.clear().join(
            pl.DataFrame(schema=dict.fromkeys(shape.columns.sequence, pl.Int64)), how="cross"
        ),
    )


def other_salts(patch: Patch) -> None:
    """The salt takes no part when keys are looked up."""
    true = forgotten.hashes
    patch.setattr(
        forgotten, "hashes", lambda keys, version, columns, salt: true(keys, version, columns, forgotten.new_salt())
    )


def ranges_stay_in_manifests(patch: Patch) -> None:
    """Manifests are not written anew."""
    patch.setattr(sweep, "redacted_manifest", lambda manifest, data, floor, refused: manifest)


def ranges_stay_in_roll_ups(patch: Patch) -> None:
    """What roll-ups repeat of earlier versions stays."""
    patch.setattr(redaction, "_pending", lambda version, refused: version)


def roll_ups_of_a_handle_behind(patch: Patch) -> None:
    """A handle repeats in a roll-up what it knew of earlier versions."""
    patch.setattr(rolled, "floor_of", lambda log: 0)
    patch.setattr(rolled.RollUps, "assumed_applied", lambda self, note=None: 0)


def statistics_stay_in_the_delta_log(patch: Patch) -> None:
    """Entries of the Delta log are not written anew."""
    patch.setattr(sweep, "redacted_entry", lambda commit, live: None)


def checkpoints_stay(patch: Patch) -> None:
    """Old checkpoints stay."""
    patch.setattr(sweep.Sweep, "_derived", lambda self, version: iter(()))


def refused_rows_stay(patch: Patch) -> None:
    """Files of refused rows stay as they are."""
    patch.setattr(sweep.Sweep, "_without_refused", lambda self, entry, version: entry)


def writers_in_between(patch: Patch) -> None:
    """Versions that are committed before the floor goes up are not looked at."""
    patch.setattr(release.Release, "_check", lambda self, version: None)


def files_of_mods_stay(patch: Patch) -> None:
    """Nothing is deleted."""
    patch.setattr(release.Release, "delete", lambda self, plan: None)


def one_round(patch: Patch) -> None:
    """What came beside the first deletes is not looked at again."""
    true = forget_module._Forgetting._state
    patch.setattr(
        forget_module._Forgetting,
        "_state",
        lambda self: tuple(part.clear() for part in true(self)) if self._rows else true(self),
    )


MUTANTS: dict[Callable[[Patch], None], Callable[[MemoryStorage], None]] = {
    dead_rows_stay: alone,
    tombstones_stay: alone,
    tombstones_of_any_sequence_go: beside_a_delete,
    hashes_are_lost: alone,
    other_salts: alone,
    ranges_stay_in_manifests: alone,
    ranges_stay_in_roll_ups: not_merged,
    roll_ups_of_a_handle_behind: alone,
    statistics_stay_in_the_delta_log: alone,
    checkpoints_stay: alone,
    refused_rows_stay: alone,
    writers_in_between: beside_a_writer,
    files_of_mods_stay: alone,
    one_round: beside_a_delete,
}


@pytest.mark.parametrize(
    "scenario", [alone, not_merged, beside_a_writer, beside_a_delete], ids=lambda mutant: mutant.__name__
)
def test_without_a_mistake(built: MemoryStorage, scenario: Callable[[MemoryStorage], None]) -> None:
    scenario(copy_of(built))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_a_planted_mistake_is_found(
    built: MemoryStorage, mutant: Callable[[Patch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    # Where tombstones seem to come back each time, a forget gives up.
    with pytest.raises((AssertionError, CommitConflictError)):
        MUTANTS[mutant](copy_of(built))
