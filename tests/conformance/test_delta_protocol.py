"""Our reading and writing of the Delta protocol, against Spark's Delta, delta-rs and DuckDB."""

from __future__ import annotations

import datetime
import importlib.resources
import json
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
from deltalake import DeltaTable, QueryBuilder

from andes_spark.base.rows import CALENDAR
from andes_spark.delta import actions, partition_values, paths, prune, vectors
from andes_spark.delta import checkpoints as checkpoint
from andes_spark.delta import features as protocol
from andes_spark.delta import log as delta_log
from andes_spark.delta import statistics as stats
from andes_spark.delta.bounds import column_range
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.schema.schema import Schema
from andes_spark.spark.arrow_frames import arrow_table
from andes_spark.storage.disk import DiskStorage
from tests.spark.batches import read_parquet

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

UTC = datetime.UTC
VALUES = """k BIGINT NOT NULL, s STRING, b BINARY, d DECIMAL(20,3), dd DECIMAL(38,10), f FLOAT, g DOUBLE,
    dt DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ, bo BOOLEAN, i TINYINT, arr ARRAY<INT>,
    st STRUCT<x: INT, `y.z`: STRING>, m MAP<STRING, INT>"""
PARTITIONS = """p_s STRING, p_dt DATE, p_ts TIMESTAMP, p_ntz TIMESTAMP_NTZ, p_d DECIMAL(10,2), p_b BOOLEAN,
    p_i INT, p_l BIGINT, p_g DOUBLE"""
SCHEMA = Schema.from_ddl(f"{VALUES}, {PARTITIONS}")
PARTITION_COLUMNS = [name for name in SCHEMA.names if name.startswith("p_")]
PLACES: list[dict[str, Any]] = [
    {
        "p_s": "a b/c=%41é'\"",
        "p_dt": datetime.date(2024, 2, 29),
        "p_ts": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, UTC),
        "p_ntz": datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
        "p_d": Decimal("-1.50"),
        "p_b": True,
        "p_i": -7,
        "p_l": 2**62,
        "p_g": 0.1,
    },
    {
        "p_s": "ü:*?\\x",
        "p_dt": datetime.date(1, 1, 1),
        "p_ts": datetime.datetime(1969, 12, 31, tzinfo=UTC),
        "p_ntz": datetime.datetime(1969, 12, 31),
        "p_d": Decimal("0.00"),
        "p_b": False,
        "p_i": 0,
        "p_l": 0,
        "p_g": 1e300,
    },
    dict.fromkeys(PARTITION_COLUMNS),
]


def rows(first: int, count: int, place: Mapping[str, Any]) -> pa.Table:
    start = datetime.datetime(1969, 12, 31, 23, 59, 59, 998001)
    drawn = [
        {
            "k": k,
            "s": None if k % 11 == 0 else ("naïve – " * (k % 9)) + str(k),
            "b": bytes([k % 256, 0]),
            "d": Decimal(k).scaleb(-3),
            "dd": Decimal(k * 7).scaleb(-10),
            "f": k / 4,
            "g": float("nan") if k % 13 == 0 else k / 3,
            "dt": datetime.date(1960, 1, 1) + datetime.timedelta(days=k),
            "ts": (start + datetime.timedelta(microseconds=k)).replace(tzinfo=UTC),
            "ntz": start + datetime.timedelta(microseconds=k * 999_999),
            "bo": bool(k % 2),
            "i": k % 128,
            "arr": None if k % 5 == 0 else [k, None],
            "st": None if k % 7 == 0 else {"x": k, "y.z": None if k % 3 else f"z{k}"},
            "m": [("a", k), ("b", None)],
            **place,
        }
        for k in range(first, first + count)
    ]
    return pa.Table.from_pylist(drawn, schema=SCHEMA.to_arrow())


BEFORE_4_1 = pyspark.__version__.startswith(("3.", "4.0"))
"""Whether the Delta of this Spark writes no statistics at all into a checkpoint that is to have them as a struct."""


class Table:
    """A table in our format, written by the functions under test alone."""

    def __init__(self, root: Path, partition_columns: Sequence[str]) -> None:
        self.storage = DiskStorage(str(root))
        self.partition_columns = list(partition_columns)
        self.expected = SCHEMA.to_arrow().empty_table()
        configuration = {
            "delta.enableDeletionVectors": "true",
            "delta.deletedFileRetentionDuration": "interval 36500 days",
            "delta.logRetentionDuration": "interval 36500 days",
        }
        self.configuration = configuration
        self.commit(
            0,
            [
                actions.commit_info("CREATE TABLE", timestamp_ms=now(), commit_id="create"),
                actions.protocol(timestamp_ntz=True),
                actions.metadata(
                    table_id="11111111-2222-3333-4444-555555555555",
                    schema_json=SCHEMA.to_json(),
                    partition_columns=self.partition_columns,
                    configuration=configuration,
                    created_ms=now(),
                ),
            ],
        )

    @property
    def state(self) -> delta_log.DeltaState:
        return delta_log.load_state(self.storage)

    def commit(self, version: int, entry: list[actions.Action]) -> None:
        assert delta_log.create_entry(self.storage, version, entry) is not None

    def add(self, path: str, data: pa.Table) -> actions.Action:
        values = {
            name: partition_values.partition_value(data[name][0].as_py(), SCHEMA.field(name).type)
            for name in self.partition_columns
        }
        kept = data.drop_columns(self.partition_columns) if self.partition_columns else data
        with self.storage.open_output(path) as sink:
            writer = pq.ParquetWriter(
                sink,
                kept.schema,
                compression="zstd",
                write_page_checksum=True,
                write_statistics=stats.footer_columns(kept.schema),
            )
            half = len(kept) // 2 or 1
            writer.write_table(kept, row_group_size=half)
            writer.add_key_value_metadata(CALENDAR)
            writer.close()
        footer = pq.read_metadata(self.storage.open_input(path))
        indexed = stats.indexed_columns(SCHEMA, self.partition_columns, self.configuration)
        self.expected = pa.concat_tables([self.expected, data])
        return actions.add(
            path,
            size=sink.bytes_written,
            modified_ms=now(),
            statistics=stats.statistics(footer, kept.schema, indexed),
            partition_values=values,
        )

    def delete(self, keys: set[int]) -> None:
        """Delete rows by deletion vectors, in one commit."""
        state = self.state
        new = {}
        for location, file in state.files.items():
            keys_in_file = pq.read_table(self.storage.open_input(location), columns=["k"])["k"].to_numpy()
            hit = np.flatnonzero(np.isin(keys_in_file, list(keys)))
            if len(hit):
                old = vectors.load_vector(self.storage, file.vector) if file.vector else None
                new[location] = vectors.from_positions(hit) | old if old else vectors.from_positions(hit)
        written = vectors.write_vectors(self.storage, new)
        entry = [
            actions.commit_info("DELETE", timestamp_ms=now(), commit_id="c", read_version=state.version),
            actions.txn("andes:test", state.version + 1),
        ]
        for location, descriptor in written.items():
            file = state.files[location]
            entry.append(actions.remove(file, timestamp_ms=now()))
            entry.append(actions.add_with_vector(file, descriptor))
        self.commit(state.version + 1, entry)
        keep = [k not in keys for k in self.expected["k"].to_pylist()]
        self.expected = self.expected.filter(pa.array(keep))


def now() -> int:
    return time.time_ns() // 1_000_000


def sorted_by_key(table: pa.Table, schema: pa.Schema) -> list[dict[str, Any]]:
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    normal = pa.Table.from_arrays([table[f.name].cast(f.type) for f in nullable], schema=nullable)
    sorted_rows: list[dict[str, Any]] = normal.sort_by("k").to_pylist()
    for row in sorted_rows:
        if row.get("g") is not None and row["g"] != row["g"]:
            row["g"] = "NaN"
    return sorted_rows


def read_ours(storage: DiskStorage, state: delta_log.DeltaState) -> pa.Table:
    """The rows by our reading of the log: files, their vectors, partition values."""
    schema = Schema.from_json(state.metadata.schema_json)
    parts = []
    for location, file in state.files.items():
        data = pq.ParquetFile(storage.open_input(location), coerce_int96_timestamp_unit="us").read()
        if file.num_records is not None:
            assert file.num_records == len(data)
        live = np.ones(len(data), bool)
        if file.vector:
            live[vectors.to_positions(vectors.load_vector(storage, file.vector))] = False
        for name in state.metadata.partition_columns:
            if name in data.column_names:  # newer Deltas may write them into the file as well
                data = data.drop_columns([name])
            field = schema.field(name)
            value = partition_values.parse_partition_value(file.partition_values[name], field.type)
            kind = schema.to_arrow().field(name).type
            data = data.append_column(name, pa.array([value] * len(data), kind))
        parts.append(data.filter(pa.array(live)).select(list(schema.names)))
    arrow = pa.schema([field.with_nullable(True) for field in schema.to_arrow()])
    return pa.concat_tables(
        [pa.Table.from_arrays([p[f.name].cast(f.type) for f in arrow], schema=arrow) for p in parts]
        or [arrow.empty_table()]
    )


def read_spark(spark: SparkSession, path: str) -> pa.Table:
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
    return arrow_table(spark.read.format("delta").load(path))


def read_delta_rs(path: str) -> pa.Table:
    builder = QueryBuilder().register("t", DeltaTable(path))
    return pa.table(builder.execute("SELECT * FROM t").read_all())


def read_duckdb(path: str) -> pa.Table:
    folder = Path(str(importlib.resources.files("duckdb_extension_delta")))
    extension = next(folder.glob("extensions/*/delta.duckdb_extension"))
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute("SELECT * FROM delta_scan($1)", [path]).to_arrow_table()


def write_deltas_checkpoint(spark: SparkSession, path: str) -> None:
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
    log.clearCache()
    log.forTable(spark._jsparkSession, path).checkpoint()


READERS: dict[str, Callable[[SparkSession, str], pa.Table]] = {
    "spark": read_spark,
    "delta-rs": lambda _, path: read_delta_rs(path),
    "duckdb": lambda _, path: read_duckdb(path),
}


def check_readers(spark: SparkSession, table: Table) -> None:
    expected = sorted_by_key(table.expected, SCHEMA.to_arrow())
    assert sorted_by_key(read_ours(table.storage, table.state), SCHEMA.to_arrow()) == expected
    for name, read in READERS.items():
        read_rows = read(spark, table.storage.url)
        assert sorted_by_key(read_rows, SCHEMA.to_arrow()) == expected, name


@pytest.mark.parametrize("partition_columns", [[], PARTITION_COLUMNS], ids=["plain", "partitioned"])
def test_all_readers_agree_on_what_we_write(spark, tmp_path, partition_columns):
    table = Table(tmp_path / "a táble", partition_columns)
    entry = [
        table.add(f"dir é%20/part {n}'.parquet" if n else "part-0.parquet", rows(1000 * n, 600, place))
        for n, place in enumerate(PLACES)
    ]
    table.commit(1, entry)
    check_readers(spark, table)

    table.delete({1, 2, 3, 5, 1001})
    assert {f.vector.storage_type for f in table.state.files.values() if f.vector} == {"u"}
    check_readers(spark, table)

    table.delete(set(range(7, 500, 3)) | {1002, 2005})
    table.delete(set(range(1100, 1300)))
    assert {f.vector.storage_type for f in table.state.files.values() if f.vector} == {"u"}
    check_readers(spark, table)

    assert write_checkpoint(table.storage, table.state, now_ms=time.time_ns() // 1_000_000)
    table.delete({2100})
    check_readers(spark, table)
    assert protocol.refusal(protocol.obstacles(table.state)) is None


def test_delta_goes_on_with_a_table_that_we_wrote(spark, tmp_path):
    table = Table(tmp_path / "t", [])
    table.commit(1, [table.add(f"part-{n}.parquet", rows(1000 * n, 300, PLACES[n])) for n in range(3)])
    table.delete(set(range(0, 200, 2)))
    url = f"delta.`{table.storage.url}`"
    before = table.state

    spark.sql(f"DELETE FROM {url} WHERE k BETWEEN 1000 AND 1010")
    removed = delta_log.read_commit(table.storage, 3)
    assert removed is not None
    assert removed.data_change
    keep = [not 1000 <= k <= 1010 for k in table.expected["k"].to_pylist()]
    table.expected = table.expected.filter(pa.array(keep))
    check_readers(spark, table)
    assert protocol.refusal(protocol.obstacles(table.state)) is None

    spark.sql(f"OPTIMIZE {url}")
    optimized = delta_log.read_commit(table.storage, 4)
    assert optimized is not None
    assert not optimized.data_change
    assert (optimized.commit_info or {})["operation"] == "OPTIMIZE"
    state = delta_log.load_state(table.storage, previous=before)
    assert state == delta_log.load_state(table.storage)
    assert state.txns == {"andes:test": 2}
    check_readers(spark, table)

    table.delete({2001})
    write_deltas_checkpoint(spark, table.storage.url)
    assert json.loads(table.storage.get(checkpoint.HINT_PATH))["version"] == 5
    assert delta_log.load_state(table.storage) == delta_log.load_state(table.storage, previous=state)
    table.delete({2002})
    assert write_checkpoint(table.storage, table.state, now_ms=time.time_ns() // 1_000_000)
    check_readers(spark, table)
    bins = [info.path for info in table.storage.list() if info.path.endswith(".bin")]
    table.delete(set(range(1100, 1200)))
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    try:
        spark.sql(f"VACUUM {url} RETAIN 0 HOURS")
    finally:
        spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
    [file] = table.state.files.values()
    assert file.vector is not None
    kept = [info.path for info in table.storage.list() if info.path.endswith((".bin", ".parquet"))]
    assert [path for path in kept if not path.startswith("_")] == [file.vector.file_path, file.location]
    assert not set(bins) & set(kept)
    check_readers(spark, table)
    history = spark.sql(f"DESCRIBE HISTORY {url}").where("nvl(operation, '') NOT LIKE 'VACUUM%'").collect()
    assert [row["version"] for row in history] == list(range(7, -1, -1))
    assert history[0]["operation"] == "DELETE"


def test_delta_skips_files_by_our_statistics_and_misses_no_row(spark, tmp_path):
    table = Table(tmp_path / "t", [])
    table.commit(1, [table.add(f"part-{n}.parquet", rows(1000 * n, 300, PLACES[n])) for n in range(3)])
    table.delete({1005})
    frame = spark.read.format("delta").load(table.storage.url)
    live = table.expected.to_pylist()
    for name, literal in {
        "k": "1299",
        "s": "'naïve – naïve – naïve – naïve – naïve – naïve – naïve – naïve – 1205'",
        "d": "2.299BD",
        "dd": "0.0000009093BD",
        "dt": "DATE'1960-10-26'",
        "ts": "TIMESTAMP'1970-01-01 00:00:00.000300Z'",
        "g": "double('NaN')",
        "g / 1": "double('NaN')",
        "st.x": "1004",
    }.items():
        condition = f"{name} = {literal}"
        selected = {row["k"] for row in frame.where(condition).select("k").collect()}
        assert selected, name
        full = {row["k"] for row in frame.selectExpr("k", f"({condition}) AS hit").where("hit").collect()}
        assert selected == full
        assert selected <= {row["k"] for row in live}
    touched = frame.where("k = 1004").select("_metadata.file_path").distinct().count()
    assert touched == 1
    assert len(prune.candidates(table.state.files.values(), SCHEMA, [], pa.table({"k": [1004]}))) == 1


def spark_table(spark: SparkSession, path: Path, partitioned: bool, properties: str = "") -> str:
    url = f"delta.`{path}`"
    by = f"PARTITIONED BY ({', '.join(PARTITION_COLUMNS)})" if partitioned else ""
    spark.sql(
        f"CREATE TABLE {url} ({VALUES}, {PARTITIONS}) USING delta {by} "
        f"TBLPROPERTIES ('delta.enableDeletionVectors' = 'true'{properties})"
    )
    for n, place in enumerate(PLACES):
        source = path.with_name(f"source {n}.parquet")
        pq.write_table(rows(1000 * n, 40, place), source)
        read_parquet(spark, source).coalesce(1).write.format("delta").mode("append").save(str(path))
    return url


@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
def test_we_read_what_delta_writes(spark, tmp_path, partitioned):
    path = tmp_path / "from spark"
    url = spark_table(spark, path, partitioned)
    spark.sql(f"DELETE FROM {url} WHERE k % 10 = 3")
    spark.sql(f"UPDATE {url} SET s = 'changed' WHERE k = 1007")
    storage = DiskStorage(str(path))
    state = delta_log.load_state(storage)
    assert protocol.refusal(protocol.obstacles(state)) is None
    assert protocol.deletion_vectors_enabled(state)
    assert any(file.vector for file in state.files.values())
    expected = sorted_by_key(read_spark(spark, str(path)), SCHEMA.to_arrow())
    assert sorted_by_key(read_ours(storage, state), SCHEMA.to_arrow()) == expected
    files, holders = list(state.files.values()), holding(storage, state)
    for row in expected:
        for name in SCHEMA.names:
            if row[name] is None or name in ("arr", "st", "m", "b", "bo", "f", "g", "p_g", "p_b"):
                continue
            keys = pa.table({name: pa.array([row[name]], SCHEMA.to_arrow().field(name).type)})
            kept = prune.candidates(files, SCHEMA, PARTITION_COLUMNS if partitioned else [], keys)
            assert holders[row["k"]] <= {files[at].location for at in kept}, (name, row[name])


def holding(storage: DiskStorage, state: delta_log.DeltaState) -> dict[int, set[str]]:
    """The files with a live row of each key."""
    locations: dict[int, set[str]] = {}
    for location, file in state.files.items():
        keys = pq.read_table(storage.open_input(location), columns=["k"])["k"].to_numpy()
        if file.vector:
            keys = np.delete(keys, vectors.to_positions(vectors.load_vector(storage, file.vector)))
        for key in keys.tolist():
            locations.setdefault(key, set()).add(location)
    return locations


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"spark.databricks.delta.checkpoint.partSize": "2"},
        {"delta.checkpoint.writeStatsAsJson": "false", "delta.checkpoint.writeStatsAsStruct": "true"},
    ],
    ids=["classic", "multi-part", "stats as struct"],
)
def test_we_read_deltas_checkpoints(spark, tmp_path, settings):
    path = tmp_path / "t"
    properties = "".join(f", '{k}' = '{v}'" for k, v in settings.items() if k.startswith("delta."))
    url = spark_table(spark, path, True, properties)
    spark.sql(f"DELETE FROM {url} WHERE k % 10 = 3")
    storage = DiskStorage(str(path))
    from_entries = delta_log.load_state(storage)
    own = {k: v for k, v in settings.items() if k.startswith("spark.")}
    for name, value in own.items():
        spark.conf.set(name, value)
    try:
        write_deltas_checkpoint(spark, str(path))
    finally:
        for name in own:
            spark.conf.unset(name)
    listed = [info.path for info in storage.list("_delta_log")]
    parsed = "delta.checkpoint.writeStatsAsStruct" in settings
    parts = [path for path in listed if ".checkpoint." in path and path.endswith(".parquet")]
    assert len(parts) == (3 if own else 1)
    storage.delete([paths.entry_path(version) for version in range(from_entries.version + 1)])
    state = delta_log.load_state(storage)
    assert state.version == from_entries.version
    assert state.metadata == from_entries.metadata
    assert state.protocol == from_entries.protocol
    assert state.files.keys() == from_entries.files.keys()
    for location, file in state.files.items():
        entry = from_entries.files[location]
        assert (file.vector, file.size, file.partition_values) == (
            entry.vector,
            entry.size,
            entry.partition_values,
        )
        if parsed and BEFORE_4_1:
            assert file.num_records is None
            continue
        assert file.num_records == entry.num_records
        for name in ("k", "s", "d", "dd", "dt", "ts", "ntz", "i"):
            assert column_range(file.stats, name, SCHEMA.field(name).type) == column_range(
                entry.stats, name, SCHEMA.field(name).type
            ), name
