"""Keys packed, and kept in a local folder: the same look-ups as without, and damage is noticed."""

from __future__ import annotations

import logging
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.base.files import OpenFile
from andes_spark.base.key_folder import Image, KeyFolder, image_name
from andes_spark.base.keys import KeyCache, keys_of, packed
from andes_spark.base.locator import key_lookup, locate_files
from andes_spark.base.packed import BLOCK, PackedIntegers
from andes_spark.base.paged import PageSource
from andes_spark.settings import Settings
from andes_spark.storage import parquet
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows
from tests.base.test_page_lookup import KINDS, by_scan, located, rows_of, shape_of, write
from tests.interleave import World, explore

LOW, HIGH = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    ("low", "high"), [(0, 4_000), (-5, 10**6), (0, 10**11), (LOW, LOW + 10**6), (HIGH - 10**6, HIGH), (LOW, HIGH)]
)
@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3_000])
def test_packed_integers_are_found(low: int, high: int, count: int) -> None:
    chance = np.random.default_rng(count)
    values = np.unique(chance.integers(low, high, count, endpoint=True))
    small = PackedIntegers.of(values)
    if small is None:
        assert high - low > 2**32
        return
    assert small.values().tolist() == values.tolist()
    some = chance.choice(values, min(len(values), 60))
    others = [chance.integers(low, high, 60, endpoint=True), chance.integers(LOW, HIGH, 20), [LOW, HIGH]]
    keys = np.unique(np.concatenate([some, *others]))  # type: ignore[arg-type]
    at, numbers = small.find(keys)
    assert numbers.tolist() == np.flatnonzero(np.isin(keys, values)).tolist()
    assert values[at].tolist() == keys[numbers].tolist()
    assert small.find(keys[:0])[0].tolist() == []


def test_packed_integers_take_a_quarter_of_the_memory() -> None:
    small = PackedIntegers.of(np.arange(0, 10**6, 10, dtype=np.int64))
    assert small is not None
    assert small.bytes < 10**5 * 8 / 3.8
    assert PackedIntegers.of(np.zeros(0, np.int64)) is None


def folder_of(path: Path, limit: int = 10**9) -> KeyFolder:
    return KeyFolder(str(path / "keys"), limit)


def images() -> list[Image]:
    starts = np.array([0, 300])
    text = pa.table({"k0": [f"k{n:04d}" for n in range(300)], "k1": pa.array(range(300), pa.int16())})
    keys = keys_of(text, shape_of([KINDS["two"][0], KINDS["small numbers"][0]]))
    assert keys.words is not None
    return [
        Image(starts, packed=PackedIntegers.of(np.arange(0, 900, 3))),
        Image(starts, rows=text),
        Image(starts, rows=text.slice(0, 0)),
        Image(starts, None, text, keys.words.normalizer, keys.words.values),
    ]


@pytest.mark.parametrize("number", range(4))
def test_images_are_read_as_they_were_written(tmp_path: Path, number: int) -> None:
    image = images()[number]
    for mapped in (folder_of(tmp_path).put("x", image), folder_of(tmp_path).find("x")):
        assert mapped is not None
        assert mapped.starts.tolist() == image.starts.tolist()
        assert mapped.normalizer == image.normalizer
        assert (mapped.words is None) == (image.words is None)
        if image.words is not None:
            assert mapped.words.tolist() == image.words.tolist()
        if image.packed is not None:
            assert mapped.packed is not None
            assert mapped.packed.values().tolist() == image.packed.values().tolist()
        else:
            assert mapped.rows is not None
            assert mapped.rows.equals(image.rows)


def test_damage_anywhere_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path)
    for image in images():
        folder.put("x", image)
        path = tmp_path / "keys" / "x.keys"
        data = path.read_bytes()
        for position in {*range(80), *range(0, len(data), 41)}:
            damaged = bytearray(data)
            damaged[position] ^= 1 << position % 8
            path.write_bytes(bytes(damaged))
            assert folder.find("x") is None, position
            assert not path.exists()
        for cut in (0, 5, 64, len(data) - 1):
            path.write_bytes(data[:cut])
            assert folder.find("x") is None
    assert "is damaged and will be made again" in caplog.text


def test_a_name_tells_file_mark_group_and_key() -> None:
    key = [("id", pa.int64())]
    names = {
        image_name("f", "m", 0, key), image_name("g", "m", 0, key), image_name("f", "n", 0, key),
        image_name("f", "m", 1, key), image_name("f", "m", 0, [("id", pa.int32())]),
        image_name("f", "m", 0, [("ie", pa.int64())]), image_name("f", "m", 0, [*key, *key]),
    }  # fmt: skip
    assert len(names) == 7


def test_beyond_its_limit_the_oldest_images_go(tmp_path: Path) -> None:
    image = images()[0]
    folder_of(tmp_path).put("0", image)
    size = (tmp_path / "keys" / "0.keys").stat().st_size
    folder = folder_of(tmp_path, 3 * size)
    for number in (1, 2):
        folder.put(str(number), image)
        os.utime(tmp_path / "keys" / f"{number}.keys", ns=(number, number))
    assert folder.find("1") is not None  # used, and so the newest
    folder.put("3", image)
    assert [folder.find(str(number)) is not None for number in range(4)] == [True, True, False, True]
    assert folder_of(tmp_path, size - 1).put("4", image) is None


def test_a_folder_that_cannot_be_used_is_a_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "keys").write_text("a file")
    with caplog.at_level(logging.WARNING):
        assert folder_of(tmp_path).put("x", images()[0]) is None
    assert "key images cannot be kept" in caplog.text
    table = create(tmp_path / "t", settings=Settings(key_folder=str(tmp_path / "keys")), merge="always")
    table.apply(rows((1, 1, "a")), batch_id=("s", 1))
    assert table.apply(rows((1, 2, "b")), batch_id=("s", 2)).merge.updated == 1  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_look_ups_in_the_folder_find_what_a_scan_finds(
    kind: str, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 90)
    chance = random.Random(kind)
    storage, kinds = MemoryStorage(), KINDS[kind]
    shape = shape_of(kinds)
    table = rows_of(shape, kinds, chance, 700)
    if order == "sorted":
        table = table.sort_by([(name, "ascending") for name in shape.columns.key])
    files = write(storage, shape, table, chance)
    caches = [KeyCache(0, folder_of(tmp_path)), KeyCache(10**8), None]
    for size in (300, 5, 60):
        requested = table.take(pa.array(chance.choices(range(table.num_rows), k=size)))
        frame = pl.from_arrow(pa.concat_tables([requested, rows_of(shape, kinds, chance, size)]))
        assert isinstance(frame, pl.DataFrame)
        keys = key_lookup(frame.unique(subset=shape.columns.key).sort(shape.columns.key), shape)
        expected = located(by_scan(storage, shape, files, keys, monkeypatch))
        assert expected
        # The last one is of a new process, which finds the images of the first.
        for cache in (*caches, KeyCache(0, folder_of(tmp_path))):
            assert located(locate_files(PageSource(storage, shape, cache), files, keys)) == expected


def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Data files that are opened from now on."""
    opened: list[str] = []
    whole = OpenFile._open

    def noting(self: OpenFile, **options: Any) -> Any:
        opened.append(self._path)
        return whole(self, **options)

    monkeypatch.setattr(OpenFile, "_open", noting)
    return opened


@pytest.mark.parametrize("key", [["id"], ["a", "id"]])
def test_a_new_process_finds_the_keys_and_makes_damaged_ones_again(
    key: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(key_cache_bytes=0, key_folder=str(tmp_path / "keys"), compact_bytes=0)
    data = rows(*((key, 1, f"a{key:05d}") for key in range(5_000)))
    create(DiskStorage(str(tmp_path / "t")), data=data, settings=settings, primary_key=key)

    def merge(sequence: int) -> int:
        """Files that a merge by a new handle opens to find keys."""
        opened = opens(monkeypatch)
        mods = rows(*((key, sequence, f"a{key:05d}") for key in range(0, 6_000, 40)))
        merged = ModTable.open(tmp_path / "t", settings=settings)
        result = merged.apply(mods, batch_id=("s", sequence), merge=True).merge
        assert result is not None
        assert (result.updated, result.inserted) == ((125, 25) if sequence == 2 else (150, 0))
        return len(opened)

    assert merge(2) == 1
    [image] = (tmp_path / "keys").iterdir()
    before = image.stat().st_size
    assert merge(3) == 1, "the file of the merge before it, which is new"
    assert len(list((tmp_path / "keys").iterdir())) == 2
    assert merge(4) == 1
    damaged = bytearray(image.read_bytes())
    damaged[before // 2] ^= 1
    image.write_bytes(bytes(damaged))
    assert merge(5) == 2
    assert image.stat().st_size == before
    assert ModTable.open(tmp_path / "t").verify().ok


@pytest.mark.slow
def test_interleavings_with_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = World._settings
    monkeypatch.setattr(World, "_settings", lambda self: replace(usual(self), key_folder=str(tmp_path / "keys")))
    for seed in range(400_000, 400_012):
        explore(seed, steps=5)
    assert list((tmp_path / "keys").iterdir())


def test_packed_keys_count_as_what_they_take() -> None:
    shape = shape_of(KINDS["bigint"])
    keys = packed(keys_of(pa.table({"k0": pa.array(range(0, 4_000, 4))}), shape))
    cache = KeyCache(4_000)
    cache.put("f", 0, keys)
    assert cache.find("f", 0) is keys
