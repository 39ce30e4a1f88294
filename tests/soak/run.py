"""Run of a trial: its processes, what happens to them, and in the end the comparison with the oracle."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any

from andes_spark import ModTable
from andes_spark.errors import AndesError
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server
from tests.small_disks import full, read_only, small_disk
from tests.soak.check import Heard, check
from tests.soak.trial import SCHEMA, Trial, loaded_rows, table_of
from tests.soak.workers import SETTINGS, Job, work

LONGEST_S, LONGEST_WITH_SPARK_S = 120.0, 400.0
TICK_S = 0.02
STEPS = 60
"""Number of the last step at which a process may be chosen to stop or to kill itself."""
GIVEN_UP = 0.1
"""Share of the killed writers that do not come back."""
HANG_S = 0.7
SMALL_DISK = "24m"
STORM_REQUESTS = 40
STORMS: dict[str, Callable[[str], list[Fault]]] = {
    "answer lost": lambda method: [Fault(method, "drop")],
    "connection lost": lambda method: [Fault(method, "drop", forward=False)],
    "cut": lambda method: [Fault(method, "cut")],
    "no answer": lambda method: [Fault(method, "hang")],
    "slow": lambda method: [Fault(method, "slow", times=3)],
    "carried out late": lambda method: [Fault(method, "late")],
    "500, carried out": lambda method: [Fault(method, "500", code="InternalError")],
    "500": lambda method: [Fault(method, "500", forward=False, code="InternalError", times=3)],
    "503 storm": lambda method: [
        Fault(http_method, "503", forward=False, code="SlowDown", times=STORM_REQUESTS)
        for http_method in ("PUT", "GET", "POST")
    ],
}
HOUR_S = 3600
forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["tests.soak.workers"])


class BrokenTrialError(AssertionError):
    """A process of a trial failed, or did not end."""


@dataclass
class Process:
    """A process of a trial, and what it told so far."""

    job: Job
    process: ForkServerProcess
    read: int = 0
    wakes: float | None = None

    @classmethod
    def start(cls, job: Job) -> Process:
        process = forks.Process(target=work, args=(job,), daemon=True)
        process.start()
        return cls(job, process)

    def events(self) -> Iterator[list[Any]]:
        """What it told since the last call; a line that a killed process did not end is none."""
        with suppress(FileNotFoundError), self.job.journal.open("rb") as journal:
            journal.seek(self.read)
            for line in journal:
                if line.endswith(b"\n"):
                    self.read += len(line)
                    yield json.loads(line)

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        if self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def wait_and_wake(self, seconds: float) -> None:
        self.wakes = time.monotonic() + seconds

    def wake(self) -> None:
        self.wakes = None
        self.signal(signal.SIGCONT)


@dataclass
class Run:
    """A trial that runs.

    Attributes:
        proxy: in front of the store.
        at: time at which racers start.
        counts: what happened, for the closing line.
        heard: what the processes told.
    """

    trial: Trial
    url: str
    options: dict[str, str]
    folder: Path
    proxy: FaultProxy | None
    at: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    heard: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.random = Random(self.trial.seed)
        self.processes: list[Process] = []
        self.given_up: set[int] = set()

    def run(self) -> None:
        ends = time.monotonic() + (LONGEST_WITH_SPARK_S if self.trial.has_spark else LONGEST_S)
        try:
            self.processes = [Process.start(self._job(number)) for number in range(len(self.trial.roles))]
            while not all(map(self._is_done, range(self.trial.writers))):
                self._tick(ends)
            (self.folder / "over").touch()
            for process in self.processes:
                process.wake()
            while any(process.process.is_alive() for process in self.processes):
                self._tick(ends, calm=True)
            self._listen()
            for writer in set(range(self.trial.writers)) - self.given_up:
                assert self.heard.next_batch(writer) == self.trial.batches
        finally:
            for process in self.processes:
                process.signal(signal.SIGKILL)
                process.process.join()

    def _job(self, number: int) -> Job:
        job = Job(self.trial, self.url, self.options, number, self.folder, step=self.trial.dies_at, at=self.at)
        if self.trial.clocks and self.random.random() < 0.8:
            job = replace(job, clock_s=self.random.choice((-HOUR_S, HOUR_S, -240, 240)))
        return self._harmed(job)

    def _harmed(self, job: Job) -> Job:
        """The job with a step at which its process stops or dies, if the trial has such."""
        rates = {signal.SIGKILL: self.trial.kills, signal.SIGSTOP: self.trial.pauses}
        if not any(rates.values()) or self.random.random() < 0.3 or self._is_spared(job):
            return job
        (action,) = self.random.choices(list(rates), list(rates.values()))
        return replace(job, step=self.random.randint(1, STEPS), action=action)

    def _is_done(self, number: int) -> bool:
        process = self.processes[number].process
        return not process.is_alive() and (process.exitcode == 0 or number in self.given_up)

    def _tick(self, ends: float, *, calm: bool = False) -> None:
        time.sleep(TICK_S)
        if time.monotonic() > ends:
            raise BrokenTrialError(f"a process did not end: {self.trial}")
        self._listen()
        now = time.monotonic()
        for process in self.processes:
            if process.wakes is not None and process.wakes <= now:
                process.wake()
        if calm:
            return
        for number, process in enumerate(self.processes):
            if not process.process.is_alive() and not self._is_done(number):
                self._restart(number)
        self._harm()

    def _listen(self) -> None:
        for process in self.processes:
            for kind, *event in process.events():
                if kind == "failed":
                    raise BrokenTrialError(f"a {process.job.role} failed: {self.trial}\n{event[0]}")
                if kind in ("SIGSTOP", "SIGKILL"):
                    self.counts[f"{kind} at {event[0]}"] += 1
                    process.wait_and_wake(self.random.uniform(0.3, 1.5))
                elif kind == "error":
                    self.counts[event[0]] += 1
                else:
                    self.heard.take(process.job.number, kind, event)

    def _restart(self, number: int) -> None:
        """Start a killed process again: a writer from its first batch that is not acknowledged, or never."""
        process = self.processes[number]
        if process.process.exitcode != -signal.SIGKILL:
            raise BrokenTrialError(f"a {process.job.role} ended with {process.process.exitcode}: {self.trial}")
        self.counts["kills"] += 1
        self._listen()
        if number < self.trial.writers and self.random.random() < GIVEN_UP:
            self.given_up.add(number)
            return
        job = replace(process.job, first=self.heard.next_batch(number), life=process.job.life + 1, step=None)
        restarted = Process.start(self._harmed(job))
        restarted.read = process.read
        self.processes[number] = restarted

    def _harm(self) -> None:
        """Let something happen, at random moments."""
        trial = self.trial
        process = self.random.choice(self.processes)
        if self._is_spared(process.job):
            pass
        elif self._is_due(trial.kills):
            process.signal(signal.SIGKILL)
        elif self._is_due(trial.pauses):
            process.signal(signal.SIGSTOP)
            process.wait_and_wake(self.random.uniform(0.1, 1.5))
            self.counts["pauses"] += 1
        if self.proxy is not None and self._is_due(trial.faults):
            name = self.random.choice(list(STORMS))
            method = self.random.choices(("PUT", "GET", "POST"), (6, 3, 1))[0]
            self.proxy.faults = STORMS[name](method)
            self.counts["faults"] += 1
        if trial.store == "small disk" and self._is_due(0.7):
            trouble = self.random.choice((full, read_only))
            with trouble(self.folder / "disk"):
                time.sleep(self.random.uniform(0.1, 0.4))
            self.counts[trouble.__name__] += 1

    def _is_spared(self, job: Job) -> bool:
        """Whether a process is not harmed: a Spark job dies once, since it takes long to start."""
        return job.role == "spark" and (job.life > 0 or not job.spark_runs.exists())

    def _is_due(self, rate: float) -> bool:
        return self.random.random() < rate * TICK_S


def run_trial(trial: Trial, folder: Path, server: S3Server | None = None) -> Counter[str]:
    """Run a trial in an empty folder; return its counts.

    Raises:
        AssertionError: a process failed, or a promise is broken.
    """
    with _place(trial, folder, server) as (url, direct, proxy):
        begun = time.time()
        create(trial, url, direct)
        run = Run(trial, url, direct if proxy is None else proxy.options, folder, proxy)
        run.run()
        try:
            run.counts += check(trial, url, direct, run.heard, begun=begun)
        except AndesError as error:
            raise BrokenTrialError(f"the table cannot be read: {trial}") from error
    run.counts["trials"] += 1
    return run.counts


def create(trial: Trial, url: str, options: dict[str, str]) -> ModTable:
    return ModTable.create(
        url,
        SCHEMA,
        primary_key=["id"],
        sequence_by=["lsn"] if trial.sequenced else [],
        partition_by=["part"] if trial.partitioned else [],
        merge=trial.merge,
        data=table_of(loaded_rows(trial), with_op=False),
        storage_options=options,
        settings=SETTINGS,
    )


@contextmanager
def _place(
    trial: Trial, folder: Path, server: S3Server | None
) -> Iterator[tuple[str, dict[str, str], FaultProxy | None]]:
    """URL of the table, storage options for it, and the proxy in front of its store."""
    folder.mkdir(parents=True, exist_ok=True)
    if trial.store == "s3":
        assert server is not None
        with FaultProxy(server, hang_seconds=HANG_S) as proxy:
            yield f"s3://{server.make_bucket()}/t", server.options, proxy
        return
    with (
        small_disk(folder / "disk", size=SMALL_DISK)
        if trial.store == "small disk"
        else nullcontext(folder / "disk") as place
    ):
        yield str(place / "t"), {}, None
