"""A repair that ends at any of its writes: nothing is lost, and the same repair, or any merge, finishes it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from andes_spark.testing.tapped import TappedStorage
from tests.table.maintenance.test_verify import history, names
from tests.table.repair.test_take_in import FOREIGN, content, named, opened, overwrite

pytestmark = pytest.mark.faults
WRITES = ("put", "put_if_absent", "open_output")
BEFORE = {1: (10, "a"), 2: (12, "mine"), 3: (10, "c"), 4: (10, "d")}
AFTER = {1: (10, "a"), 2: (12, "mine"), 5: (7, "new")}


class KilledError(Exception):
    """The process ended."""


@pytest.fixture(scope="module")
def changed() -> MemoryStorage:
    """A table with a pending mod, whose base another writer changed."""
    storage, table = opened()
    table.apply(named((2, 12, "mine")), merge=False)
    overwrite(storage, *FOREIGN, stats=False)
    return storage


def killed(storage: MemoryStorage, write: int, after: bool, **options: Any) -> bool:
    """Whether a repair ended at one of its writes, before or after it was done."""
    tapped = TappedStorage(storage)
    table = ModTable.open(tapped)  # type: ignore[arg-type]
    left, over = write, False

    def tap(kind: str, path: str) -> None:
        nonlocal left, over
        left -= kind in WRITES
        if over or left < 0:
            raise KilledError
        if left == 0 and kind in WRITES:
            if after:
                over = True
            else:
                raise KilledError

    tapped.tap = tap
    try:
        table.repair(**options)
    except KilledError:
        return True
    return over


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("choice", ["take_in", "undo", "undo without files"])
def test_a_repair_that_is_killed(changed: MemoryStorage, choice: str, after: bool) -> None:
    foreign, ended = choice.split()[0], 0
    for write in range(1, 40):
        storage = copy_of(changed)
        if choice.endswith("files"):
            merged = load_state(storage, version=1)
            storage.delete(merged.files)
        if not killed(storage, write, after, foreign=foreign):
            break
        ended += 1
        table = ModTable.open(storage)
        if not choice.endswith("files"):
            assert content(table) in (BEFORE, AFTER), f"killed at write {write}"
        table.apply(pa.table({"id": [8], "seq": [1], "name": ["more"]}), merge=False)
        if table.repair(dry_run=True).findings:
            table.repair(foreign=foreign)
        table.merge()
        expected = AFTER if foreign == "take_in" else BEFORE
        for handle in (table, ModTable.open(storage)):
            assert content(handle) == {**expected, 8: (1, "more")}, f"killed at write {write}"
            assert handle.verify().ok, handle.verify().problems
    assert ended >= (1 if choice == "undo" else 3)


def damaged(kind: str) -> tuple[MemoryStorage, pa.Table]:
    """A table with damage of a kind, and its rows."""
    storage = history()
    table = ModTable.open(storage)
    if kind == "manifests":
        for number in range(6):
            table.apply([{"k": number, "v": "later", "s": 60}], batch_id=("s", number), merge=False)
    expected = table.to_arrow().sort_by("k")
    paths = names(storage)
    state = load_state(storage)
    deleted = {
        "files": list(state.files),
        "entries": [entry_path(3)],
        "log": [info.path for info in storage.list("_delta_log")],
        "records": [name for name in paths if name.startswith(("_andes/merges", "_andes/tombstones"))],
        "mods": [name for name in paths if name.startswith("_andes/mods")][1:3],
        "manifests": [manifest_path(8), manifest_path(9)],
    }
    storage.delete(deleted[kind])
    return storage, expected


@pytest.mark.parametrize("kind", ["files", "entries", "log", "records", "mods", "manifests"])
def test_a_repair_of_damage_that_is_killed(kind: str) -> None:
    broken, expected = damaged(kind)
    ended = 0
    for write in range(1, 60):
        storage = copy_of(broken)
        tapped = TappedStorage(storage)
        left = write

        def tap(request: str, path: str) -> None:
            nonlocal left
            left -= request in (*WRITES, "delete")
            if left <= 0:
                raise KilledError

        tapped.tap = tap
        try:
            ModTable.repair_folder(tapped, lost="accept")  # type: ignore[arg-type]
        except KilledError:
            ended += 1
        if left > 0:
            break
        assert ModTable.repair_folder(storage, lost="accept").left == (), f"killed at {write}"
        table = ModTable.open(storage)
        assert table.verify().ok, (write, table.verify().problems)
        assert table.to_arrow().sort_by("k") == expected, f"killed at {write}"
    assert ended > 1
