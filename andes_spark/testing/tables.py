"""Small tables in memory for tests of the log."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from andes_spark.model.documents import seal
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable


def create(storage: Any, **overrides: Any) -> ModTable:
    """Create a table of id, lsn and a."""
    options: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["lsn"], "merge": "manual", **overrides}
    return ModTable.create(storage, "id bigint, lsn bigint, a string", **options)


def rows(*triples: tuple[int, int, str]) -> pa.Table:
    """Build mods of that table."""
    columns = list(zip(*triples, strict=True)) if triples else [(), (), ()]
    return pa.table(
        [pa.array(columns[0], pa.int64()), pa.array(columns[1], pa.int64()), pa.array(columns[2], pa.string())],
        names=["id", "lsn", "a"],
    )


def fill(table: ModTable, first: int, last: int) -> None:
    """Apply versions ``first`` to ``last``, each a batch of one mod with an id."""
    for number in range(first, last + 1):
        assert table.apply(rows((number % 7, number, "x")), batch_id=("s", number)).version == number


def copy_of(storage: MemoryStorage) -> MemoryStorage:
    """Return another store with the same objects."""
    copy = MemoryStorage()
    for info in storage.list():
        copy.put(info.path, storage.get(info.path))
    return copy


def edit(storage: MemoryStorage, version: int, /, **fields: Any) -> None:
    """Change fields of a manifest and update its checksum."""
    document = msgspec.json.decode(storage.get(manifest_path(version)))
    document.pop("checksum")
    storage.put(manifest_path(version), seal(msgspec.json.encode({**document, **fields})))


def files(storage: Any, kind: str = "mods") -> set[str]:
    """Return paths of files of the log."""
    return {info.path for info in storage.list(f"_andes/{kind}")}
