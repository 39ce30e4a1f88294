"""Compaction by ranges of keys: rows stay as they are, a key lies in the range of few files, and little is written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pyroaring import BitMap64

from andes_spark import ModTable, Settings
from andes_spark.base.merge import compact, rewrite
from andes_spark.delta.data_file import DataFile
from andes_spark.storage.memory import MemoryStorage

Patch = pytest.MonkeyPatch
Rows = dict[Any, tuple[Any, ...]]


@dataclass
class Seen:
    """What compactions did."""

    pulled: int = 0
    moved: int = 0
    cut: int = 0


@pytest.fixture
def seen(monkeypatch: Patch) -> Seen:
    counts = Seen()
    pull = compact._pull

    def pulling(context: Any, writer: Any, pulls: Any, work: Any) -> None:
        pull(context, writer, pulls, work)
        counts.pulled += len(pulls)
        counts.moved += sum(map(len, work.deleted.values()))

    def cutting(*args: Any, **options: Any) -> Any:
        counts.cut += 1
        return rewrite.cut(*args, **options)

    monkeypatch.setattr(compact, "_pull", pulling)
    monkeypatch.setattr(compact, "cut", cutting)
    return counts


@dataclass
class Kind:
    """Columns of a key, and the key of a number."""

    columns: str
    key: Callable[[int], tuple[Any, ...]]
    names: tuple[str, ...] = ("id",)
    options: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "numbers": Kind("id BIGINT", lambda number: (number,)),
    "text": Kind("id STRING", lambda number: (f"a-prefix-that-all-of-the-keys-have/{number:08d}",)),
    "long text": Kind("id STRING", lambda number: (f"{number:04d}" + "x" * 300,)),
    "two columns": Kind("id STRING, n INT", lambda number: ("abc"[number % 3], number), ("id", "n")),
    "partitions": Kind("id BIGINT", lambda number: (number,), options={"partition_by": ["part"]}),
    "no vectors": Kind("id BIGINT", lambda number: (number,), options={"deletion_vectors": False}),
    "decimals": Kind("id DECIMAL(10,2)", lambda number: (number - 500,)),
    "times": Kind("id TIMESTAMP_NTZ", lambda number: (np.datetime64(number * 10**12, "us").item(),)),
}


class Author:
    """Random batches for a table, and the rows that it must hold."""

    def __init__(self, kind: Kind, seed: int, *, keys: int = 1_000) -> None:
        self.kind, self.random, self.keys = kind, random.Random(seed), keys
        self._greatest: dict[Any, tuple[int, bool, tuple[Any, ...]]] = {}
        self._sequence = 0

    @property
    def rows(self) -> Rows:
        return {key: row for key, (_, deleted, row) in self._greatest.items() if not deleted}

    def batch(self, numbers: list[int], *, deletes: float = 0.1) -> pa.Table:
        self._sequence += 1
        mods = []
        for number in dict.fromkeys(numbers):
            key = self.kind.key(number)
            sequence = 0 if self.random.random() < 0.05 else self._sequence
            deleted = self.random.random() < deletes
            row = (*key, sequence, number % 3, self.random.randbytes(12).hex())
            mods.append((*row, "D" if deleted else "U"))
            old = self._greatest.get(key)
            if old is None or sequence > old[0] or (sequence == old[0] and (deleted or not old[1])):
                self._greatest[key] = (sequence, deleted, row)
        columns = [pa.array(list(column)) for column in zip(*mods, strict=True)]
        return pa.table(columns, [*self.kind.names, "seq", "part", "text", "op"])

    def take(self, table: ModTable, numbers: list[int], **options: Any) -> Any:
        merged = table.apply(self.batch(numbers, **options), apply_as_deletes="op = 'D'", cast=True).merge
        assert merged is not None
        assert (merged.status, merged.advisory) == ("merged", ())
        return merged


def create(kind: Kind, **settings: Any) -> ModTable:
    options = {"compact_files": 4, "threads": 2, **settings}
    return ModTable.create(
        MemoryStorage(),
        f"{kind.columns}, seq BIGINT, part INT, text STRING",
        primary_key=list(kind.names),
        sequence_by=["seq"],
        settings=Settings(**options),
        **kind.options,
    )


def rows_by_key(table: ModTable, kind: Kind) -> Rows:
    rows = table.to_arrow()
    width = len(kind.names)
    values = [tuple(_plain(value) for value in row.values()) for row in rows.to_pylist()]
    assert len({row[:width] for row in values}) == len(values), "keys are unique"
    return {row[:width]: row for row in values}


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def explore(
    kind: Kind, seed: int, *, merges: int = 14, target: int | None = None, counts: tuple[int, ...] = (5, 60, 200)
) -> ModTable:
    """Random merges, each compared with the rows that the table must hold."""
    author = Author(kind, seed)
    target = target or author.random.choice((700, 2_000, 24_000))
    budget = author.random.choice((0, 512 * 1024 * 1024))
    table = create(kind, target_file_bytes=target, byte_budget=budget)
    author.take(table, list(range(0, author.keys, 2)), deletes=0.0)
    for _ in range(merges):
        count, start = author.random.choice(counts), author.random.randrange(author.keys)
        if author.random.random() < 0.3 and len(counts) > 1:
            numbers = [(start + step) % author.keys for step in range(count)]
        else:
            numbers = [author.random.randrange(author.keys) for _ in range(count)]
        author.take(table, numbers)
        assert rows_by_key(table, kind) == author.rows
    return table


def explore_cuts(kind: Kind, seed: int) -> ModTable:
    """Random merges of files that span many others."""
    return explore(kind, seed, target=700, counts=(12,), merges=24)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
def test_rows_stay_as_they_are(name: str, seed: int, seen: Seen) -> None:
    table = explore(KINDS[name], seed)
    reopened = ModTable.open(table._open_table.storage)
    assert reopened.verify().ok
    assert reopened.to_arrow(version=table.version - 5).num_rows > 0
    assert reopened.to_arrow().num_rows == table.to_arrow().num_rows


@pytest.mark.slow
def test_each_way_of_compaction_was_taken(seen: Seen) -> None:
    for seed in range(4):
        explore(KINDS["numbers"], seed, target=2_000)
        explore_cuts(KINDS["two columns"], seed)
    assert seen.pulled > 20
    assert seen.moved > 500
    assert seen.cut > 2


def live_files(table: ModTable) -> list[DataFile]:
    return list(table._open_table.base.snapshot().state.files.values())


def ranges(table: ModTable) -> npt.NDArray[np.int64]:
    return np.array(
        [[low[0], high[0]] for low, high in (json.loads(file.add["tags"]["andes.keys"]) for file in live_files(table))]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("share", "batches"), [(0.01, 80), (0.001, 120)])
def test_few_files_hold_a_key_and_little_is_written(share: float, batches: int) -> None:
    generator = np.random.default_rng(7)
    count = 200_000

    def rows(ids: npt.NDArray[np.int64], sequence: int) -> pa.Table:
        return pa.table({"id": ids, "seq": np.full(len(ids), sequence), "a": generator.random(len(ids))})

    table = ModTable.create(
        MemoryStorage(),
        "id BIGINT, seq BIGINT, a DOUBLE",
        primary_key=["id"],
        sequence_by=["seq"],
        data=rows(np.arange(count), 0),
        settings=Settings(target_file_bytes=80_000, threads=2),
    )
    assert len(live_files(table)) >= 30
    new = rewritten = 0
    means: list[float] = []
    most = 0
    for number in range(1, batches + 1):
        ids = np.unique(generator.integers(0, count, int(count * share)))
        merged = table.apply(rows(ids, number)).merge
        assert merged is not None
        assert merged.write_amplification == pytest.approx(1 + merged.written.rewritten / merged.written.new)
        assert merged.written.rewritten == merged.compaction.bytes_added
        new += merged.written.new
        rewritten += merged.written.rewritten
        low, high = ranges(table).T
        keys = generator.integers(0, count, 200)[:, None]
        within = ((low <= keys) & (keys <= high)).sum(axis=1)
        means.append(float(within.mean()))
        most = max(most, int(within.max()))
    assert (new + rewritten) / new <= 7
    assert np.mean(means) <= 15
    assert most <= 25
    stored = sum(file.num_records or 0 for file in live_files(table))
    assert stored <= 1.25 * count
    assert table.verify().ok


@pytest.mark.slow
def test_inserts_between_old_keys_do_not_pile_up() -> None:
    """Random inserts delete no row, but rows over a file of the run wear it too."""
    generator = np.random.default_rng(3)
    table = ModTable.create(
        MemoryStorage(),
        "id BIGINT, a DOUBLE",
        primary_key=["id"],
        data=pa.table({"id": np.arange(0, 40_000_000, 1_000), "a": generator.random(40_000)}),
        settings=Settings(target_file_bytes=20_000, threads=2),
    )
    new = rewritten = 0
    for number in range(60):
        ids = np.unique(generator.integers(0, 40_000_000, 1_000))
        merged = table.apply(pa.table({"id": ids, "a": generator.random(len(ids))}), batch_id=("s", number)).merge
        assert merged is not None
        new, rewritten = new + merged.written.new, rewritten + merged.written.rewritten
    low, high = ranges(table).T
    keys = generator.integers(0, 40_000_000, 200)[:, None]
    within = ((low <= keys) & (keys <= high)).sum(axis=1)
    assert within.mean() <= 15
    assert (new + rewritten) / new <= 7


def test_newest_keys_stay_narrow() -> None:
    """Rows at the end of the range of keys lie in files of their own, and small ones are packed."""
    table = create(KINDS["numbers"], target_file_bytes=64_000)
    author = Author(KINDS["numbers"], 1)
    for number in range(40):
        author.take(table, list(range(100 * number, 100 * number + 100)), deletes=0.0)
    low, high = ranges(table).T
    assert len(low) <= 12
    assert all(((low <= key) & (key <= high)).sum() <= 2 for key in range(0, 4_000, 50))


def test_rows_that_compress_well_are_packed_once() -> None:
    """The writer splits rows by their bytes in memory: files that are small on the disk alone stay as they are."""
    table = create(KINDS["numbers"], target_file_bytes=64 * 1024, compact_bytes=0)
    for number in range(8):
        ids = range(200 * number, 200 * number + 200)
        table.apply(pa.table({"id": ids, "seq": ids, "part": [0] * 200, "text": ["x" * 2_000] * 200}), cast=True)
    assert max(file.size for file in live_files(table)) < 64 * 1024 / 4
    assert table.compact().rounds <= 2
    assert table.compact().rounds == 0
    assert table.to_arrow().num_rows == 1_600


def moved_rows_stay(patch: Patch) -> None:
    """A row that moves stays live where it was."""
    true = rewrite.rows_within

    def within(*args: Any) -> rewrite.MovedRows:
        moved = true(*args)
        dead = moved.dead
        return replace(moved, dead=dead - BitMap64([dead.max()])) if len(dead) > 1 else moved

    patch.setattr(compact, "rows_within", within)


def moved_rows_are_lost(patch: Patch) -> None:
    """The last row of each file that moves is lost."""
    true = rewrite.rows_within

    def within(*args: Any) -> rewrite.MovedRows:
        moved = true(*args)
        return replace(moved, parts=tuple(part.slice(0, max(0, part.num_rows - 1)) for part in moved.parts))

    patch.setattr(compact, "rows_within", within)


def deleted_rows_move(patch: Patch) -> None:
    """Rows that were deleted before move along."""
    patch.setattr(rewrite, "load_vector", lambda *_: BitMap64())


def lost_rows_come_back(patch: Patch) -> None:
    """A file that is written anew keeps the rows that have moved away."""
    patch.setattr(
        compact._Work,
        "without",
        lambda self, file: (self.old.append(file), self.deleted.pop(file.number, None), BitMap64())[2],
    )


def cut_loses_a_piece(patch: Patch) -> None:
    """One of the files of a cut is forgotten."""
    true = rewrite.cut
    patch.setattr(compact, "cut", lambda *args, **options: true(*args, **options)[:-1])


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant", [moved_rows_stay, moved_rows_are_lost, deleted_rows_move, lost_rows_come_back, cut_loses_a_piece]
)
def test_a_planted_mistake_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        explore_many()


def explore_many() -> None:
    for seed in range(10):
        explore(KINDS["numbers"], seed, target=2_000)
        explore_cuts(KINDS["numbers"], seed)
