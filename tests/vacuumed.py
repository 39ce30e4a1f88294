"""A table to vacuum: seven merged batches, an hour old."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from andes_spark import ModTable, Settings
from andes_spark.errors import StorageError
from andes_spark.log.clock import CheckedClock
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tapped import TappedStorage

SETTINGS = Settings(compact_bytes=0, threads=1)
LAST = 7
NOW = "0 seconds"
Rows = list[dict[str, Any]]


def mods(seq: int) -> pa.Table:
    ids = [1, 10 + seq, 30 + seq, 8 + seq, 50 + seq]
    return pa.table({"id": ids, "seq": [seq] * 5, "op": ["U", "U", "U", "U", "D"]})


def made(**arguments: Any) -> MemoryStorage:
    """A table of seven merged batches, whose files were all written an hour ago."""
    storage = MemoryStorage()
    options: dict[str, Any] = {"primary_key": "id", "sequence_by": "seq", "settings": SETTINGS, **arguments}
    table = ModTable.create(storage, "id BIGINT, seq BIGINT", **options)
    for seq in range(1, LAST + 1):
        table.apply(mods(seq), apply_as_deletes="op = 'D'", batch_id=("feed", seq))
    return aged(storage)


def aged(storage: MemoryStorage) -> MemoryStorage:
    """Make the objects an hour older, but not the manifests: their times are part of them."""
    hour = 3_600_000
    storage._objects = {path: (data, time - hour) for path, (data, time) in storage._objects.items()}
    return storage


def opened(storage: Any) -> ModTable:
    return ModTable.open(storage, settings=SETTINGS)


def rows(table: ModTable, **options: Any) -> Rows:
    return table.to_arrow(**options).sort_by("id").to_pylist()


def paths(storage: MemoryStorage, *folders: str) -> set[str]:
    return {path for path in storage._objects if path.startswith(folders)}


def base_files(storage: MemoryStorage) -> set[str]:
    return paths(storage, "part-", "deletion_vector_")


def sound(storage: Any) -> None:
    checked = ModTable.open(storage).verify()
    assert (checked.problems, checked.missing, checked.unused) == ((), (), ()), checked.details()


class HalfDeleting(TappedStorage):
    """A store that fails in the middle of each deletion."""

    def delete(self, paths: Iterable[str]) -> None:
        all_paths = list(paths)
        super().delete(all_paths[: len(all_paths) // 2])
        raise StorageError("the store is gone", path="?")


def write_at(table: ModTable, time: int) -> None:
    """Let a handle date its versions with a time, as if the store agreed."""
    log = table._open_table.log
    log.clock = lambda: time
    table._open_table.clock.check = lambda **_: CheckedClock(log.clock)  # type: ignore[method-assign]
