"""What the processes of a trial do; each tells in a journal of its own what it was told is done."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from andes_spark import ModTable, Settings, spark_session
from andes_spark.errors import AccessDeniedError, AndesError, ClockError, StorageFullError, VersionExpiredError
from andes_spark.log.log import system_clock
from andes_spark.model.results import ApplyResult
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.open import open_storage
from tests.soak import mutants
from tests.soak.trial import DELETES, Role, Row, Trial, rows_of, table_of

T = TypeVar("T")

SETTINGS = Settings(
    threads=1, store_seconds=2.0, commit_seconds=2.0, checkpoint_interval=3, compact_files=2, byte_budget=1 << 24
)
RACES, RACE_SECONDS = 60, 0.02
REPEATED = 0.2
"""Share of the batches that are sent once more after they were acknowledged."""
ROOT = Path(__file__).parents[2]
SPARK = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.memory": "512m",
    "spark.executorEnv.PYTHONPATH": str(ROOT),
}
AT_ONCE = 3
"""Batches that an appender is given before the first of them is waited for."""


@dataclass(frozen=True)
class Job:
    """The work of one process.

    Attributes:
        trial: the trial.
        url, options: of the table.
        number: place among the processes of the trial.
        folder: folder of the journals, and of the file that says that the writers are done.
        first: number of the first batch to send.
        life: how often this process was started before.
        step, action: number of the step at which the process stops or kills itself.
        clock_s: seconds by which its clock is wrong at first.
        at: time at which racers start.
    """

    trial: Trial
    url: str
    options: dict[str, str]
    number: int
    folder: Path
    first: int = 0
    life: int = 0
    step: int | None = None
    action: signal.Signals = signal.SIGKILL
    clock_s: int = 0
    at: float = 0.0

    @property
    def role(self) -> Role:
        return self.trial.roles[self.number]

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.number}.jsonl"

    @property
    def is_over(self) -> bool:
        return (self.folder / "over").exists()

    @property
    def spark_runs(self) -> Path:
        """File that says that the Spark job of the trial has a session: the other processes wait for it."""
        return self.folder / "spark"


@dataclass
class Worker:
    """A process at work."""

    job: Job
    random: Random = field(init=False)
    steps: int = 0
    settings: Settings = SETTINGS
    mods: Callable[[list[Row]], Any] = table_of

    def __post_init__(self) -> None:
        self.random = Random(f"{self.job.trial.seed} {self.job.number} {self.job.life}")
        self._output = os.open(self.job.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.clock_s = self.job.clock_s

    def tell(self, *event: Any) -> None:
        os.write(self._output, json.dumps(event).encode() + b"\n")

    def watch(self, step: str) -> None:
        """Stop or die at the step that is chosen for it."""
        self.steps += 1
        if self.steps == self.job.step:
            self.tell(self.job.action.name, step)
            os.kill(os.getpid(), self.job.action)

    def open(self) -> ModTable:
        options: dict[str, Any] = {
            "storage_options": self.job.options,
            "settings": self.settings,
            "progress": self.watch,
        }
        table = self.insist(lambda: ModTable.open(self.job.url, **options))
        table._open_table.log.clock = lambda: system_clock() + 1000 * self.clock_s
        return table

    def insist(self, call: Callable[[], T], *expected: type[AndesError]) -> T:
        """Repeat a call while its errors can be borne."""
        while True:
            try:
                return call()
            except AndesError as error:
                self.bear(error, *expected)
                time.sleep(self.random.uniform(0.02, 0.1))

    def bear(self, error: BaseException, *expected: type[AndesError]) -> None:
        """Raise an error, unless it is worth trying again, or what happens to the process explains it."""
        if self.job.trial.store == "small disk":
            expected = (*expected, StorageFullError, AccessDeniedError)
        self.tell("error", type(error).__name__)
        if isinstance(error, ClockError) and self.job.clock_s:
            self.clock_s = 0
        elif not (isinstance(error, AndesError) and error.retryable) and not isinstance(error, expected):
            raise error

    def rest(self) -> None:
        time.sleep(self.random.uniform(0.0, 0.2))

    def rows(self, number: int) -> dict[str, Any]:
        """Arguments of ``apply`` for a batch."""
        rows = rows_of(self.job.trial, self.job.number, number)
        return {"mods": self.mods(rows), "apply_as_deletes": DELETES, "batch_id": (str(self.job.number), number)}

    def acknowledge(self, number: int, result: ApplyResult) -> None:
        self.tell("acknowledged", number, result.version)
        if result.merge is not None and result.merge.error is not None:
            self.bear(result.merge.error)
        if number == self.job.first:
            self.clock_s = self.job.clock_s  # a clock may jump while the process runs


def write(worker: Worker) -> None:
    table = worker.open()
    for number in range(worker.job.first, worker.job.trial.batches):
        send = partial(table.apply, **worker.rows(number))
        result = worker.insist(send)
        worker.acknowledge(number, result)
        if worker.random.random() < REPEATED:
            repeat = worker.insist(send)
            assert (repeat.replayed, repeat.version) == (True, result.version)


def write_by_spark(worker: Worker) -> None:
    """Batches are DataFrames, and all work is done in tasks."""
    spark = spark_session("soak", master="local[2,4]", s3=False, cache_dir=ROOT / ".cache/jars", config=SPARK)
    worker.settings = replace(SETTINGS, byte_budget=0)
    columns = "id BIGINT, part STRING, lsn BIGINT, value STRING, op STRING"
    worker.mods = lambda rows: spark.createDataFrame(rows, columns)  # type: ignore[type-var]
    worker.job.spark_runs.touch()
    write(worker)


def append(worker: Worker) -> None:
    numbers = range(worker.job.first, worker.job.trial.batches)
    with worker.open().appender(max_delay=0.02) as appender:
        for first in range(0, len(numbers), AT_ONCE):
            futures = {number: appender.apply(**worker.rows(number)) for number in numbers[first : first + AT_ONCE]}
            for number, future in futures.items():
                waiting = [future]

                def result(number: int = number, waiting: list[Any] = waiting) -> ApplyResult:
                    sent = waiting.pop() if waiting else appender.apply(**worker.rows(number))
                    return sent.result()  # type: ignore[no-any-return]

                worker.acknowledge(number, worker.insist(result))


def keep(worker: Worker) -> None:
    """One process does all in turn."""
    table = worker.open()
    for number in range(worker.job.first, worker.job.trial.batches):
        worker.acknowledge(number, worker.insist(partial(table.apply, **worker.rows(number))))
        worker.insist(table.merge)
        worker.insist(table.compact)
        worker.insist(lambda: table.vacuum("0 seconds"))


def merge(worker: Worker) -> None:
    table = worker.open()
    while not worker.job.is_over:
        worker.tell("merge", worker.insist(table.merge).status)
        worker.rest()


def vacuum(worker: Worker) -> None:
    table = worker.open()
    while not worker.job.is_over:
        worker.tell("vacuum", worker.insist(lambda: table.vacuum("0 seconds")).files)
        if worker.random.random() < 0.3:
            worker.insist(table.compact)
        worker.rest()


def read(worker: Worker) -> None:
    """Read the newest version, which a vacuum may have released meanwhile."""
    table = worker.open()

    def newest() -> tuple[int, list[Any]]:
        version = table.version
        rows = table.to_arrow(version=version).sort_by("id")
        return version, [list(row.values()) for row in rows.to_pylist()]

    while not worker.job.is_over:
        worker.tell("read", *worker.insist(newest, VersionExpiredError))
        worker.rest()


def race(worker: Worker) -> None:
    """Create the objects that the other racers create, at the same moments."""
    storage = open_storage(worker.job.url, options=worker.job.options)
    storage.find("hint")
    for number in range(RACES):
        time.sleep(max(0.0, worker.job.at + RACE_SECONDS * number - time.time()))
        if storage.put_if_absent(f"{number:03d}", str(worker.job.number).encode()) is PutOutcome.CREATED:
            worker.tell("created", number)


ROLES: dict[Role, Callable[[Worker], None]] = {
    "writer": write,
    "appender": append,
    "keeper": keep,
    "merger": merge,
    "vacuumer": vacuum,
    "reader": read,
    "racer": race,
    "spark": write_by_spark,
}


def work(job: Job) -> None:
    """Do a job: the function that runs in the process."""
    with pytest.MonkeyPatch.context() as patch:
        if job.trial.mutant is not None:
            mutants.MUTANTS[job.trial.mutant].plant(patch)
        worker = Worker(job)
        while job.trial.has_spark and job.role != "spark" and not job.spark_runs.exists():
            time.sleep(0.02)
        try:
            ROLES[job.role](worker)
        except BaseException:
            worker.tell("failed", traceback.format_exc())
            raise
