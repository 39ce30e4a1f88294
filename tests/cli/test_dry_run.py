"""A dry run does what the command would do, errors included, and leaves the folder as it was."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from andes_spark.cli.dry_run import DryRun
from andes_spark.errors import BatchConflictError, NotFoundError, OptionError, TableExistsError
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.open import open_storage
from andes_spark.table.mod_table import ModTable


@pytest.fixture
def real():
    storage = MemoryStorage()
    for name in ("a", "b/1", "b/3"):
        storage.put_if_absent(name, name.encode())
    return storage


def paths(storage, *arguments, **options):
    return [info.path for info in storage.list(*arguments, **options)]


def test_what_is_written_is_seen_here_only(real):
    dry = DryRun(real)
    assert dry.put_if_absent("b/2", b"new") == PutOutcome.CREATED
    assert dry.put_if_absent("b/2", b"other") == dry.put_if_absent("a", b"other") == PutOutcome.EXISTS
    dry.put("a", b"replaced")
    with dry.open_output("c") as file:
        file.write(b"written")
    assert (dry.get("a"), dry.get("b/2"), dry.get("b/3"), dry.get("c")) == (b"replaced", b"new", b"b/3", b"written")
    assert dry.open_input("c").read() == b"written"
    assert dry.open_input("b/1").read() == b"b/1"
    assert (dry.size("a"), dry.size("b/1"), dry.size("d")) == (8, 3, None)
    assert [info and info.size for info in map(dry.info, ("c", "b/1", "d"))] == [7, 3, None]
    assert paths(dry) == ["a", "b/1", "b/2", "b/3", "c"]
    assert paths(dry, "b", after="b/1") == ["b/2", "b/3"]
    assert paths(real) == ["a", "b/1", "b/3"]
    assert real.get("a") == b"a"


def test_what_is_deleted_is_gone_here_only(real):
    dry = DryRun(real)
    dry.put("n", b"")
    dry.delete(["a", "n", "none"])
    assert (dry.find("a"), dry.size("a"), dry.info("a")) == (None, None, None)
    for read in (dry.get, dry.open_input):
        with pytest.raises(NotFoundError):
            read("a")
    assert paths(dry) == ["b/1", "b/3"]
    assert dry.put_if_absent("a", b"again") == PutOutcome.CREATED
    assert dry.get("a") == b"again"
    assert real.get("a") == b"a"


def test_it_cannot_travel_to_other_processes(real):
    with pytest.raises(OptionError):
        pickle.dumps(DryRun(real))


def batch(state, number=1):
    return pa.table({"id": [number], "state": [state], "seq": pa.array([7], pa.int64())})


def files(folder: Path):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_whole_life_leaves_the_folder_alone(tmp_path):
    folder = tmp_path / "t"
    real = ModTable.create(folder, "id BIGINT, state STRING, seq BIGINT", primary_key=["id"], sequence_by=["seq"])
    real.apply(batch("a"), batch_id=("s", 1))
    before = files(folder)
    dry = ModTable.open(DryRun(open_storage(str(folder))))
    merged = dry.apply(batch("b", 2), batch_id=("s", 2), merge=True).merge
    assert merged is not None
    assert merged.inserted == 1
    assert dry.apply(batch("a"), batch_id=("s", 1)).replayed
    with pytest.raises(BatchConflictError):
        dry.apply(batch("a", 5), batch_id=("s", 1))
    assert dry.to_arrow().num_rows == 2
    assert dry.verify().ok
    assert files(folder) == before


def test_create_is_refused_as_it_would_be(tmp_path):
    ModTable.create(tmp_path / "t", "id BIGINT", primary_key=["id"])
    with pytest.raises(TableExistsError):
        ModTable.create(DryRun(open_storage(str(tmp_path / "t"))), "id BIGINT", primary_key=["id"])
    table = ModTable.create(DryRun(open_storage(str(tmp_path / "u"))), "id BIGINT", primary_key=["id"])
    assert table.version == 0
    assert not (tmp_path / "u").exists()
