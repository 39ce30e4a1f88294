"""Log records and metrics of a verb, for operators: one record at its start, one at its end.

Log records name the table, versions, counts and errors; options, which may hold credentials, never reach this module.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from andes_spark.settings import Metrics
from andes_spark.storage.interface import Storage, Tally

_LOGGER = logging.getLogger(__name__)
_KINDS = ("get", "put", "put_if_absent", "list", "delete", "head")


@dataclass
class Report:
    """Report of one run of a verb, filled in while it runs.

    Attributes:
        version: version of the table that was committed or read.
        rows: number of rows by kind, such as ``received`` and ``quarantined``.
        merged_mods: number of merged mods by outcome.
        conflicts: number of versions that other writers committed in between.
        advisory_failures: number of failed advisory steps.
    """

    version: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    merged_mods: Mapping[str, int] = field(default_factory=dict)
    conflicts: int = 0
    advisory_failures: int = 0


@contextmanager
def observed(
    verb: str, storage: Storage, metrics: Metrics | None, *, spark_jobs: Callable[[], int] = lambda: 0
) -> Iterator[Report]:
    """Log a verb, and report its metrics at its end or error.

    Args:
        verb: name of the verb, such as ``"apply"``.
        storage: the table's folder, with the counts of requests.
        metrics: hook for the metrics; None for none.
        spark_jobs: function that returns the number of Spark jobs so far.
    """
    table, report, outcome = storage.url, Report(), "ok"
    before, jobs, begun = storage.counts.snapshot(), spark_jobs(), time.perf_counter()
    _LOGGER.info("%s: %s begins", table, verb)
    try:
        yield report
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        seconds, spent = time.perf_counter() - begun, storage.counts.minus(before)
        counts = [*report.rows.items(), *report.merged_mods.items()]
        shown = "".join(f", {count} {kind}" for kind, count in counts if count)
        version = "" if report.version is None else f", version {report.version}"
        _LOGGER.info(
            "%s: %s ends: %s%s%s, %.3f s, %d requests", table, verb, outcome, version, shown, seconds, spent.requests
        )
        if metrics is not None:
            labels = {"table": table, "verb": verb}
            _send(metrics, "seconds", seconds, {**labels, "outcome": outcome})
            for name, value, extra in _values(report, spent, spark_jobs() - jobs):
                _send(metrics, name, value, {**labels, **extra})


def _values(report: Report, spent: Tally, spark_jobs: int) -> Iterator[tuple[str, float, dict[str, str]]]:
    for kind in _KINDS:
        yield "requests", getattr(spent, kind), {"kind": kind}
    yield "bytes", spent.bytes_read, {"kind": "read"}
    yield "bytes", spent.bytes_written, {"kind": "written"}
    yield "spark_jobs", spark_jobs, {}
    yield "conflicts", report.conflicts, {}
    yield "advisory_failures", report.advisory_failures, {}
    for kind, count in report.rows.items():
        yield "rows", count, {"kind": kind}
    for kind, count in report.merged_mods.items():
        yield "merged_mods", count, {"kind": kind}
    if report.version is not None:
        yield "version", report.version, {}


def _send(metrics: Metrics, name: str, value: float, labels: Mapping[str, str]) -> None:
    """Call the hook with one metric; its failure is only logged, since the verb is done."""
    try:
        metrics(f"andes_spark.{name}", value, labels)
    except Exception:
        _LOGGER.warning("%s: the metrics hook failed at andes_spark.%s", labels["table"], name, exc_info=True)
