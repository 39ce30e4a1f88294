"""Readers of Iceberg, PyIceberg and DuckDB, and the comparison of their rows with those of a table."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table import StaticTable

from andes_spark import ModTable


def by_pyiceberg(metadata: str, *, snapshot_id: int | None = None, row_filter: str | None = None) -> pa.Table:
    """Rows that PyIceberg reads."""
    table = StaticTable.from_metadata(metadata)
    condition = AlwaysTrue() if row_filter is None else row_filter
    return table.scan(row_filter=condition, snapshot_id=snapshot_id).to_arrow()


def by_duckdb(metadata: str, *, snapshot_id: int | None = None, row_filter: str = "true") -> pa.Table:
    """Rows that DuckDB reads; ``metadata`` may be the folder of the Iceberg table, whose hint leads to the newest."""
    options = "" if snapshot_id is None else f", snapshot_from_id => {snapshot_id}::UBIGINT"
    query = f"SELECT * FROM iceberg_scan($1{options}) WHERE {row_filter}"
    return duckdb_connection().execute(query, [metadata]).to_arrow_table()


def duckdb_connection() -> duckdb.DuckDBPyConnection:
    """A database with the extension for Iceberg."""
    connection = duckdb.connect()
    for name in ("avro", "iceberg"):
        folder = Path(str(importlib.resources.files(f"duckdb_extension_{name}")))
        connection.execute(f"LOAD '{next(folder.glob(f'extensions/*/{name}.duckdb_extension'))}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


READERS = {"pyiceberg": by_pyiceberg, "duckdb": by_duckdb}


def sorted_rows(rows: pa.Table, table: ModTable, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """Rows in the types of a table, by its key."""
    kinds = table.schema.to_arrow() if schema is None else schema
    typed = rows.select(kinds.names).cast(kinds)
    return sorted(typed.to_pylist(), key=lambda row: tuple(row[name] for name in table.primary_key))


def assert_shown(table: ModTable, metadata: str, *, snapshot_id: int | None = None, version: int | None = None) -> None:
    """Each reader reads the rows of the table, as of a snapshot and a version."""
    expected = table.to_arrow(version=version)
    for name, reader in READERS.items():
        rows = reader(metadata, snapshot_id=snapshot_id)
        assert set(rows.schema.names) == set(expected.schema.names), name
        assert sorted_rows(rows, table, expected.schema) == sorted_rows(expected, table, expected.schema), name
