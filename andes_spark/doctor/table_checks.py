"""Checks of tables that Spark and this library write in turn: credentials both ways, deletion vectors, tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.doctor.report import Finding, failed, passed
from andes_spark.model.display import count_text
from andes_spark.settings import Settings
from andes_spark.spark.s3a import spark_path
from andes_spark.storage.interface import Storage
from andes_spark.table.mod_table import ModTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_COLUMNS = "id BIGINT, seq BIGINT, name STRING"
_ROWS = 1000
_FIRST_ENTRY = "_delta_log/00000000000000000000.json"


@dataclass(frozen=True)
class Place:
    """Where an examination writes tables.

    Attributes:
        storage: its folder.
        options: storage options; None for those of the session.
        spark: the session.
    """

    storage: Storage
    options: Mapping[str, str] | None
    spark: SparkSession

    def url(self, name: str) -> str:
        """Return the URL of a table."""
        return f"{self.storage.url.rstrip('/')}/{name}"

    def by_delta(self, name: str) -> DataFrame:
        """Return a table as Delta's own reader in Spark sees it."""
        return self.spark.read.format("delta").load(spark_path(self.storage, name))

    @property
    def access(self) -> dict[str, Any]:
        """Arguments of ``ModTable`` for the access."""
        return {"storage_options": self.options, "spark": self.spark}


def spark_to_library(place: Place) -> Finding:
    """Check that this library reads what Spark writes: rows, and rows deleted by deletion vectors."""
    path = spark_path(place.storage, "by_spark")
    rows = place.spark.range(0, _ROWS, 1, 1).selectExpr("id", "id AS seq", "concat('v', id) AS name")
    rows.write.format("delta").option("delta.enableDeletionVectors", "true").save(path)
    place.spark.sql(f"DELETE FROM delta.`{path}` WHERE id < 10")
    table = ModTable.convert(place.url("by_spark"), primary_key="id", sequence_by="seq", **place.access)
    wrong = _compared(("this library", ids_of(table.to_arrow())), list(range(10, _ROWS)))
    return wrong or passed(f"{_ROWS - 10} rows, {_vectors(place.storage, 'by_spark')}")


def library_to_spark(place: Place) -> Finding:
    """Check that Spark reads what this library writes: a merged base with deletion vectors, and pending mods."""
    mods, access = _mods(range(_ROWS), 1), place.access
    table = ModTable.create(place.url("by_andes"), _COLUMNS, primary_key="id", sequence_by="seq", data=mods, **access)
    table.apply(_mods(range(10), 2), apply_as_deletes="true", batch_id=("doctor", 1))
    wrong = _compared(("Spark", ids(place.by_delta("by_andes"))), list(range(10, _ROWS)))
    table.apply(_mods(range(_ROWS, _ROWS + 5), 3), batch_id=("doctor", 2), merge=False)
    table.apply(_mods(range(10, 20), 3), apply_as_deletes="true", batch_id=("doctor", 3), merge=False)
    fresh = ("Spark, with pending mods,", ids(table.read()))
    wrong = wrong or _compared(fresh, list(range(20, _ROWS + 5)))
    return wrong or passed(f"{_ROWS - 10} rows, {_vectors(place.storage, 'by_andes')}; 15 pending mods")


def work_in_tasks(place: Place) -> Finding:
    """Check that Spark's tasks write mods and merge them: executors have the packages, and reach the store."""
    table = ModTable.open(place.url("by_andes"), settings=Settings(byte_budget=0), **place.access)
    mods = place.spark.range(0, 10, 1, 2).selectExpr("id", "id + 10 AS seq", "'again' AS name")
    result = table.apply(mods, batch_id=("doctor", 4), merge=True)
    merge = result.merge
    if merge is None or merge.error is not None:
        return failed(f"the merge failed: {None if merge is None else merge.error}")
    jobs = sum(step.spark_jobs for step in (*result.steps, *merge.steps))
    wrong = _compared(("Spark", ids(place.by_delta("by_andes"))), [*range(10), *range(20, _ROWS + 5)])
    return wrong or passed(f"a batch and its merge in {count_text(jobs, 'Spark jobs')}")


def delta_of(storage: Storage) -> str | None:
    """Return the version of the Delta that wrote the table of ``spark_to_library``; None if it does not say."""
    entry = storage.find(f"by_spark/{_FIRST_ENTRY}") or b""
    for line in entry.splitlines():
        engine = json.loads(line).get("commitInfo", {}).get("engineInfo", "")
        if "Delta-Lake/" in engine:
            return str(engine.partition("Delta-Lake/")[2].split()[0])
    return None


def ids(frame: DataFrame) -> list[int]:
    """Return the keys of a DataFrame, in order."""
    return sorted(row[0] for row in frame.select("id").collect())


def ids_of(rows: pa.Table) -> list[int]:
    """Return the keys of a table, in order."""
    return sorted(rows["id"].to_pylist())


def _mods(keys: range, sequence: int) -> pa.Table:
    count = len(keys)
    return pa.table({"id": pa.array(keys, pa.int64()), "seq": [sequence] * count, "name": [f"v{key}" for key in keys]})


def _vectors(storage: Storage, name: str) -> str:
    return count_text(sum(info.path.endswith(".bin") for info in storage.list(name)), "deletion vector files")


def _compared(read_keys: tuple[str, list[int]], expected: list[int]) -> Finding | None:
    """Return the finding for other rows than those expected; None if they are the same."""
    reader, keys = read_keys
    if keys == expected:
        return None
    return failed(
        f"{reader} reads {len(keys)} rows where {len(expected)} are expected, {len({*keys} ^ {*expected})} of them"
        " others: do not write tables with this pair of Spark and Delta"
    )
