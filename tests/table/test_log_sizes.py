"""Sizes of the log come from listings in parts, which meet without a gap or an overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from andes_spark import ModTable
from andes_spark.storage.interface import ObjectInfo
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs.log_sizes import ask_sizes, sizes_of
from andes_spark.testing.tables import create, fill


def expected(storage: MemoryStorage) -> Counter[str]:
    sizes = Counter[str]()
    for info in storage.list("_andes"):
        sizes[info.path.split("/")[1]] += info.size
    return sizes


def objects(versions: int) -> MemoryStorage:
    storage = MemoryStorage()
    for version in range(versions + 1):
        for folder, names in (("manifests", 1), ("merges", version % 2), ("mods", 3), ("quarantine", version % 5 == 0)):
            for number in range(names):
                storage.put(f"_andes/{folder}/{version:020d}-{number}.json", b"x" * (version % 7 + 1))
    for path in ("hint", "merging.json", "another/file", "mods", "ledger/0.parquet", "tombstones/9.parquet", "zzz"):
        storage.put(f"_andes/{path}", b"12345")
    return storage


@pytest.mark.parametrize("versions", [0, 1, 700])
@pytest.mark.parametrize("head", [0, 1, 5, 306, 307, 700, 5_000])
def test_all_objects_count_once_whatever_head_is_assumed(versions: int, head: int) -> None:
    storage = objects(versions)
    assert sizes_of(ask_sizes(storage, head)) == expected(storage)


def test_a_young_table_is_listed_at_once() -> None:
    storage = MemoryStorage()
    table = create(storage, merge="always")
    fill(table, 1, 12)
    before = storage.counts.snapshot()
    status = ModTable.open(storage).status()
    assert storage.counts.minus(before).list == 1
    sizes = expected(storage)
    assert (status.log_bytes, status.mod_bytes) == (sum(sizes.values()), sizes["mods"])


@pytest.mark.parametrize("head", [306, 307, 1_000, 1_042, 1_092, 3_000])
def test_a_part_is_a_page_of_a_listing(head: int, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    for version in range(head + 1):
        for folder in (
            "manifests",
            "mods",
            *(["merges"] if version else []),
            *(["ledger"] if version % 10 == 9 else []),
        ):
            storage.put(f"_andes/{folder}/{version:020d}-x", b"1")
    listed: list[int] = []
    true = storage.list

    def counting(prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        listed.append(0)
        for info in true(prefix, after=after):
            listed[-1] += 1
            yield info

    monkeypatch.setattr(storage, "list", counting)
    assert sizes_of(ask_sizes(storage, head)).total() == sum(1 for _ in true("_andes"))
    assert max(listed) <= 1_000
    assert len(listed) == -(-(3 * head + head // 10) // 950)
