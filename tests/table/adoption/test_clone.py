"""A clone has the rows of its version, and goes on as the original would, late mods included."""

from __future__ import annotations

import itertools
import random
import uuid
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.errors import (
    AndesError,
    FileDamagedError,
    NoSuchVersionError,
    OptionError,
    StorageError,
    TableExistsError,
)
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing import oracle
from andes_spark.testing.tables import create, fill, rows
from tests.interleave import World
from tests.table.adoption.test_convert import KEYS, ROWS, foreign_delta, shown
from tests.table.test_crashes import FailingStorage


def rows_by_id(table: ModTable, **options: Any) -> dict[int, tuple[int, str]]:
    return {row["id"]: (row["lsn"], row["a"]) for row in table.to_arrow(**options).to_pylist()}


def original(storage: Any = None, **options: Any) -> ModTable:
    """A table with merged and pending mods, deletes and a vector."""
    table = create(MemoryStorage() if storage is None else storage, **options)
    fill(table, 1, 6)
    table.merge()
    deletes = rows((1, 50, "x"), (99, 50, "x")).append_column("gone", [[True, True]])
    table.apply(deletes, apply_as_deletes="gone", merge=True)
    table.apply(rows((2, 60, "p"), (3, 0, "late")), merge=False)
    return table


@pytest.mark.parametrize("version", [0, 3, 6, 7, 8, None])
def test_the_rows_are_those_of_the_version(version: int | None) -> None:
    table = original()
    copy = table.clone(MemoryStorage(), version=version)  # type: ignore[arg-type]
    assert rows_by_id(copy) == rows_by_id(table, version=version)
    assert copy.manifest(0).operation == "clone"
    assert copy._open_table.table_id != table._open_table.table_id
    assert copy._open_table.definition == table._open_table.definition
    checked = copy.verify()
    assert checked.ok, checked.problems
    assert (checked.unused, checked.missing) == ((), ())


def test_the_tables_are_independent() -> None:
    table = original()
    before = rows_by_id(table)
    copy = table.clone(MemoryStorage())  # type: ignore[arg-type]
    copy.apply(rows((7, 70, "copy")), merge=True)
    table.apply(rows((8, 70, "table")), merge=True)
    assert rows_by_id(copy) == {**before, 7: (70, "copy")}
    assert rows_by_id(table) == {**before, 8: (70, "table")}
    assert rows_by_id(copy, version=0) == before
    assert table.verify().ok
    assert copy.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 40))])
def test_a_clone_goes_on_as_the_oracle_says(seed: int) -> None:
    world = World(400_000 + seed, nested=0.0, expiring=0.25)
    for _ in range(6):
        world.step()
    rnd = random.Random(seed)
    head = len(world.versions)
    version = rnd.choice([number for number in range(head) if world.vacuums.readable(world, number, head)])
    table = world.tables[rnd.randrange(3)]
    copy = table.clone(MemoryStorage(), version=version)  # type: ignore[arg-type]
    assert world.rows_of(copy.to_arrow()) == world.expected(version)
    batches = [world.author.batch() for _ in range(2)]
    backfills: set[int] = set()
    for number, batch in enumerate(batches):
        options = world.alters.options(batch.options)
        backfill = bool(world.sequence.names) and rnd.random() < 0.5
        backfills |= {version + 1 + number} if backfill else set()
        copy.apply(batch.rows, batch_id=batch.id, merge=rnd.random() < 0.5, backfill=backfill, **options)
    # The line of the version: what a restore left out takes no part, and neither do versions set aside.
    state = oracle.snapshot(
        [*world.versions[: version + 1], *(batch.mods for batch in batches)],
        world.alters.ever(),
        ["must"],
        {at: aside for at, aside in world.aside.items() if at <= version},
        {at: restored for at, restored in world.restored.items() if at <= version},
        {at: taken for at, taken in world.repairs.taken.items() if at <= version},
        {at: sequence for at, sequence in world.expires.events.items() if at <= version},
        {at for at in world.expires.backfills if at <= version} | backfills,
    )
    names = world.alters.names(version)
    expected = {
        key: (sequence if world.sequence.names else (), tuple(values.get(name) for name in names))
        for key, (sequence, values) in state.rows.items()
    }
    assert world.rows_of(copy.to_arrow()) == expected
    copy.merge()
    assert world.rows_of(copy.to_arrow()) == expected
    checked = copy.verify()
    assert checked.ok, checked.problems


def test_late_mods_lose_as_in_the_original() -> None:
    table = original()
    copy = table.clone(MemoryStorage())  # type: ignore[arg-type]
    late = rows((1, 49, "late"), (99, 50, "late"), (98, 1, "new"))
    for handle in (table, copy):
        handle.apply(late, merge=True)
    assert rows_by_id(copy) == rows_by_id(table)
    assert 98 in rows_by_id(copy)
    assert 1 not in rows_by_id(copy)


def test_a_truncate_stays_in_force() -> None:
    table = create(MemoryStorage())
    table.apply(rows((1, 5, "a"), (2, 9, "b")))
    table.apply(rows((0, 7, "")).append_column("all", [[True]]), apply_as_truncates="all")
    for merged in (False, True):
        if merged:
            table.merge()
        copy = table.clone(MemoryStorage())  # type: ignore[arg-type]
        copy.apply(rows((3, 7, "late"), (4, 8, "new")))
        assert rows_by_id(copy) == {2: (9, "b"), 4: (8, "new")}


def test_a_clone_by_tag_and_by_time(tmp_path: Path) -> None:
    table = original(tmp_path / "t")
    table.tag("month-end", 3)
    copy = table.clone(tmp_path / "a", tag="month-end")
    assert rows_by_id(copy) == rows_by_id(table, version=3)
    time = table.history()[-4].time
    assert rows_by_id(table.clone(tmp_path / "b", timestamp=time)) == rows_by_id(table, timestamp=time)
    with pytest.raises(OptionError, match="which version"):
        table.clone(tmp_path / "c", tag="month-end", version=3)
    with pytest.raises(NoSuchVersionError):
        table.clone(tmp_path / "c", version=99)
    assert not (tmp_path / "c").exists()


def test_a_converted_table_is_cloned_with_its_vectors() -> None:
    for seed in range(4):
        foreign = foreign_delta(vectors=True, partition_by=("p",), random=random.Random(seed))
        foreign.append(ROWS.slice(0, 1).set_column(0, "id", [[9]]), deleted=ROWS.slice(0, 1))
        table = ModTable.convert(foreign.storage, **KEYS)
        copy = table.clone(MemoryStorage())  # type: ignore[arg-type]
        assert shown(copy.to_arrow()) == shown(table.to_arrow())
        assert shown(copy.to_arrow(filter="p = 'x'")) == shown(table.to_arrow(filter="p = 'x'"))
        copy.apply(ROWS.slice(1, 1).set_column(2, "seq", [[99]]))
        assert copy.verify().ok


def by_polars(url: Path, condition: pl.Expr | None = None) -> list[dict[str, Any]]:
    frame = pl.scan_delta(str(url))
    return (frame if condition is None else frame.filter(condition)).collect().sort("id", "k").to_dicts()


def by_delta_rs(url: Path, condition: str) -> list[dict[str, Any]]:
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(url)))
    found_rows = pa.table(query.execute(f"SELECT * FROM t WHERE {condition}").read_all()).to_pylist()
    return sorted(found_rows, key=lambda row: (row["id"], row["k"]))


@pytest.mark.parametrize("value", ["a", "b ü", "50%=x/y"])
@pytest.mark.parametrize("converted", [False, True])
def test_files_without_partition_columns_keep_their_folders(value: str, converted: bool, tmp_path: Path) -> None:
    """Polars takes the columns from the folders."""
    data = pa.table({"id": [1, 1, 2], "k": [value, "c", value], "v": ["x"] * 3, "seq": [1] * 3})
    source, target = tmp_path / "source", tmp_path / "target"
    keys: Any = {"primary_key": ["id", "k"], "sequence_by": "seq"}
    if converted:
        deltalake.write_deltalake(str(source), data, partition_by=["k"])
        table = ModTable.convert(source, **keys)
    else:
        table = ModTable.create(source, data=data, partition_by=["k"], **keys)
        deltalake.DeltaTable(str(source)).update(updates={"v": "'F'"}, predicate="id >= 1")
        table.repair(foreign="take_in")
        table.merge()
    # An interrupted clone leaves such files.
    (target / "k=a").mkdir(parents=True)
    (target / "k=a" / f"part-{uuid.uuid4()}.zstd.parquet").write_bytes(b"")
    copy = table.clone(target)
    expected = by_polars(source)
    assert {row["k"] for row in expected} == {value, "c"}
    assert by_polars(target) == expected
    assert len(by_polars(target, pl.col("k") == value)) == 2
    assert by_delta_rs(target, f"k = '{value}'") == by_delta_rs(source, f"k = '{value}'") != []
    assert copy.to_polars().sort("id", "k").to_dicts() == expected
    assert copy.verify().ok
    copy.drop(confirm="target")
    assert [path for path in target.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("path", [".", "sub", "..", "a/b"])
def test_a_folder_within_the_other_is_refused(path: str, tmp_path: Path) -> None:
    table = create(tmp_path / "x" / "t")
    with pytest.raises(OptionError, match="neither folder may be within the other"):
        table.clone(tmp_path / "x" / "t" / path)


def test_folders_with_other_contents_are_refused() -> None:
    table = original()
    other = MemoryStorage()
    create(other)
    with pytest.raises(TableExistsError, match="here already; open it, or choose another folder"):
        table.clone(other)  # type: ignore[arg-type]
    files = MemoryStorage()
    files.put("x", b"x")
    with pytest.raises(TableExistsError, match="no part of a table"):
        table.clone(files)  # type: ignore[arg-type]
    with pytest.raises(TableExistsError, match="there is a Delta table here"):
        table.clone(foreign_delta().storage)
    begun = MemoryStorage()
    table.clone(begun, version=3)  # type: ignore[arg-type]
    begun.delete(info.path for info in list(begun.list("_andes")))
    with pytest.raises(TableExistsError, match=r"clone of version 3 .* was interrupted here"):
        table.clone(begun, version=4)  # type: ignore[arg-type]
    assert rows_by_id(table.clone(begun, version=3)) == rows_by_id(table, version=3)  # type: ignore[arg-type]
    # A clone that went on is no longer one.
    copy = MemoryStorage()
    table.clone(copy).apply(rows((7, 70, "x")))  # type: ignore[arg-type]
    with pytest.raises(TableExistsError):
        table.clone(copy)  # type: ignore[arg-type]


def test_a_damaged_file_is_not_copied() -> None:
    storage = MemoryStorage()
    table = original(storage, merge="always")
    table.merge()
    (path, *_) = table._open_table.base.snapshot().state.files
    storage.put(path, storage.get(path)[:-1])
    target = MemoryStorage()
    with pytest.raises(FileDamagedError, match=path):
        table.clone(target)  # type: ignore[arg-type]
    assert list(target.list()) == []


@pytest.mark.slow
@pytest.mark.parametrize("happens", [False, True])
@pytest.mark.parametrize("version", [7, 8])
def test_an_interrupted_clone_is_finished_by_the_same_call(happens: bool, version: int) -> None:
    table = original()
    expected = rows_by_id(table, version=version)
    failed = 0
    for left in itertools.count(1):
        storage = MemoryStorage()
        failing = FailingStorage(storage, left=left, happens=happens)
        try:
            ModTable.open(table._open_table.storage, settings=Settings(commit_seconds=0)).clone(
                failing, version=version
            )
        except (StorageError, AndesError):
            failed += 1
        if failing.left > 0:
            break
        copy = table.clone(storage, version=version)  # type: ignore[arg-type]
        assert rows_by_id(copy) == expected
        copy.apply(rows((1, 49, "late")), merge=True)
        assert rows_by_id(copy) == expected
        assert copy.verify().ok
    assert failed > 5


def test_without_sequences_the_rows_are_the_oldest() -> None:
    table = create(MemoryStorage(), sequence_by=())
    table.apply(rows((1, 5, "a")), batch_id=("s", 1))
    copy = table.clone(MemoryStorage())  # type: ignore[arg-type]
    assert copy.version == 0
    # Ids of batches are not known there.
    assert not copy.apply(rows((1, 1, "b")), batch_id=("s", 1)).replayed
    assert rows_by_id(copy) == {1: (1, "b")}


def test_a_clone_of_many_rows_stays_within_the_budget() -> None:
    table = create(MemoryStorage())
    number = 5_000
    data = pa.table({"id": range(number), "lsn": [1] * number, "a": ["x"] * number})
    table.apply(data)
    small = ModTable.open(table._open_table.storage, settings=Settings(byte_budget=64 * 1024, target_file_bytes=10_000))
    copy = small.clone(MemoryStorage())  # type: ignore[arg-type]
    assert copy.to_arrow().sort_by("id").equals(table.to_arrow().sort_by("id"))


def test_a_clone_of_a_base_with_narrower_types_holds_the_new_types(tmp_path: Path) -> None:
    table = ModTable.create(tmp_path / "t", "id INT, a INT, lsn INT", primary_key="id", sequence_by="lsn")
    table.apply([{"id": 1, "a": 1, "lsn": 1}])
    table.alter.set(merge="manual")
    table.alter.widen("a", "BIGINT")
    table.alter.drop_column("a")
    table.alter.widen("id", "BIGINT")
    copy = table.clone(tmp_path / "copy")
    assert copy.to_arrow().to_pylist() == [{"id": 1, "lsn": 1}]
    assert pl.read_delta(str(tmp_path / "copy")).to_dicts() == [{"id": 1, "lsn": 1}]
    stored = [pq.read_schema(path).field("id").type for path in (tmp_path / "copy").glob("*.parquet")]
    assert stored == [pa.int64()]
    assert copy.verify().ok
