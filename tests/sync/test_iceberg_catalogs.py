"""Names of the face in catalogs of Iceberg: registered, kept up, and never merged with commits of others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from moto import mock_aws
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

from andes_spark import ModTable, Settings
from andes_spark.cli.app import andes
from andes_spark.errors import (
    CommitConflictError,
    ForeignWriteError,
    MissingPackageError,
    OptionError,
    StorageError,
    TableExistsError,
    UnsupportedTableError,
)
from andes_spark.table.iceberg import IcebergSync
from tests.iceberg_readers import sorted_rows

SETTINGS = Settings(threads=1, compact_bytes=0)
NAME = "sales.orders"


def made(path: Path, **options: Any) -> ModTable:
    arguments = {"primary_key": "id", "settings": SETTINGS, **options}
    return ModTable.create(str(path / "t"), "id BIGINT, name STRING", **arguments)


def send(table: ModTable, *keys: int, name: str = "name") -> None:
    rows = {"id": list(keys), "name": [name] * len(keys)}
    table.apply(pa.table(rows), at_least_once=True)


@pytest.fixture
def properties(tmp_path: Path) -> dict[str, str]:
    """A catalog on SQLite."""
    (tmp_path / "warehouse").mkdir()
    return {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}


def sync(table: ModTable, properties: dict[str, str], **options: Any) -> IcebergSync:
    return table.sync_iceberg(name=NAME, catalog="prod", catalog_properties=properties, **options)


def catalog(properties: dict[str, str]) -> Catalog:
    return load_catalog("prod", **properties)


def assert_named(table: ModTable, properties: dict[str, str], *, version: int | None = None) -> None:
    """The name leads to the rows of the table."""
    named = catalog(properties).load_table(NAME)
    expected = table.to_arrow(version=version)
    assert sorted_rows(named.scan().to_arrow(), table, expected.schema) == sorted_rows(expected, table, expected.schema)


def test_a_name_follows_each_synchronization(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1, 2, 3)
    first = sync(table, properties)
    assert (first.committed, first.name, first.published) == (True, NAME, True)
    assert catalog(properties).load_table(NAME).metadata_location == first.metadata
    assert_named(table, properties)
    results = [first]
    for number in range(4):
        send(table, number, number + 10, name=f"n{number}")
        results.append(sync(table, properties))
        assert results[-1].published
        assert_named(table, properties)
    again = sync(table, properties)
    assert (again.committed, again.published) == (False, False)
    named = catalog(properties).load_table(NAME)
    assert [snapshot.snapshot_id for snapshot in named.metadata.snapshots] == [result.snapshot_id for result in results]
    for result in results:
        rows = named.scan(snapshot_id=result.snapshot_id).to_arrow()
        assert sorted_rows(rows, table) == sorted_rows(table.to_arrow(version=result.applied), table)
    # The face itself goes on as before.
    assert table.sync_iceberg().metadata == results[-1].metadata


def test_the_catalog_of_glue(tmp_path: Path) -> None:
    secrets = {"glue.access-key-id": "a", "glue.secret-access-key": "b"}
    properties = {"type": "glue", "glue.region": "us-east-1", **secrets}
    table = made(tmp_path)
    with mock_aws():
        for number in range(3):
            send(table, number, number + 1)
            assert sync(table, properties).published
            assert_named(table, properties)
        assert not sync(table, properties).published
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
        catalog(properties).load_table(NAME).append(pa.table({"id": [99], "name": ["foreign"]}, schema=schema))
        with pytest.raises(ForeignWriteError, match="is none of this library"):
            sync(table, properties)


def test_a_name_catches_up_with_several_snapshots(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1)
    sync(table, properties)
    for number in range(3):
        send(table, number, 50, name=str(number))
        table.sync_iceberg()
    table.alter.add_column("note", "STRING", comment="free text")
    table.apply(pa.table({"id": [7], "name": ["x"], "note": ["y"]}), at_least_once=True)
    result = sync(table, properties)
    named = catalog(properties).load_table(NAME)
    assert len(named.metadata.snapshots) == 5
    assert named.metadata.current_snapshot_id == result.snapshot_id
    assert named.schema().find_field("note").doc == "free text"
    assert_named(table, properties)
    # Only the catalog was behind.
    table.alter.drop_column("note")
    assert table.sync_iceberg().committed
    assert (sync(table, properties).committed, sync(table, properties).published) == (False, False)


def test_expired_snapshots_leave_the_catalog(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    for number in range(3):
        send(table, 1, 2, name=str(number))
        sync(table, properties)
    table.vacuum(retain="0 seconds")
    for path in (Path(table.url) / "_andes" / "iceberg").rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    result = sync(table, properties)
    assert result.expired
    named = catalog(properties).load_table(NAME)
    face = json.loads(Path(result.metadata).read_text("utf-8"))
    shown = [snapshot["snapshot-id"] for snapshot in face["snapshots"]]
    assert len(shown) == 2
    assert [snapshot.snapshot_id for snapshot in named.metadata.snapshots] == shown
    # Metadata files of the catalog are not orphans of the face.
    assert_named(table, properties)


def test_a_foreign_commit_in_the_catalog_is_reported(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1, 2)
    sync(table, properties)
    named = catalog(properties).load_table(NAME)
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    named.append(pa.table({"id": [99], "name": ["foreign"]}, schema=schema))
    foreign = catalog(properties).load_table(NAME)
    send(table, 3)
    for _ in range(2):
        with pytest.raises(ForeignWriteError, match="drop the table in the catalog"):
            sync(table, properties)
    after = catalog(properties).load_table(NAME)
    assert after.metadata_location == foreign.metadata_location
    assert after.scan().to_arrow().num_rows == 3
    # The face shows the table's rows, and as the error says the name can be had again.
    assert table.sync_iceberg().committed is False
    catalog(properties).drop_table(NAME)
    assert sync(table, properties).published
    assert_named(table, properties)


def test_a_foreign_schema_in_the_catalog_is_reported(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1, 2)
    sync(table, properties)
    with catalog(properties).load_table(NAME).update_schema() as update:
        update.add_column("mine", StringType())
    with pytest.raises(ForeignWriteError, match="schema 1 is none of the face"):
        sync(table, properties)


def test_properties_and_comments_of_others_stay(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path, comment="ours")
    send(table, 1)
    sync(table, properties)
    with catalog(properties).load_table(NAME).transaction() as transaction:
        transaction.set_properties({"owner": "sales", "comment": "theirs"})
    send(table, 2)
    sync(table, properties)
    named = catalog(properties).load_table(NAME)
    assert (named.properties["owner"], named.properties["comment"]) == ("sales", "theirs")
    assert_named(table, properties)


def test_the_name_of_another_table_is_refused(tmp_path: Path, properties: dict[str, str]) -> None:
    other = catalog(properties)
    other.create_namespace("sales")
    other.create_table(NAME, Schema(NestedField(1, "id", LongType())))
    before = other.load_table(NAME).metadata_location
    table = made(tmp_path)
    with pytest.raises(TableExistsError, match="is another table"):
        sync(table, properties)
    assert catalog(properties).load_table(NAME).metadata_location == before


def test_a_face_that_began_anew_is_named(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1, 2)
    sync(table, properties)
    send(table, 3)
    sync(table, properties)
    table.forget([1], confirm="t")
    with pytest.raises(TableExistsError, match="metadata that is missing"):
        sync(table, properties)
    catalog(properties).drop_table(NAME)
    sync(table, properties)
    assert_named(table, properties)


def test_a_race_is_decided_by_the_catalog(
    tmp_path: Path, properties: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made(tmp_path)
    send(table, 1)
    sync(table, properties)
    send(table, 2)
    other = ModTable.open(table.url, settings=SETTINGS)
    sql = type(catalog(properties))
    commit = sql.commit_table
    raced: list[IcebergSync] = []

    def first(self: Catalog, *arguments: Any) -> Any:
        monkeypatch.setattr(sql, "commit_table", commit)
        send(other, 3)
        raced.append(sync(other, properties))
        return commit(self, *arguments)

    monkeypatch.setattr(sql, "commit_table", first)
    result = sync(table, properties)
    assert raced[0].published
    assert not result.published
    assert_named(other, properties)

    def always(self: Catalog, *arguments: Any) -> Any:
        from pyiceberg.exceptions import CommitFailedException

        raise CommitFailedException("another process")

    monkeypatch.setattr(sql, "commit_table", always)
    send(table, 4)
    with pytest.raises(CommitConflictError):
        sync(table, properties)


def test_a_format_that_the_catalog_cannot_take_is_named(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1)
    for _ in range(2):
        with pytest.raises(UnsupportedTableError) as refusal:
            sync(table, properties, format=3)
        assert refusal.value.feature == "iceberg: format 3 in a catalog"
    assert catalog(properties).list_namespaces() == []


def test_an_earlier_face_is_named(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1, 2)
    sync(table, properties)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "t", moved)
    other = ModTable.open(str(moved), settings=SETTINGS)
    with pytest.raises(TableExistsError, match="earlier face of this table"):
        sync(other, properties)
    assert_named(table, properties)


def test_a_catalog_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    table = made(tmp_path)
    for properties in ({"type": "rest", "uri": "http://127.0.0.1:9"}, {"type": "none of these"}):
        with pytest.raises(StorageError, match=NAME):
            sync(table, properties)


def test_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = made(tmp_path)
    for options in ({"name": "orders"}, {"name": "sales."}, {"catalog": "prod"}, {"catalog_properties": {"a": "b"}}):
        with pytest.raises(OptionError) as refusal:
            table.sync_iceberg(**options)  # type: ignore[arg-type]
        assert refusal.value.option == "name"
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    with pytest.raises(MissingPackageError, match="iceberg-catalog"):
        table.sync_iceberg(name=NAME)
    assert not (tmp_path / "t" / "_andes" / "iceberg").exists()


def test_on_the_command_line(tmp_path: Path, properties: dict[str, str]) -> None:
    table = made(tmp_path)
    send(table, 1)
    flags = [part for name, value in properties.items() for part in ("--catalog-property", f"{name}={value}")]

    def run(*arguments: str) -> Any:
        command = ["table", "sync-iceberg", table.url, "--name", NAME, "--catalog", "prod", *flags, *arguments]
        outcome = CliRunner().invoke(andes, [*command, "--output", "json"])
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    assert run("--dry-run")["published"] is False
    assert not (tmp_path / "catalog.db").exists()
    assert run()["published"] is True
    assert_named(table, properties)
