"""The examination: all checks in order, each with its time; what one raises is its finding."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from andes_spark.doctor import session_checks, store_checks, table_checks
from andes_spark.doctor.report import Check, Finding, Report, failed, passed
from andes_spark.doctor.table_checks import Place
from andes_spark.errors import AndesError
from andes_spark.storage.interface import Storage
from andes_spark.storage.open import open_storage
from andes_spark.storage.s3_options import Access
from andes_spark.table.sessions import session_access

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STORE_SECONDS = 20.0
"""Time for which a request to the store is repeated: an examination answers soon."""


@dataclass
class Examination:
    """An examination under way, which runs checks and collects their results.

    Attributes:
        progress: function called with the name of each check as it begins.
        checks: results so far.
    """

    progress: Callable[[str], None]
    checks: list[Check] = field(default_factory=list)

    def run(self, name: str, check: Callable[[], Finding]) -> bool:
        """Run a check; return whether it did not fail."""
        self.progress(name)
        begun = time.monotonic()
        try:
            finding = check()
        except AndesError as error:
            finding = failed(error.message)
        except Exception as error:  # noqa: BLE001  # whatever a cluster raises is what was to be found
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            finding = failed(f"{type(error).__name__}: {first.strip()}")
        self.checks.append(Check(name, finding.status, finding.detail, time.monotonic() - begun))
        return finding.status != "failed"

    def skip(self, names: tuple[str, ...], reason: str) -> None:
        """Note that checks could not be tried."""
        self.checks += [Check(name, "skipped", reason) for name in names]


STORE = ("conditional put", "listing", "clock")
TABLES = ("Spark to andes_spark", "andes_spark to Spark", "work in tasks")


def examine(
    scratch: str | None = None,
    *,
    session: Callable[[], SparkSession],
    storage_options: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Examine this process, a Spark session and a store.

    Args:
        scratch: folder for tables of the examination, on disk or S3; they are deleted in the end. None for a temporary
            folder of this machine.
        session: function that starts or finds the session.
        storage_options: access to S3, as for ``ModTable.open``.
        progress: called with the name of each check as it begins.
    """
    examination = Examination(progress)
    examination.run("Python", lambda: passed(platform.python_version()))
    examination.run("packages", session_checks.packages)
    sessions: list[SparkSession] = []
    examination.run("session", partial(session_checks.session, session, sessions))
    spark = sessions[0] if sessions else None
    if spark is not None:
        examination.run("Java", partial(session_checks.java, spark))
        examination.run("executors", partial(session_checks.executors, spark))
    _examine_tables(examination, scratch, spark, storage_options)
    return Report(tuple(examination.checks))


def _examine_tables(
    examination: Examination, scratch: str | None, spark: SparkSession | None, options: Mapping[str, str] | None
) -> None:
    if scratch is None and spark is not None and not session_checks.is_local(spark):
        examination.skip((*STORE, *TABLES), "give --scratch, a folder that all machines of the cluster reach")
        return
    parent = tempfile.mkdtemp(prefix="andes-doctor-") if scratch is None else scratch
    url = f"{parent.rstrip('/')}/andes-doctor-{uuid.uuid4().hex[:12]}"
    remote = "://" in url
    access: Access | None = options if remote else None
    if remote and options is None:
        access = session_access(spark)
    storage = open_storage(url, options=access, seconds=STORE_SECONDS)
    try:
        checks = (store_checks.conditional_put, store_checks.listing, store_checks.clock)
        stored = [examination.run(name, partial(check, storage)) for name, check in zip(STORE, checks, strict=True)]
        if not stored[0]:
            examination.skip(TABLES, "the store cannot hold tables")
        elif spark is None:
            examination.skip(TABLES, "there is no Spark session")
        else:
            _examine_both_ways(examination, Place(storage, options, spark))
    finally:
        examination.run("clean up", partial(_clean_up, storage, None if remote else url))
        if scratch is None:
            shutil.rmtree(parent, ignore_errors=True)


def _examine_both_ways(examination: Examination, place: Place) -> None:
    checks = (table_checks.spark_to_library, table_checks.library_to_spark, table_checks.work_in_tasks)
    for name, check in zip(TABLES, checks, strict=True):
        examination.run(name, partial(check, place))
    examination.run("Spark and Delta", partial(session_checks.pair, place.spark, table_checks.delta_of(place.storage)))


def _clean_up(storage: Storage, folder: str | None) -> Finding:
    """Delete what the examination wrote; on a disk with its folders."""
    paths = [info.path for info in storage.list()]
    storage.delete(paths)
    if folder is not None:
        shutil.rmtree(folder)
    return passed(f"{len(paths)} objects deleted")
