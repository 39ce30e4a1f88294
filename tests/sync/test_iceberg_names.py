"""Files without field ids, which readers of Iceberg read by name: columns that the newest snapshot lacks."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from andes_spark import ModTable, Settings
from andes_spark.errors import UnsupportedTableError
from andes_spark.schema.schema import Schema
from andes_spark.schema.types import Field, Primitive, Struct
from andes_spark.schema.versions import SchemaVersion
from andes_spark.sync.iceberg.names import NO_NAMES, name_mapping, stored_names
from tests.iceberg_readers import READERS, assert_shown, sorted_rows

SETTINGS = Settings(threads=1, compact_bytes=0)
ROWS = pa.table(
    {
        "id": [1, 2],
        "gone": [1.5, 2.5],
        "name": ["x", "y"],
        "part": [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
        "list": [[{"c": 1, "d": "x"}], []],
    }
)


def converted(path: Path, rows: pa.Table = ROWS, *, without: str | None = None) -> ModTable:
    """A table of Delta, taken over; ``without`` is a column of the file that the schema in the log lacks."""
    write_deltalake(str(path / "t"), rows)
    if without is not None:
        log = path / "t" / "_delta_log" / f"{0:020}.json"
        actions = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        for action in actions:
            if "metaData" in action:
                schema = json.loads(action["metaData"]["schemaString"])
                schema["fields"] = [field for field in schema["fields"] if field["name"] != without]
                action["metaData"]["schemaString"] = json.dumps(schema)
        log.write_text("".join(json.dumps(action) + "\n" for action in actions), "utf-8")
    return ModTable.convert(str(path / "t"), primary_key="id", settings=SETTINGS)


def assert_all_shown(table: ModTable, metadata: str) -> None:
    """Each reader reads each snapshot that is listed."""
    for snapshot in document(metadata)["snapshots"]:
        version = int(snapshot["summary"]["andes.applied"])
        expected = table.to_arrow(version=version)
        for name, reader in READERS.items():
            rows = reader(metadata, snapshot_id=snapshot["snapshot-id"])
            assert sorted_rows(rows, table, expected.schema) == expected.sort_by("id").to_pylist(), (name, version)


def document(metadata: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(metadata).read_text("utf-8"))
    return content


@pytest.mark.slow
@pytest.mark.parametrize("column", ["gone", "part", "list"])
@pytest.mark.parametrize("shown_before", [True, False])
def test_a_dropped_column(tmp_path: Path, column: str, shown_before: bool) -> None:
    table = converted(tmp_path)
    if shown_before:
        assert_shown(table, table.sync_iceberg().metadata)
    table.alter.drop_column(column)
    result = table.sync_iceberg()
    assert_shown(table, result.metadata)
    assert_all_shown(table, result.metadata)
    assert len(document(result.metadata)["snapshots"]) == 1 + shown_before
    # The last call writes rows anew, with field ids, beside the file without.
    table.apply(table.to_arrow().slice(0, 1), at_least_once=True)
    assert_all_shown(table, table.sync_iceberg().metadata)


def test_a_dropped_part_of_a_column(tmp_path: Path) -> None:
    table = converted(tmp_path)
    table.sync_iceberg()
    table.alter.drop_column("part.b")
    assert_all_shown(table, table.sync_iceberg().metadata)


def test_a_column_that_was_dropped_after_optimize(tmp_path: Path) -> None:
    table = ModTable.create(
        str(tmp_path / "t"), "id BIGINT, gone STRING, name STRING", primary_key="id", deletion_vectors=False,
        settings=SETTINGS,
    )  # fmt: skip
    for key in range(3):
        table.apply(pa.table({"id": [key], "gone": ["g"], "name": ["n"]}), at_least_once=True)
    assert DeltaTable(table.url).optimize.compact()["numFilesAdded"] == 1
    table = ModTable.open(table.url, settings=SETTINGS)
    table.repair()
    table.sync_iceberg()
    table.alter.drop_column("gone")
    assert_all_shown(table, table.sync_iceberg().metadata)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["gone", "part", "list"])
def test_a_column_that_no_schema_names(tmp_path: Path, column: str) -> None:
    table = converted(tmp_path, without=column)
    first = table.sync_iceberg()
    assert_shown(table, first.metadata)
    table.alter.drop_column("name")
    second = table.sync_iceberg()
    assert_all_shown(table, second.metadata)
    ids = [entry["field-id"] for entry in mapping(second.metadata)]
    assert len(ids) == len(set(ids)) == ROWS.num_columns


def mapping(metadata: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(document(metadata)["properties"]["schema.name-mapping.default"])
    return entries


@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime.time(1), None]),
        pa.array([datetime.datetime(2026, 1, 1), None], pa.timestamp("us", "Europe/Paris")),
        pa.array([[1.0], None], pa.list_(pa.float16())),
    ],
    ids=["time", "zone", "half"],
)
def test_a_column_that_no_schema_names_of_a_type_without_counterpart_is_refused(tmp_path: Path, values: Any) -> None:
    table = converted(tmp_path, ROWS, without="gone")
    (file,) = (tmp_path / "t").glob("*.parquet")
    pq.write_table(ROWS.set_column(1, "gone", values), file)
    with pytest.raises(UnsupportedTableError, match="compact the table") as refusal:
        table.sync_iceberg()
    assert refusal.value.path == file.name
    assert refusal.value.feature == "iceberg: column of another writer"
    assert (refusal.value.column or "").partition(".")[0] == "gone"


def test_a_column_of_the_name_that_only_a_file_has(tmp_path: Path) -> None:
    table = converted(tmp_path, without="gone")
    first = table.sync_iceberg()
    table.alter.add_column("gone", "DOUBLE")
    result = table.sync_iceberg()
    assert_shown(table, result.metadata)
    # The name has another id, and there is one mapping for the files of all snapshots.
    assert [snapshot["snapshot-id"] for snapshot in document(result.metadata)["snapshots"]] == [result.snapshot_id]
    assert (result.files_added, first.files_added) == (1, 1)


def test_a_face_that_does_not_tell_about_files_begins_anew(tmp_path: Path) -> None:
    table = converted(tmp_path)
    path = Path(table.sync_iceberg().metadata)
    content = document(str(path))
    del content["properties"]["andes.files_without_ids"]
    path.write_text(json.dumps(content), "utf-8")
    result = ModTable.open(table.url, settings=SETTINGS).sync_iceberg()
    assert (result.committed, result.files_added) == (True, 1)
    assert_shown(table, result.metadata)


def test_an_id_has_one_entry_with_all_its_names() -> None:
    def version(number: int, *fields: tuple[str, int]) -> SchemaVersion:
        kinds = [Field(name, Primitive("integer"), nullable=True) for name, _ in fields]
        struct = Field("s", Struct(tuple(kinds)), nullable=True)
        return SchemaVersion(number, Schema((struct,)), (1, *(field_id for _, field_id in fields)))

    new, old = version(1, ("b", 2), ("c", 4)), version(0, ("a", 2), ("c", 3))
    children = [{"field-id": 2, "names": ["b", "a"]}, {"field-id": 4, "names": ["c"]}]
    assert name_mapping([new, old]) == [{"field-id": 1, "names": ["s"], "fields": children}]
    file = pa.schema([pa.field("id", pa.int64())])
    names = NO_NAMES.after([old], {"f": file})
    assert names.is_moved([new, old])
    assert not names.is_moved([old])
    assert not NO_NAMES.after([old], {}).is_moved([new, old])
    assert stored_names(names.properties()) == names
