"""files_of: exactly the files that a version needs; and what no version needs, as verify() lists it."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import FileDamagedError, LogDamagedError, NoSuchTableError
from andes_spark.log.probing import HINT, write_hint
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.maintenance.files_of import files_of
from andes_spark.testing.tables import copy_of

KINDS = ("manifests", "mods", "quarantine", "ledger", "records", "side_files", "delta_log", "data", "vectors")
LAST = 24


@pytest.fixture(scope="module")
def storage() -> MemoryStorage:
    """A table with every kind of file: deletes, refused rows, late partials, merges now and then, checkpoints."""
    rng = random.Random(3)
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "k BIGINT, v STRING, s BIGINT", primary_key=["k"], sequence_by=["s"], merge="manual",
        data=pa.table({"k": range(50), "v": ["origin"] * 50, "s": [0] * 50}),
        settings=Settings(checkpoint_interval=3, compact_bytes=0),
    )  # fmt: skip
    for version in range(1, LAST + 1):
        keys: list[int | None] = [*rng.sample(range(80), 12), *([None] if version % 5 == 0 else [])]
        sequence = version if version % 7 else 1
        mods = pa.table(
            {
                "k": pa.array(keys, pa.int64()),
                "v": [f"v{version}"] * len(keys),
                "s": [sequence] * len(keys),
                "op": [rng.choice("UUUD") for _ in keys],
            }
        )
        options: dict[str, Any] = {"batch_id": ("s", version), "max_quarantined": 1}
        if version % 7 == 0:
            table.apply(mods.select(["k", "v", "s"]), column_list=["k", "v", "s"], **options)
        else:
            table.apply(mods, apply_as_deletes="op = 'D'", **options)
        if version in (3, 4, 9, 10, 17, 21):
            table.merge()
    return storage


def needed(storage: MemoryStorage, version: int) -> MemoryStorage:
    """A copy of the files that a version needs, and the hint to it."""
    copy = MemoryStorage()
    for path in files_of(ModTable.open(storage)._open_table, version):
        copy.put(path, storage.get(path))
    write_hint(copy, version)
    return copy


def rows(table: ModTable, version: int) -> list[dict[str, Any]]:
    return table.to_arrow(version=version).sort_by("k").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("version", range(LAST + 1))
def test_a_version_can_be_read_and_written_on_with_these_files_alone(storage: MemoryStorage, version: int) -> None:
    table = ModTable.open(needed(storage, version))
    assert table.version == version
    assert rows(table, version) == rows(ModTable.open(storage), version)
    assert not table.apply(pa.table({"k": [1], "v": ["x"], "s": [10**6]}), batch_id=("s", LAST + 1)).replayed
    assert table.merge().status in ("merged", "nothing")


def test_every_kind_of_file_is_needed_by_some_version(storage: MemoryStorage) -> None:
    table = ModTable.open(storage)._open_table
    sets = [files_of(table, version) for version in range(LAST + 1)]
    for kind in KINDS:
        assert any(getattr(files, kind) for files in sets), kind
    for files in sets:
        assert len(set(files)) == len(list(files))
        assert all(storage.size(path) is not None for path in files)


def read_and_merge(storage: MemoryStorage) -> None:
    table = ModTable.open(storage)
    table.to_arrow()
    table.merge()


@pytest.mark.parametrize("kind", ["mods", "data", "vectors", "delta_log", "records", "side_files"])
def test_no_file_is_listed_in_vain(storage: MemoryStorage, kind: str) -> None:
    """Without any one of the files for the rows, the version cannot be read, or not be merged on."""
    version = 19
    paths = getattr(files_of(ModTable.open(storage)._open_table, version), kind)
    for path in (path for path in paths if "quarantine" not in path):
        copy = needed(storage, version)
        copy.delete([path])
        with pytest.raises((FileDamagedError, LogDamagedError, NoSuchTableError)):
            read_and_merge(copy)


def test_files_that_no_version_names_are_listed_and_no_problem(storage: MemoryStorage) -> None:
    copy = copy_of(storage)
    copy._objects = {path: (data, 1) for path, (data, _) in copy._objects.items()}
    before = set(ModTable.open(copy).verify().unused)
    strays = {
        "_andes/mods/00000000000000000003-0.parquet",
        "_andes/tombstones/00000000000000000003-0.parquet",
        "_andes/ledger/00000000000000000003-0.parquet",
        "part-0.zstd.parquet",
        "k=1/part-0.parquet",
        "deletion_vector_0.bin",
    }
    for path in strays:
        copy.put(path, b"stray")
    copy._objects |= dict.fromkeys(strays, (b"stray", 1))
    copy._objects["part-new.parquet"] = (b"of a write under way", 2**60)
    result = ModTable.open(copy).verify()
    assert (result.problems, set(result.unused) - before) == ((), strays)
    assert "unused" in result.details()


@pytest.mark.parametrize("damage", ["missing", "cut", "zero"])
@pytest.mark.parametrize("version", [LAST, LAST - 1, LAST - LAST % 10])
def test_a_table_that_cannot_be_opened_is_verified_as_far_as_it_goes(
    storage: MemoryStorage, version: int, damage: str
) -> None:
    copy = copy_of(storage)
    path = manifest_path(version)
    data = copy.get(path)
    copy.delete([path])
    if damage != "missing":
        copy.put(path, data[: len(data) // 2] if damage == "cut" else b"\0" * len(data))
    mods = files_of(ModTable.open(storage)._open_table, LAST).mods[0]
    copy.put(mods, copy.get(mods)[:-9])
    with pytest.raises(LogDamagedError):
        ModTable.open(copy)
    result = ModTable.verify_folder(copy)
    assert not result.ok
    names = (path, f"version {version},")
    assert any(name in problem for problem in result.problems for name in names), result.problems
    assert any(mods in problem for problem in result.problems)
    assert result.applied == -1


def test_every_damaged_object_is_named_once(storage: MemoryStorage) -> None:
    copy = copy_of(storage)
    broken = [manifest_path(LAST), manifest_path(5), "_delta_log/00000000000000000002.json"]
    for path in broken:
        copy.put(path, b"{")
    problems = ModTable.verify_folder(copy).problems
    for path in broken:
        assert len([problem for problem in problems if path in problem]) == 1, problems


def test_a_sound_table_is_verified_as_when_it_is_open(storage: MemoryStorage) -> None:
    assert ModTable.verify_folder(storage) == ModTable.open(storage).verify()
    with pytest.raises(NoSuchTableError):
        ModTable.verify_folder(MemoryStorage())
    copy = copy_of(storage)
    copy.delete([HINT, manifest_path(0)])
    assert any(manifest_path(0) in problem for problem in ModTable.verify_folder(copy).problems)
