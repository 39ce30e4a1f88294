"""verify() looks at what reads of older versions need, too: every file that any state of the table names."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.log import load_state
from andes_spark.errors import AndesError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.parquet import index_ranges

VERSIONS = 6


def history() -> MemoryStorage:
    """A table whose every kind of file is superseded: the newest state needs none of the first ones."""
    storage = MemoryStorage()
    table = ModTable.create(
        storage,
        "k bigint, v string, s bigint",
        primary_key=["k"],
        sequence_by=["s"],
        settings=Settings(compact_bytes=0),
    )
    for version in range(1, VERSIONS):
        keys = range(200) if version == 1 else range(0, 200, version)
        mods = pa.table(
            {
                "k": keys,
                "v": [f"{version}-{key}" for key in keys],
                "s": [version] * len(keys),
                "op": ["D" if version > 1 and key % 5 == 0 else "U" for key in keys],
            }
        )
        table.apply(mods, apply_as_deletes="op = 'D'")
    # All rows anew: files and vectors of the versions before are history.
    table.apply(pa.table({"k": range(200), "v": ["new"] * 200, "s": [VERSIONS] * 200}))
    return storage


def names(storage: MemoryStorage) -> list[str]:
    """All that is committed: neither advisory files nor checkpoints, which nothing depends on."""
    return [info.path for info in storage.list() if not re.search(r"hint$|merging\.json$|checkpoint", info.path)]


def problems_with(storage: MemoryStorage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        result = ModTable.open(storage).verify()
    except AndesError as error:
        return (error.message,), ()
    return result.problems, result.missing


KINDS = {
    "data": r"^part-",
    "vector": r"^deletion_vector_",
    "delta entry": r"^_delta_log/\d+\.json$",
    "merge record": r"^_andes/merges/\d+-[0-9a-f-]+\.json$",
    "tombstones": r"^_andes/tombstones/",
    "mods": r"^_andes/mods/",
    "manifest": r"^_andes/manifests/",
}


def test_the_history_is_whole_and_has_every_kind_of_file() -> None:
    storage = history()
    assert problems_with(storage) == ((), ())
    for kind, pattern in KINDS.items():
        assert sum(bool(re.search(pattern, name)) for name in names(storage)) > 1, kind
    result = ModTable.open(storage).verify()
    assert result.rows == 200
    assert result.files > VERSIONS


def rows_by_version(storage: MemoryStorage) -> list[pa.Table]:
    table = ModTable.open(storage)
    return [table.to_arrow(version=version).sort_by("k") for version in range(VERSIONS + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_in_any_file_is_found_or_changes_no_row(kind: str) -> None:
    storage = history()
    before = rows_by_version(storage)
    unseen = 0
    for name in names(storage):
        if re.search(KINDS[kind], name):
            data = storage.get(name)
            for at in np.linspace(4, len(data) - 5, 4).astype(int):
                storage.put(name, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
                problems, _ = problems_with(storage)
                if not problems:
                    # Headers of Parquet pages have statistics of their own, which no checksum covers and nobody reads.
                    assert kind == "data", name
                    assert rows_by_version(storage) == before
                    unseen += 1
            storage.put(name, data)
    assert unseen < 3
    assert problems_with(storage) == ((), ())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_gone_is_told(kind: str) -> None:
    storage = history()
    for name in names(storage):
        if re.search(KINDS[kind], name):
            data = storage.get(name)
            storage.delete([name])
            problems, missing = problems_with(storage)
            assert problems or missing == (name,), name
            storage.put(name, data)


def test_old_files_that_a_vacuum_took_are_missing_and_no_problem() -> None:
    storage = history()
    newest = ModTable.open(storage).to_arrow().sort_by("k")
    removed = []
    for name in names(storage):
        if name.startswith("part-"):
            data = storage.get(name)
            storage.delete([name])
            result = ModTable.open(storage).verify()
            if result.ok:
                assert result.missing == (name,)
                assert ModTable.open(storage).to_arrow().sort_by("k") == newest
                removed.append(name)
            storage.put(name, data)
    assert len(removed) >= 3


def test_a_wrong_bit_in_the_index_of_keys_is_found():
    storage = history()
    table = ModTable.open(storage)
    assert table.verify().ok
    [(path, file)] = table._open_table.base.snapshot().state.files.items()
    assert file.footer
    span, _ = index_ranges(file.footer)[0]
    data = bytearray(storage.get(path))
    data[span.offset + span.length // 2] ^= 1
    storage.put(path, bytes(data))
    [problem] = ModTable.open(storage).verify().problems
    assert path in problem
    assert "page index" in problem


def test_missing_files_of_a_tagged_version_are_a_problem() -> None:
    storage = history()
    table = ModTable.open(storage)
    older = set(load_state(storage).files)
    table.tag("kept")
    tagged = table.version - 1
    table.apply([{"k": key, "v": "later", "s": 90} for key in range(200)], merge=True)
    table.apply([{"k": 0, "v": "last", "s": 91}], merge=True)
    table.vacuum(retain="0 seconds")
    (path, *_) = sorted(older - set(load_state(storage).files))
    storage.delete([path])
    result = ModTable.open(storage).verify()
    [problem] = result.problems
    assert path in problem
    assert f"version {tagged}, which the tag kept keeps" in problem
    assert path not in result.missing
    assert any(path in text for text in table.repair().left)
    table.untag("kept")
    assert ModTable.open(storage).verify().ok


def test_a_tagged_version_that_an_older_state_gives_is_sound() -> None:
    storage = history()
    table = ModTable.open(storage)
    table.tag("kept")
    rows = table.to_arrow(tag="kept").sort_by("k")
    table.apply([{"k": key, "v": "later", "s": 90} for key in range(200)], merge=True)
    storage.delete([path for path in names(storage) if re.search(KINDS["data"], path)])
    assert table.repair().left == ()
    table = ModTable.open(storage)
    assert table.verify().ok
    assert table.to_arrow(tag="kept").sort_by("k").equals(rows)
