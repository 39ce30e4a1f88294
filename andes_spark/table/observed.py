"""Logs and metrics of the verbs of an open table: rows and versions of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import pyarrow as pa

from andes_spark.errors import DamagedError, ForeignWriteError, NotFoundError
from andes_spark.log.dropped import refuse_gone
from andes_spark.model.manifest import COUNTED
from andes_spark.model.results import ApplyResult, MergeResult
from andes_spark.run.telemetry import Report, observed
from andes_spark.table.open_table import OpenTable

T = TypeVar("T")


def observe(open_table: OpenTable, verb: str, function: Callable[[], T]) -> T:
    """Run a verb with logs and metrics; return its result."""
    with observed(verb, open_table.storage, open_table.settings.metrics, spark_jobs=open_table.spark_jobs) as report:
        with naming_gone(open_table):
            result = function()
        report.version = open_table.log.head
        _fill(report, result)
    return result


@contextmanager
def naming_gone(open_table: OpenTable) -> Iterator[None]:
    """Say that the table is gone, instead of naming the files of it that are."""
    try:
        yield
    except (DamagedError, ForeignWriteError, NotFoundError):
        refuse_gone(open_table.storage, open_table.table_id)
        raise


def _fill(report: Report, result: Any) -> None:
    if isinstance(result, list):
        _fill_group(report, [outcome for outcome in result if isinstance(outcome, ApplyResult)])
    if isinstance(result, ApplyResult):
        report.version = result.version
        report.rows = {} if result.replayed else {kind: getattr(result.counts, kind) for kind in COUNTED}
        report.conflicts = result.conflicts
        report.advisory_failures = len(result.advisory)
        result = result.merge
    if isinstance(result, MergeResult):
        report.merged_mods = {count.name: getattr(result.counts, count.name) for count in fields(result.counts)}
    if isinstance(result, pa.Table):
        report.rows = {"read": result.num_rows}


def _fill_group(report: Report, results: list[ApplyResult]) -> None:
    """Fill in the rows of batches that were committed together, and the rest of their common commit and merge."""
    new = [result for result in results if not result.replayed]
    if results:
        _fill(report, (new or results)[0])
    report.rows = {kind: sum(getattr(result.counts, kind) for result in new) for kind in COUNTED} if new else {}
