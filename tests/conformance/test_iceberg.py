"""Iceberg's Java library, on a Spark of its own, reads the rows of each snapshot of the face in both formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest

from andes_spark import ModTable, Settings
from andes_spark.spark.jars import Jar, fetched_jars
from tests.iceberg_readers import sorted_rows
from tests.sync.test_iceberg_format_3 import row_ids
from tests.sync.test_iceberg_merges import PARTITIONS, TYPES

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(threads=1, compact_bytes=0)
RUNTIMES = {
    "3.5": (
        "iceberg-spark-runtime-3.5_2.12",
        "1.12.0",
        "8dd8c90e54ed1a20f2461309d047a255ee56382eb7c0a46162b27a4936fd86dc",
    ),
    "4.0": (
        "iceberg-spark-runtime-4.0_2.13",
        "1.10.1",
        "2192a0881ed0f5773b5a83a8820d2b0b2069beec203028643a1c338551007f09",
    ),
}
"""Release of Iceberg, and its SHA-256, by Spark. That for Spark 4.1 fails on 4.2, for which there is none yet."""
MINOR = pyspark.__version__.rpartition(".")[0]


class Requests:
    """What Spark is asked to read, each with the rows that it is expected to have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stored: list[dict[str, Any]] = []
        self._expected: dict[str, tuple[ModTable, pa.Table]] = {}

    def add(
        self,
        table: ModTable,
        metadata: str,
        *,
        version: int | None = None,
        condition: str = "true",
        columns: tuple[str, ...] = (),
        options: dict[str, str] | None = None,
    ) -> Path:
        """Ask for a snapshot; return the folder of its rows."""
        out = self._folder / f"rows-{len(self.stored)}"
        request = {"metadata": metadata, "filter": condition, "columns": columns, "out": str(out)}
        self.stored.append({**request, "options": options or {}})
        if not columns:
            # Now: the table goes on.
            rows = table.to_arrow(version=version, filter=None if condition == "true" else condition)
            self._expected[str(out)] = (table, rows)
        return out

    def run(self, jar: Path) -> None:
        """Read all in one JVM."""
        (self._folder / "requests.json").write_text(json.dumps(self.stored), "utf-8")
        process = subprocess.run(
            [sys.executable, "-m", "tests.conformance.iceberg", str(jar), str(self._folder / "requests.json")],
            capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=500,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-5000:]

    def differences(self) -> Iterator[str]:
        """Say which rows are others than those of the library."""
        for request in self.stored:
            if request["out"] not in self._expected:
                continue
            table, expected = self._expected[request["out"]]
            rows = pq.read_table(request["out"])
            is_named = set(rows.schema.names) == set(expected.schema.names)
            if not is_named or sorted_rows(rows, table, expected.schema) != sorted_rows(
                expected, table, expected.schema
            ):
                yield f"{request['metadata']} {request['options']} {request['filter']}"


@pytest.fixture
def runtime(jars_dir: Path) -> Path:
    """Iceberg's library for the Spark that is installed."""
    name, version, sha256 = RUNTIMES[MINOR]
    (jar,) = fetched_jars([Jar("org.apache.iceberg", name, version, sha256)], jars_dir)
    return jar


def upserts(first: int, last: int, lsn: int, region: str | None) -> pa.Table:
    keys = list(range(first, last))
    columns = {"id": keys, "lsn": [lsn] * len(keys), "region": pa.array([region] * len(keys), pa.string())}
    return pa.table({**columns, "n": pa.array(keys, pa.int32())})


def changed(path: Path, requests: Requests, formats: tuple[int, ...], partition_by: tuple[str, ...]) -> ModTable:
    """A table after merges, schema changes, a restore and a vacuum, whose face has one format after the other."""
    table = ModTable.create(
        str(path), "id BIGINT, lsn BIGINT, region STRING, n INT", primary_key="id", sequence_by="lsn",
        partition_by=partition_by, settings=SETTINGS,
    )  # fmt: skip
    batches = [upserts(0, 60, 1, "eu"), upserts(20, 40, 2, "é %/"), upserts(35, 90, 3, None), upserts(0, 5, 4, "us")]
    snapshots: dict[int, int] = {}

    def shown() -> str:
        format_ = formats[min(len(snapshots) * len(formats) // 6, len(formats) - 1)]
        result = table.sync_iceberg(format=format_)
        snapshots[result.applied] = result.snapshot_id
        requests.add(table, result.metadata, version=result.applied)
        return result.metadata

    for batch in batches:
        table.apply(batch, at_least_once=True)
        metadata = shown()
    deletes = {"id": [3, 30, 36, 1000], "lsn": [5] * 4, "op": ["D"] * 4}
    table.apply(pa.table(deletes), apply_as_deletes="op = 'D'", missing="null", at_least_once=True)
    metadata = shown()
    requests.add(table, metadata, options={"vectorization-enabled": "false"})
    for condition in ("id < 12", "id = 57", "region = 'eu'", "region IS NULL", "n >= 80"):
        requests.add(table, metadata, condition=condition)
    table.alter.widen("n", "BIGINT")
    table.alter.add_column("note", "STRUCT<a: INT, b: ARRAY<STRING>>")
    rows = {
        "id": [1, 200],
        "lsn": [6, 6],
        "region": ["eu", "us"],
        "n": [2**40, 1],
        "note": [{"a": 1, "b": ["x"]}, None],
    }
    table.apply(pa.table(rows, schema=table.schema.to_arrow()), at_least_once=True)
    metadata = shown()
    table.alter.drop_column("region") if not partition_by else None
    table.restore(version=2)
    table.merge()
    metadata = shown()
    for version, snapshot_id in snapshots.items():
        requests.add(table, metadata, version=version, options={"snapshot-id": str(snapshot_id)})
    # A folder leads to the newest snapshot by its hint.
    requests.add(table, f"{table.url}/_andes/iceberg")
    return table


def typed(path: Path, requests: Requests, format_: int) -> None:
    """Tables with columns and partitions of every type."""
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    table = ModTable.create(str(path / "types"), f"id BIGINT, {columns}", primary_key="id", settings=SETTINGS)
    values = {name: values for name, (_, values) in TYPES.items()}
    for number in (1, 2):
        rows = {"id": [number, number + 1, number + 2], **values}
        table.apply(pa.table(rows, schema=table.schema.to_arrow()), at_least_once=True)
    requests.add(table, table.sync_iceberg(format=format_).metadata)
    for number, (kind, choices) in enumerate(PARTITIONS.items()):
        table = ModTable.create(
            str(path / f"by-{number}"), f"id BIGINT, part {kind}", primary_key="id", partition_by="part",
            settings=SETTINGS,
        )  # fmt: skip
        rows = {"id": list(range(len(choices))), "part": choices}
        table.apply(pa.table(rows, schema=table.schema.to_arrow()), at_least_once=True)
        requests.add(table, table.sync_iceberg(format=format_).metadata)


@pytest.mark.spark
@pytest.mark.skipif(MINOR not in RUNTIMES, reason=f"Iceberg has no release for Spark {MINOR}")
def test_iceberg_java_reads_the_rows_of_the_table(tmp_path: Path, runtime: Path) -> None:
    requests = Requests(tmp_path)
    tables = {}
    for formats in ((2,), (3,), (2, 3)):
        for partition_by in ((), ("region",)):
            name = f"formats-{'-'.join(map(str, formats))}-{len(partition_by)}"
            tables[name] = changed(tmp_path / name, requests, formats, partition_by)
    for format_ in (2, 3):
        typed(tmp_path / f"typed-{format_}", requests, format_)
    table = tables["formats-2-3-0"]
    result = table.sync_iceberg()
    ids = requests.add(table, result.metadata, columns=("id", "_row_id", "_file", "_pos"))
    requests.run(runtime)
    assert list(requests.differences()) == []
    # Row ids are those that the manifests say.
    first_ids = {Path(path).name: first for path, (first, _) in row_ids(result, counts_deleted=False).items()}
    rows = pq.read_table(ids).to_pylist()
    assert len({row["_row_id"] for row in rows}) == len(rows) == table.to_arrow().num_rows
    for row in rows:
        assert row["_row_id"] == first_ids[Path(row["_file"]).name] + row["_pos"]
