"""Existing Delta tables become tables in place, or stay as they are to the last byte."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.delta import actions
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.paths import decode_path, entry_path
from andes_spark.delta.state import Protocol
from andes_spark.delta.upgrade import upgraded
from andes_spark.errors import (
    AndesError,
    BadModsError,
    CommitConflictError,
    DuplicateKeyError,
    FileDamagedError,
    LogDamagedError,
    NoSuchTableError,
    OptionError,
    StorageError,
    TableExistsError,
    UnsupportedTableError,
)
from andes_spark.log.origin import origin_of
from andes_spark.model.manifest import manifest_path
from andes_spark.schema.schema import Schema
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of
from andes_spark.testing.tapped import TappedStorage
from tests.foreign_tables import ForeignTable, write_foreign
from tests.table.test_crashes import FailingStorage

COLUMNS = "id BIGINT, v STRING, seq BIGINT, p STRING"
KEYS: dict[str, Any] = {"primary_key": "id", "sequence_by": "seq"}
Found = dict[int, tuple[Any, ...]]


def rows(*records: tuple[Any, ...]) -> pa.Table:
    names = Schema.from_ddl(COLUMNS).to_arrow()
    return pa.Table.from_pylist([dict(zip(names.names, record, strict=True)) for record in records], schema=names)


ROWS = rows((1, "a", 1, "x"), (2, None, 2, "y"), (3, "c", 3, None))
SHOWN: Found = {1: ("a", 1, "x"), 2: (None, 2, "y"), 3: ("c", 3, None)}


def shown(table: pa.Table) -> Found:
    found_rows = table.select(["id", "v", "seq", "p"]).to_pylist()
    assert len({row["id"] for row in found_rows}) == len(found_rows)
    return {row["id"]: (row["v"], row["seq"], row["p"]) for row in found_rows}


def by_delta_rs(url: Any, condition: str = "") -> Found:
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(url)))
    return shown(pa.table(query.execute(f"SELECT * FROM t {condition}").read_all()))


def foreign_delta(storage: Any = None, **options: Any) -> ForeignTable:
    """A Delta table of protocol 1/2 with three rows."""
    options = {"vectors": False, **options}
    table = ForeignTable(MemoryStorage() if storage is None else storage, Schema.from_ddl(COLUMNS), **options)
    table.create()
    table.append(ROWS)
    return table


def contents(storage: Any) -> dict[str, bytes]:
    return {info.path: storage.get(info.path) for info in storage.list()}


def refused(storage: Any, kind: type[AndesError], match: str, **options: Any) -> Any:
    """Convert, be refused, and find every object as it was."""
    before = contents(storage)
    with pytest.raises(kind, match=match) as caught:
        ModTable.convert(storage, **{**KEYS, **options})
    assert contents(storage) == before
    return caught.value


def goes_on(storage: Any) -> None:
    """A converted table takes mods, late ones too, and shows what it had before."""
    table = ModTable.open(storage)
    mods = rows((1, "late", 0, "x"), (2, "B", 9, "z"), (4, "d", 1, "x"))
    merged = table.apply(mods, batch_id=("s", 1)).merge
    assert merged is not None
    assert (merged.late, merged.updated, merged.inserted) == (1, 1, 1)
    assert shown(table.to_arrow()) == {**SHOWN, 2: ("B", 9, "z"), 4: ("d", 1, "x")}
    assert shown(table.to_arrow(version=0)) == SHOWN
    fresh = ModTable.open(storage)
    assert shown(fresh.to_arrow(version=0)) == SHOWN
    assert [entry.to_version for entry in fresh.merges()] == [1]
    checked = fresh.verify()
    assert checked.ok, checked.problems
    assert (checked.unused, checked.missing) == ((), ())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_table_of_any_form_is_taken_in(seed: int) -> None:
    storage = MemoryStorage()
    schema, rnd = Schema.from_ddl(COLUMNS), random.Random(seed)
    partition_by = rnd.choice(((), ("p",)))
    foreign = write_foreign(storage, ROWS, schema, partition_by, rnd)  # type: ignore[arg-type]
    data = {path: value for path, value in contents(storage).items() if not path.startswith("_delta_log/_last")}
    table = ModTable.convert(storage, **KEYS)  # type: ignore[arg-type]
    assert {path: contents(storage)[path] for path in data} == data, "nothing of theirs is touched"
    assert shown(table.to_arrow()) == SHOWN
    assert (table.version, table.manifest(0).operation) == (0, "convert")
    assert table.manifest(0).origin == origin_of(table._open_table.log)
    assert origin_of(table._open_table.log).delta_version == foreign.version + 1
    assert table.status().partition_by == partition_by
    assert [field.nullable for field in table.schema] == [False, True, False, True]
    goes_on(storage)


def test_delta_reads_the_table_and_its_history(tmp_path: Path) -> None:
    url = str(tmp_path / "t")
    deltalake.write_deltalake(url, ROWS.slice(0, 2), partition_by=["p"], description="d", name="n")
    deltalake.write_deltalake(url, ROWS.slice(2), mode="append")
    before = deltalake.DeltaTable(url)
    table = ModTable.convert(url, **KEYS)
    after = deltalake.DeltaTable(url)
    assert (after.version(), after.metadata().id, after.metadata().name) == (2, before.metadata().id, "n")
    assert (after.metadata().description, table._open_table.definition.comment) == ("d", "d")
    assert [entry["operation"] for entry in after.history()] == ["CONVERT", "WRITE", "WRITE"]
    assert deltalake.DeltaTable(url, version=0).count() == 2
    table.apply(rows((2, "B", 9, "z"), (5, "e", 1, None)))
    expected = {**SHOWN, 2: ("B", 9, "z"), 5: ("e", 1, None)}
    assert by_delta_rs(url) == expected
    assert by_delta_rs(url, "WHERE p = 'z' AND id < 5") == {2: expected[2]}
    assert shown(table.to_arrow(filter="p = 'x'")) == {1: SHOWN[1]}
    deltalake.DeltaTable(url).create_checkpoint()
    assert shown(ModTable.open(url).to_arrow()) == expected
    goes_on_from = ModTable.open(url)
    goes_on_from.apply(rows((5, "E", 2, None)))
    assert goes_on_from.verify().ok


def test_a_log_that_begins_late_is_read_by_few_requests() -> None:
    storage = MemoryStorage()
    table = foreign_delta(storage)
    for number in range(80):
        table.append(rows((100 + number, "x", 1, "x")))
    table.clean_log()
    ModTable.convert(storage, **KEYS)  # type: ignore[arg-type]
    before = storage.counts.snapshot()
    opened = ModTable.open(storage)  # type: ignore[arg-type]
    assert opened.to_arrow().num_rows == 83
    assert storage.counts.minus(before).list == 0, "the note leads to the checkpoint"
    assert storage.counts.minus(before).requests < 100
    opened.apply(rows((1, "A", 9, "x")))
    assert opened.to_arrow(version=0).num_rows == 83
    assert opened.verify().ok


@pytest.mark.parametrize(
    ("reader", "writer", "listed"),
    [
        (1, 1, set()),
        (1, 2, set()),
        (1, 3, {"checkConstraints"}),
        (1, 4, {"checkConstraints", "changeDataFeed", "generatedColumns"}),
        (2, 5, {"checkConstraints", "changeDataFeed", "generatedColumns", "columnMapping"}),
        (2, 6, {"checkConstraints", "changeDataFeed", "generatedColumns", "columnMapping", "identityColumns"}),
    ],
)
def test_features_that_a_protocol_implies_are_listed(reader: int, writer: int, listed: set[str]) -> None:
    foreign = foreign_delta(protocol={"minReaderVersion": reader, "minWriterVersion": writer})
    ModTable.convert(foreign.storage, **KEYS)
    protocol = load_state(foreign.storage).protocol
    assert (protocol.reader_version, protocol.writer_version) == (3, 7)
    assert protocol.writer_features == {"appendOnly", "invariants", "deletionVectors", *listed}
    assert protocol.reader_features == {"deletionVectors"} | (listed & {"columnMapping"})
    goes_on(foreign.storage)


def test_features_that_are_listed_stay_listed() -> None:
    protocol = Protocol(3, 7, frozenset({"timestampNtz"}), frozenset({"timestampNtz", "domainMetadata"}))
    action = upgraded(protocol, deletion_vectors=False, timestamp_ntz=False)["protocol"]
    assert action["readerFeatures"] == ["timestampNtz"]
    assert action["writerFeatures"] == ["appendOnly", "domainMetadata", "invariants", "timestampNtz"]


SET = "ALTER TABLE ... UNSET TBLPROPERTIES"
FEATURES: list[tuple[dict[str, Any], str]] = [
    ({"configuration": {"delta.enableChangeDataFeed": "true"}}, f"changeDataFeed.*{SET}"),
    ({"configuration": {"delta.appendOnly": "true"}}, f"appendOnly.*{SET}"),
    ({"configuration": {"delta.constraints.positive": "id > 0"}}, "checkConstraints.*DROP CONSTRAINT positive"),
    ({"configuration": {"delta.columnMapping.mode": "name"}}, "columnMapping"),
    (
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": [],
                "writerFeatures": ["rowTracking"],
            }
        },
        "rowTracking.*DROP FEATURE",
    ),
    (
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["x"], "writerFeatures": ["x"]}},
        "uses x",
    ),
    ({"protocol": {"minReaderVersion": 4, "minWriterVersion": 8}}, "protocol"),
]


@pytest.mark.parametrize(("features", "match"), FEATURES, ids=range(len(FEATURES)))
def test_features_that_the_base_cannot_have_are_refused_by_name(features: dict[str, Any], match: str) -> None:
    refused(foreign_delta(**features).storage, UnsupportedTableError, match)


def test_rows_that_share_a_key_are_refused_whatever_the_memory() -> None:
    foreign = foreign_delta()
    foreign.append(rows((2, "again", 5, "x")))
    for settings in (Settings(), Settings(byte_budget=0)):
        error = refused(foreign.storage, DuplicateKeyError, "delete all but one", settings=settings)
        assert error.keys == [{"id": 2}]
    # Together with another column they are unique.
    ModTable.convert(foreign.storage, primary_key=["id", "seq"])


def test_nulls_in_key_and_sequence_are_refused_with_their_number() -> None:
    foreign = foreign_delta()
    foreign.append(rows((None, "v", None, "x"), (7, "v", None, "x")))
    error = refused(foreign.storage, BadModsError, "1 rows with NULL in 'id', 2 rows with NULL in 'seq'")
    assert error.reasons == {"NULL in 'id'": 1, "NULL in 'seq'": 2}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"primary_key": "ids"}, "ids"),
        ({"sequence_by": "v"}, "text_sequence"),
        ({"merge": "soon"}, "merge"),
        ({"partitions": "p STRING"}, "partitions is for Parquet files"),
        ({"lateness": "x"}, "lateness"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], match: str) -> None:
    refused(foreign_delta().storage, OptionError, match, **options)


@pytest.mark.parametrize("columns", ["id BIGINT, ID BIGINT, seq BIGINT", "id BIGINT, _andes_x STRING, seq BIGINT"])
def test_names_that_a_table_cannot_have_are_refused(columns: str) -> None:
    foreign = ForeignTable(MemoryStorage(), Schema.from_ddl(columns), vectors=False)  # type: ignore[arg-type]
    foreign.create()
    refused(foreign.storage, OptionError, "cannot have these columns")


def test_files_that_are_missing_or_damaged_are_refused() -> None:
    foreign = foreign_delta()
    [path] = foreign.append(rows((9, "v", 1, "x")))
    whole = foreign.storage.get("data 1.parquet")
    assert path == "data%201.parquet"
    foreign.storage.put("data 1.parquet", b"PAR1")
    refused(foreign.storage, FileDamagedError, "data 1.parquet")
    foreign.storage.delete(["data 1.parquet"])
    refused(foreign.storage, FileDamagedError, "data 1.parquet is missing")
    foreign.storage.put("data 1.parquet", whole)
    ModTable.convert(foreign.storage, **KEYS)


def test_files_elsewhere_are_refused() -> None:
    foreign = foreign_delta()
    add = actions.add("x", size=1, modified_ms=1, statistics={"numRecords": 1})
    add["add"]["path"] = "s3://other/table/x.parquet"
    foreign.commit("CLONE", [add])
    refused(foreign.storage, UnsupportedTableError, "absolute path")


def test_what_is_no_table_or_one_already_is_refused() -> None:
    refused(MemoryStorage(), NoSuchTableError, "neither a Delta table nor a Parquet file")
    foreign = foreign_delta()
    ModTable.convert(foreign.storage, **KEYS)
    refused(foreign.storage, TableExistsError, "there is a table here already; open it, or choose another folder$")
    foreign.storage.delete([manifest_path(0)])
    refused(foreign.storage, LogDamagedError, "lost its manifests")


def test_errors_of_create_and_open_name_convert() -> None:
    storage = foreign_delta().storage
    with pytest.raises(TableExistsError, match=r"ModTable.convert\(\)"):
        ModTable.create(storage, COLUMNS, primary_key="id")
    with pytest.raises(NoSuchTableError, match=r"ModTable.convert\(\)"):
        ModTable.open(storage)


def test_deleted_rows_may_share_keys_but_must_have_them() -> None:
    for seed in range(6):
        foreign = foreign_delta(vectors=True, random=random.Random(seed))
        foreign.append(rows((4, "d", 1, "x")), deleted=rows((1, "gone", 8, "x"), (3, "gone", 8, "x")))
        table = ModTable.convert(foreign.storage, **KEYS)
        assert shown(table.to_arrow()) == {**SHOWN, 4: ("d", 1, "x")}
        merged = table.apply(rows((4, "D", 2, "x"), (1, "A", 4, "x"))).merge
        assert merged is not None
        assert merged.updated == 2
        assert table.verify().ok
        foreign = foreign_delta(vectors=True, random=random.Random(seed))
        foreign.append(rows((4, "d", 1, "x")), deleted=rows((None, "gone", 8, "x")))
        refused(foreign.storage, UnsupportedTableError, "NULL in 'id'.*REORG TABLE")


def test_without_sequences_the_rows_are_the_oldest() -> None:
    foreign = foreign_delta()
    table = ModTable.convert(foreign.storage, primary_key="id")
    table.apply(rows((1, "A", 0, "x")), batch_id=("s", 1))
    assert shown(table.to_arrow())[1] == ("A", 0, "x")


def test_a_commit_of_another_writer_meanwhile_is_checked_too() -> None:
    def at_commit(storage: Any, action: Callable[[], object]) -> TappedStorage:
        tapped = TappedStorage(storage)

        def tap(kind: str, path: str) -> None:
            if kind == "put_if_absent" and path.startswith("_delta_log"):
                action()

        tapped.tap = tap
        return tapped

    foreign = foreign_delta()
    once = iter([rows((4, "d", 1, "x"))])
    table = ModTable.convert(at_commit(foreign.storage, lambda: [foreign.append(part) for part in once]), **KEYS)  # type: ignore[arg-type]
    assert shown(table.to_arrow()) == {**SHOWN, 4: ("d", 1, "x")}
    assert table.verify().ok

    foreign = foreign_delta()
    second = iter([rows((1, "again", 1, "x"))])
    with pytest.raises(DuplicateKeyError):
        ModTable.convert(at_commit(foreign.storage, lambda: [foreign.append(part) for part in second]), **KEYS)  # type: ignore[arg-type]
    assert foreign.storage.size("_andes") is None

    foreign = foreign_delta()
    busy = itertools.count(10)
    with pytest.raises(CommitConflictError, match="stop them"):
        ModTable.convert(
            at_commit(foreign.storage, lambda: foreign.append(rows((next(busy), "v", 1, "x")))),  # type: ignore[arg-type]
            **KEYS,
            settings=Settings(commit_attempts=3),
        )


@pytest.mark.slow
@pytest.mark.parametrize("happens", [False, True])
def test_an_interrupted_convert_is_finished_by_the_same_call(happens: bool) -> None:
    begun = foreign_delta().storage
    failed = 0
    for left in itertools.count(1):
        storage = copy_of(begun)  # type: ignore[arg-type]
        failing = FailingStorage(storage, left=left, happens=happens)
        try:
            ModTable.convert(failing, settings=Settings(commit_seconds=0), **KEYS)
        except (StorageError, AndesError):
            failed += 1
        if failing.left > 0:
            break
        # What is there is a Delta table, or a table with its rows.
        assert load_state(storage).version in (1, 2)  # type: ignore[arg-type]
        if storage.size(manifest_path(0)) is None:
            ModTable.convert(storage, **KEYS)  # type: ignore[arg-type]
        assert load_state(storage).version == 2, "the entry that is there is used"  # type: ignore[arg-type]
        goes_on(storage)
    assert failed >= 3


def test_an_interrupted_convert_may_be_followed_by_another_one() -> None:
    def interrupted(foreign: ForeignTable) -> None:
        tapped = TappedStorage(foreign.storage)

        def tap(kind: str, path: str) -> None:
            if kind == "put_if_absent" and path == manifest_path(0):
                raise KeyboardInterrupt

        tapped.tap = tap
        with pytest.raises(KeyboardInterrupt):
            ModTable.convert(tapped, **KEYS)  # type: ignore[arg-type]
        foreign.version += 1

    foreign = foreign_delta()
    interrupted(foreign)
    with pytest.raises(TableExistsError, match=r"ModTable.convert\(\)"):
        ModTable.create(foreign.storage, COLUMNS, primary_key="id")
    table = ModTable.convert(foreign.storage, primary_key="id", merge="manual")
    assert (table.sequence_by, load_state(foreign.storage).version) == ((), 3)
    assert table.verify().ok
    # Another writer goes on in between: its rows are checked.
    foreign = foreign_delta()
    interrupted(foreign)
    foreign.append(rows((4, "d", 1, "x")))
    table = ModTable.convert(foreign.storage, **KEYS)
    assert table.manifest(0).counts.upserts == 4
    assert table.verify().ok


def test_a_race_of_two_has_one_winner() -> None:
    foreign = foreign_delta()
    tapped = TappedStorage(foreign.storage)

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path == manifest_path(0):
            tapped.tap = None
            ModTable.convert(foreign.storage, **KEYS)

    tapped.tap = tap
    with pytest.raises(TableExistsError):
        ModTable.convert(tapped, **KEYS)  # type: ignore[arg-type]
    goes_on(foreign.storage)


def test_files_without_a_number_of_rows_get_it() -> None:
    foreign = foreign_delta()
    entry = read_commit(foreign.storage, 1)
    assert entry is not None
    lines = [{kind: dict(value)} for kind, value in entry.actions]
    for line in lines:
        if "add" in line:
            line["add"]["stats"] = json.dumps({"minValues": {"id": 1}, "maxValues": {"id": 3}, "nullCount": {"id": 0}})
    foreign.storage.put(entry_path(1), actions.encode(lines))
    table = ModTable.convert(foreign.storage, **KEYS)
    (file,) = load_state(foreign.storage).files.values()
    assert (file.num_records, file.stats["maxValues"]) == (3, {"id": 3})
    assert table.status().rows == 3
    goes_on(foreign.storage)


def test_a_table_without_its_log_of_mods_is_a_delta_table(tmp_path: Path) -> None:
    url = tmp_path / "t"
    table = ModTable.create(url, COLUMNS, **KEYS)
    table.apply(ROWS)
    table.apply(rows((2, "B", 9, "z")).append_column("gone", pa.array([False])), apply_as_deletes="gone")
    for path in sorted((url / "_andes").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (url / "_andes").rmdir()
    expected = {**SHOWN, 2: ("B", 9, "z")}
    assert by_delta_rs(url) == expected
    deltalake.write_deltalake(str(url), rows((7, "g", 1, "x")), mode="append")
    # And back again.
    table = ModTable.convert(url, **KEYS)
    assert shown(table.to_arrow()) == {**expected, 7: ("g", 1, "x")}
    assert table.verify().ok


def test_a_vacuum_keeps_the_history_of_delta_as_long_as_version_0(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = foreign_delta()
    (path,) = foreign.append(rows((7, "v", 1, "x")))
    foreign.undo()
    table = ModTable.convert(foreign.storage, **KEYS)
    table.apply(rows((1, "A", 9, "x")))
    # Files that were written long ago, and removed just before the convert.
    true = type(foreign.storage).list

    def long_ago(self: Any, *args: Any, **options: Any) -> Any:
        return (replace(info, modified_ms=1) for info in true(self, *args, **options))

    monkeypatch.setattr(type(foreign.storage), "list", long_ago)
    assert table.vacuum().files == 0
    assert foreign.storage.size(decode_path(path)) is not None
    assert table.vacuum(retain="0 seconds").files > 0
    assert foreign.storage.size(decode_path(path)) is None
    checked = ModTable.open(foreign.storage).verify()
    assert checked.ok, checked.problems


def test_files_with_encoded_paths_get_no_vector(tmp_path: Path) -> None:
    """Polars overlooks the vector of such a file, and would show rows that are deleted."""
    number = 1_000
    data = pa.table({"id": range(number), "seq": [1] * number, "p": ["a b", "c"] * (number // 2)})
    deltalake.write_deltalake(str(tmp_path), data, partition_by=["p"])
    table = ModTable.convert(tmp_path, **KEYS)
    table.apply(pa.table({"id": [0, 1], "seq": [2, 2]}), apply_as_deletes="true")
    files = load_state(table._open_table.storage).files
    assert {path.partition("/")[0]: file.vector is not None for path, file in files.items() if "/" in path} == {
        "p=c": True
    }
    assert table.to_arrow().num_rows == number - 2
    with pytest.raises(pl.exceptions.PolarsError):
        pl.scan_delta(str(tmp_path)).collect()
    assert table.verify().ok
