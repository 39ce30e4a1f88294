"""Delta tables and Parquet folders as other writers make them, in random forms."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.delta import actions, z85
from andes_spark.delta.actions import Action
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.log import load_state
from andes_spark.delta.partition_values import partition_value
from andes_spark.delta.paths import entry_path
from andes_spark.delta.statistics import statistics
from andes_spark.delta.vectors import VectorDescriptor, from_positions, serialize, write_vectors
from andes_spark.errors import DuplicateKeyError
from andes_spark.schema.schema import Schema
from andes_spark.settings import MIB, Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


def parquet_bytes(rows: pa.Table, rnd: random.Random) -> bytes:
    """A Parquet file in one of the forms in which engines write it."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        row_group_size=rnd.choice((1, 2, 1_000)),
        use_dictionary=rnd.random() < 0.5,
        write_statistics=rnd.random() < 0.7,
        use_deprecated_int96_timestamps=rnd.random() < 0.5,
        store_decimal_as_integer=rnd.random() < 0.5,
        compression=rnd.choice(("snappy", "zstd", "none")),
        write_page_index=rnd.random() < 0.3,
        data_page_version=rnd.choice(("1.0", "2.0")),
    )
    return memoryview(sink.getvalue()).tobytes()


def folder_of(values: Mapping[str, str | None]) -> str:
    """Folder of a partition, with its final slash."""
    return "".join(f"{name}={NULL_FOLDER if text is None else quote(text, safe='')}/" for name, text in values.items())


def partitions(
    rows: pa.Table, schema: Schema, partition_by: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """Rows of each partition without the partition columns."""
    values = [
        {name: partition_value(row[name], schema.field(name).type) for name in partition_by}
        for row in rows.select(list(partition_by)).to_pylist()
    ] or [{}] * rows.num_rows
    if not partition_by:
        values = [{}] * rows.num_rows
    for key in dict.fromkeys(tuple(value.items()) for value in values):
        mask = pa.array([tuple(value.items()) == key for value in values])
        yield dict(key), rows.filter(mask).drop_columns(list(partition_by))


@dataclass
class ForeignTable:
    """A Delta table of another writer.

    Attributes:
        storage: its folder.
        schema: its columns.
        partition_by: names of the partition columns.
        random: source of its forms.
        vectors: whether rows may be deleted by deletion vectors.
        version: newest Delta version.
    """

    storage: Storage
    schema: Schema
    partition_by: tuple[str, ...] = ()
    random: random.Random = field(default_factory=lambda: random.Random(0))
    vectors: bool = True
    version: int = -1
    configuration: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, Any] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def create(self) -> None:
        """Write version 0, without rows."""
        protocol = self.protocol or {"minReaderVersion": 1, "minWriterVersion": 2}
        if self.vectors and self.protocol is None:
            protocol = actions.protocol(timestamp_ntz="timestamp_ntz" in self.schema.to_json())["protocol"]
        metadata = actions.metadata(
            table_id="0b5f0a0e-0000-4000-8000-00000000000f",
            schema_json=self.schema.to_json(),
            partition_columns=self.partition_by,
            configuration=self.configuration,
            created_ms=1_700_000_000_000,
            description="theirs",
        )
        self.commit("CREATE TABLE", [{"protocol": protocol}, metadata])

    def commit(self, operation: str, entry: Sequence[Action]) -> None:
        """Write the next version."""
        self.version += 1
        info = {"commitInfo": {"timestamp": 1_700_000_000_000 + self.version, "operation": operation}}
        self.storage.put(entry_path(self.version), actions.encode([info, *entry]))

    def append(self, rows: pa.Table, *, deleted: pa.Table | None = None) -> list[str]:
        """Write rows as files, with deleted rows among them in those of the same partition; return their paths."""
        entry: list[Action] = []
        for values, part in partitions(rows, self.schema, self.partition_by):
            dead = None
            if deleted is not None and self.vectors:
                dead = next(
                    (removed for key, removed in partitions(deleted, self.schema, self.partition_by) if key == values),
                    None,
                )
            entry.append(self._file(values, part, dead))
        self.commit("WRITE", entry)
        return [action["add"]["path"] for action in entry]

    def _file(self, values: dict[str, Any], rows: pa.Table, deleted: pa.Table | None) -> Action:
        rnd = self.random
        dead = 0 if deleted is None else deleted.num_rows
        both = rows if deleted is None else pa.concat_tables([rows, deleted])
        order = rnd.sample(range(both.num_rows), both.num_rows)
        both = both.take(pa.array(order, pa.int64()))
        path = f"{folder_of(values)}data {next(self._numbers)}.parquet"
        data = parquet_bytes(both, rnd)
        self.storage.put(path, data)
        metadata = pq.read_metadata(pa.BufferReader(data))
        stats: dict[str, Any] = {"numRecords": both.num_rows}
        if rnd.random() < 0.5:
            stats = statistics(metadata, both.schema)
        if dead:
            stats["tightBounds"] = False
        action = actions.add(path, size=len(data), modified_ms=1, statistics=stats, partition_values=values)
        if not dead and rnd.random() < 0.3:
            del action["add"]["stats"]
        if dead:
            removed = np.flatnonzero(np.array(order) >= rows.num_rows)
            action["add"]["deletionVector"] = self._vector(path, removed).to_json()
        return action

    def _vector(self, path: str, deleted: Any) -> VectorDescriptor:
        bitmap = from_positions(deleted)
        if self.random.random() < 0.5:
            return write_vectors(self.storage, {path: bitmap})[path]
        data = serialize(bitmap)
        padded = data + b"\0" * (-len(data) % 4)
        return VectorDescriptor("i", z85.encode(padded), None, len(data), len(bitmap))

    def undo(self) -> None:
        """Remove the files of the newest version in one more."""
        state = load_state(self.storage)
        before = load_state(self.storage, version=self.version - 1).files
        added = [file for path, file in state.files.items() if path not in before]
        self.commit("DELETE", [actions.remove(file, timestamp_ms=1_700_000_000_000) for file in added])

    def clean_log(self) -> None:
        """Write a checkpoint of the newest version, and delete the entries below it, as Delta's log cleanup does."""
        write_checkpoint(self.storage, load_state(self.storage), now_ms=1_700_000_000_000)
        self.storage.delete(entry_path(version) for version in range(self.version))


def write_foreign(
    storage: Storage, rows: pa.Table, schema: Schema, partition_by: tuple[str, ...], rnd: random.Random
) -> ForeignTable:
    """Write rows as a Delta table of random form."""
    table = ForeignTable(storage, schema, partition_by, rnd, vectors=rnd.random() < 0.6)
    table.create()
    at = 0
    while at < rows.num_rows or table.version < 1:
        part = rows.slice(at, rnd.randint(1, 3))
        # Rows that were deleted share keys with live ones.
        deleted = rows.take(pa.array(rnd.choices(range(rows.num_rows), k=2))) if rows.num_rows else None
        table.append(part, deleted=deleted)
        at += part.num_rows
    if rnd.random() < 0.3:
        table.clean_log()
    return table


def write_folder(
    storage: Storage, rows: pa.Table, schema: Schema, partition_by: tuple[str, ...], rnd: random.Random
) -> None:
    """Write rows as Parquet files in folders of partitions."""
    for number, (values, part) in enumerate(partitions(rows, schema, partition_by)):
        middle = rnd.randint(0, part.num_rows)
        for name, piece in (("a", part.slice(0, middle)), ("b", part.slice(middle))):
            storage.put(f"{folder_of(values)}{name} {number}.parquet", parquet_bytes(piece, rnd))


def converted(
    storage: Any,
    rows: pa.Table,
    columns: pa.Schema,
    partition_by: tuple[str, ...],
    options: dict[str, Any],
    rnd: random.Random,
) -> ModTable:
    """A table that began as one of another writer, or as a clone of such a table.

    Rows that share a key are refused, and change nothing.
    """
    if isinstance(storage, MemoryStorage) and rnd.random() < 0.3:
        return converted(MemoryStorage(), rows, columns, partition_by, options, rnd).clone(storage)
    schema = Schema(tuple(replace(column, nullable=column.name != "must") for column in Schema.from_arrow(columns)))
    foreign_rows = rows.cast(schema.to_arrow())
    table = write_foreign(storage, foreign_rows, schema, partition_by, rnd)
    if foreign_rows.num_rows and rnd.random() < 0.5:
        table.append(foreign_rows.slice(0, 1))
        try:
            ModTable.convert(storage, **options)
        except DuplicateKeyError:
            table.undo()
        else:
            raise AssertionError("rows that share a key were not noticed")
    return ModTable.convert(storage, settings=Settings(byte_budget=rnd.choice((0, 512 * MIB))), **options)
