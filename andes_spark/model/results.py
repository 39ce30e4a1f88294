"""Results of operations: they hold counts of rows and mods, and the time, bytes and requests of each step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from andes_spark.model.display import Displayed, count_text, counts_text, size_text
from andes_spark.model.manifest import COUNTED, Counts
from andes_spark.model.merge_cost import MergeDecision


@dataclass(frozen=True)
class Step:
    """One step of an operation, as it was measured in this process.

    Attributes:
        name: name of the step, for example ``"write mods"``.
        seconds: wall time in seconds.
        requests: number of requests of this process to the store.
        bytes_read, bytes_written: bytes transferred between this process and the store.
        sync_seconds: part of ``seconds`` spent waiting for the disk to sync.
        spark_jobs: number of Spark jobs that the step ran.
    """

    name: str
    seconds: float
    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    sync_seconds: float = 0.0
    spark_jobs: int = 0

    def plus(self, other: Step) -> Step:
        """Return the sums of two runs of one step."""
        numbers = [field.name for field in fields(self) if field.name != "name"]
        return Step(self.name, **{name: getattr(self, name) + getattr(other, name) for name in numbers})


@dataclass(frozen=True)
class MergeCounts:
    """Number of merged mods by outcome. Each mod has exactly one outcome; ties are counted in addition.

    Attributes:
        inserted: upserts that created a row.
        updated: upserts that replaced or changed a row.
        deleted: deletes in effect, with or without an existing row.
        truncated: truncates.
        unchanged: upserts equal to the row in all columns, sequence included.
        folded: partial mods that were combined into a row, except the last one of each row.
        late: mods below the sequence of their key in the base.
        superseded: mods replaced by another mod of the same merge, or by a delete of equal sequence.
        quarantined: partial mods that are late or have no row.
        discarded: mods of versions that were set aside.
        ties: upserts with the key and sequence of an upsert or delete of an earlier version; an upsert equal to a
            merged one counts as unchanged instead.
        ties_with_deletes: the part of ``ties`` with a delete, which supersedes the upsert.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    truncated: int = 0
    unchanged: int = 0
    folded: int = 0
    late: int = 0
    superseded: int = 0
    quarantined: int = 0
    discarded: int = 0
    ties: int = 0
    ties_with_deletes: int = 0

    def plus(self, other: MergeCounts) -> MergeCounts:
        """Return the sums of all fields of both."""
        return MergeCounts(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )

    @property
    def mods(self) -> int:
        """The number of all merged mods: the sum of the outcomes, without ties."""
        return int(sum(getattr(self, field.name) for field in fields(self))) - self.ties - self.ties_with_deletes


@dataclass(frozen=True)
class CompactResult:
    """Files of the base that were rewritten to keep reads fast, and the cost of rewriting them.

    Attributes:
        files_removed: number of files that were replaced.
        files_added: number of files that replace them.
        bytes_removed: size of the replaced files in bytes.
        bytes_added: size of the new files in bytes.
        seconds: time that the rewriting took.
    """

    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    seconds: float = 0.0

    def plus(self, other: CompactResult) -> CompactResult:
        """Return the sums of all fields of both."""
        return CompactResult(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )


@dataclass(frozen=True)
class WrittenBytes:
    """Size of the files of the base that a merge wrote, in bytes.

    Attributes:
        new: bytes of the files of rows that the mods wrote.
        rewritten: bytes of the files of rows that were in the base before: by compaction, and without deletion vectors
            by the merge.
    """

    new: int = 0
    rewritten: int = 0

    def plus(self, other: WrittenBytes) -> WrittenBytes:
        """Return the sums of all fields of both."""
        return WrittenBytes(self.new + other.new, self.rewritten + other.rewritten)


@dataclass(frozen=True)
class AdvisoryFailure:
    """A failed step after a commit, which does not affect committed data.

    Attributes:
        step: name of the step, for example ``"writing a checkpoint"``.
        error: error of the step; panics of native libraries are not instances of ``Exception``.
        consequence: what the failure means until the step is repeated, as text.
    """

    step: str
    error: BaseException
    consequence: str


@dataclass(frozen=True, repr=False)
class MergeResult(Displayed):
    """Result of a merge, as ``ModTable.merge`` and applies return it.

    Attributes:
        status: ``merged``; ``nothing`` if no mods were pending; ``waiting`` if the merge policy defers the merge, see
            ``decision``; ``skipped`` if another merge is running, which includes the mods; ``failed``, see ``error``:
            applied batches are safe, and the next merge includes them.
        applied: version of the log in the base.
        counts: number of mods by outcome; its fields are also attributes of the result.
        delta_version: version of the base's Delta table.
        compaction: files rewritten to keep reads fast.
        steps: time and requests by step.
        error: error of a failed merge.
        advisory: failed steps after the commit, which do not affect the merge.
        decision: decision of the merge policy; None if the caller requested the merge.
        written: size of the written files.
    """

    status: Literal["merged", "nothing", "waiting", "skipped", "failed"]
    applied: int
    delta_version: int
    counts: MergeCounts = field(default_factory=MergeCounts)
    compaction: CompactResult = field(default_factory=CompactResult)
    steps: tuple[Step, ...] = ()
    error: BaseException | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()
    decision: MergeDecision | None = None
    written: WrittenBytes = field(default_factory=WrittenBytes)

    @property
    def write_amplification(self) -> float | None:
        """The bytes written to the base per byte of new rows; None without new rows.

        For many merges, add up ``written`` first.
        """
        return (self.written.new + self.written.rewritten) / self.written.new if self.written.new else None

    @property
    def warning(self) -> str | None:
        """The warning about upserts that a delete of the same sequence supersedes, as text; None if there are none."""
        count = self.counts.ties_with_deletes
        if not count:
            return None
        return (
            f"{count} upsert{'s' if count > 1 else ''} at the very sequence of a delete of the same key in an earlier "
            "batch: the delete holds and the row is gone; send both in one batch with tie_break_by, or with sequences "
            "that differ"
        )

    def __getattr__(self, name: str) -> Any:
        # Only asked for names that the dataclass does not have.
        if name in MergeCounts.__dataclass_fields__:
            return getattr(self.counts, name)
        raise AttributeError(name)

    def summary(self) -> str:
        """See ``Displayed``."""
        if self.status == "failed":
            return f"failed, the next merge takes the mods: {self.error}"
        if self.status == "skipped":
            return "skipped, another merge is under way and takes the mods along"
        if self.status == "waiting":
            return str(self.decision)
        if self.status == "nothing":
            return f"nothing was pending, the base contains version {self.applied}"
        text = f"the base contains version {self.applied}: {counts_text(vars(self.counts), none='no mods')}"
        removed, added = self.compaction.files_removed, self.compaction.files_added
        return f"{text}; {count_text(removed, 'files')} rewritten as {added:,}" if removed else text

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {
            "merge": self.summary(),
            **_warned(self),
            **_afterwards(self.advisory),
            "took": spent_text(self.steps),
        }


@dataclass(frozen=True, repr=False)
class ApplyResult(Displayed):
    """Result of an apply, as ``ModTable.apply`` returns it.

    Attributes:
        version: version of the batch; for a replay that of the first application.
        counts: number of rows of the batch; ``received`` and the other counts are also attributes of the result.
        replayed: whether the same batch was applied before, so that no version was created.
        merge: result of the merge after the apply, ``waiting`` if it is deferred; None if merges are manual, the
            caller requested none, or nothing was pending.
        steps: time and requests by step.
        advisory: failed steps after the commit, including the merge, which do not affect the batch.
        conflicts: number of commit attempts that lost their version number to another writer.
    """

    version: int
    counts: Counts
    replayed: bool = False
    merge: MergeResult | None = None
    steps: tuple[Step, ...] = ()
    advisory: tuple[AdvisoryFailure, ...] = ()
    conflicts: int = 0

    def summary(self) -> str:
        """See ``Displayed``."""
        counts = {name: getattr(self.counts, name) for name in COUNTED}
        text = f"version {self.version}: {counts_text(counts, none='no mods')}"
        return f"applied before, as {text}" if self.replayed else text

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        merged = {} if self.merge is None else {"merge": self.merge.summary(), **_warned(self.merge)}
        steps = self.steps if self.merge is None else (*self.steps, *self.merge.steps)
        return {"apply": self.summary(), **merged, **_afterwards(self.advisory), "took": spent_text(steps)}

    @property
    def received(self) -> int:
        """The number of rows that the batch had, whatever became of them."""
        return self.counts.received

    @property
    def upserts(self) -> int:
        """The number of upserts that the version holds."""
        return self.counts.upserts

    @property
    def deletes(self) -> int:
        """The number of deletes that the version holds."""
        return self.counts.deletes

    @property
    def truncates(self) -> int:
        """The number of truncates that the version holds."""
        return self.counts.truncates

    @property
    def collapsed(self) -> int:
        """The number of rows that repeat another row of the batch, and were written once."""
        return self.counts.collapsed

    @property
    def quarantined(self) -> int:
        """The number of rows that were refused, and are stored with the reason; see ``ModTable.quarantined``."""
        return self.counts.quarantined


def spent_text(steps: Iterable[Step]) -> str:
    """Format the total time, requests, bytes and Spark jobs of steps."""
    finished_steps = list(steps)
    spent = [
        f"{sum(step.seconds for step in finished_steps):.2f} s",
        count_text(sum(step.requests for step in finished_steps), "requests"),
        f"{size_text(sum(step.bytes_written for step in finished_steps))} written",
    ]
    jobs = sum(step.spark_jobs for step in finished_steps)
    return ", ".join([*spent, *([count_text(jobs, "Spark jobs")] if jobs else [])])


def _warned(merge: MergeResult) -> dict[str, str]:
    """Return the warning of a merge, as a field to display."""
    return {} if merge.warning is None else {"WARNING": merge.warning}


def _afterwards(failures: Iterable[AdvisoryFailure]) -> dict[str, str]:
    """Return the failures of steps after a commit, as a field to display."""
    lines = [f"{failure.step} failed, {failure.consequence}: {failure.error}" for failure in failures]
    return {"afterwards": "\n".join(lines)} if lines else {}
