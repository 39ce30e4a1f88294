"""What operations report: counts that balance, and where time, bytes and requests went."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from andes_spark.model.display import Displayed, count_text, counts_text, moment, size_text, time_text
from andes_spark.model.manifest import COUNTED, Batch, Counts, Manifest


@dataclass(frozen=True)
class Step:
    """One step of an operation.

    Attributes:
        name: for example ``"write mods"``.
        seconds: wall time.
        requests: to the store, from this process.
        bytes_read, bytes_written: through the store, from this process.
        sync_seconds: of ``seconds``, waiting for the disk to say that bytes are safe.
        spark_jobs: Spark jobs that it ran.
    """

    name: str
    seconds: float
    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    sync_seconds: float = 0.0
    spark_jobs: int = 0

    def plus(self, other: Step) -> Step:
        """The sum of two runs of one step."""
        numbers = [each.name for each in fields(self) if each.name != "name"]
        return Step(self.name, **{name: getattr(self, name) + getattr(other, name) for name in numbers})


@dataclass(frozen=True)
class MergeCounts:
    """What became of committed mods: each is in exactly one of these, but for ties, counted beside them.

    Attributes:
        inserted: upserts that made a row.
        updated: upserts that replaced or changed a row.
        deleted: deletes that hold, whether or not there was a row.
        truncated: truncates.
        unchanged: upserts equal to the row in all columns, sequence included.
        folded: partial mods that the row shows, but for its last.
        late: mods below what their key already had.
        superseded: mods that another mod of the same merge beats, or a delete of their own sequence.
        quarantined: mods that the law sets aside: late partials, and partials without a row.
        discarded: mods of versions that were set aside.
        ties: upserts that met an upsert or delete of their key and sequence from an earlier version; one that equals
            an upsert that is merged already counts as unchanged instead.
        ties_with_deletes: those of ``ties`` that met a delete: it holds, and the upsert is superseded.
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
        """Both together."""
        return MergeCounts(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    @property
    def mods(self) -> int:
        """All mods counted."""
        return int(sum(getattr(self, each.name) for each in fields(self))) - self.ties - self.ties_with_deletes


@dataclass(frozen=True)
class CompactResult:
    """Files of the base that were rewritten to keep reads fast, and what that took."""

    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    seconds: float = 0.0

    def plus(self, other: CompactResult) -> CompactResult:
        """Both together."""
        return CompactResult(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        )


@dataclass(frozen=True)
class AdvisoryFailure:
    """A step after a commit that failed, and on which nothing that is committed depends.

    Attributes:
        step: for example ``"writing a checkpoint"``.
        error: what it raised; not always an ``Exception``, since native libraries raise panics.
        consequence: what follows from it.
    """

    step: str
    error: BaseException
    consequence: str


@dataclass(frozen=True, repr=False)
class MergeResult(Displayed):
    """What a merge did.

    Attributes:
        status: ``merged``; ``nothing`` was pending; ``skipped``, another merge is under way and takes the
            mods along; ``failed``, see ``error``: what was applied is safe, and the next merge takes it.
        applied: version that the base contains now.
        counts: of mods; its fields can be read on the result itself.
        delta_version: version of the base's Delta table now.
        compaction: files rewritten to keep reads fast.
        steps: where time and requests went.
        error: what went wrong, if it did.
        advisory: steps after the commit that failed; the merge stands.
    """

    status: Literal["merged", "nothing", "skipped", "failed"]
    applied: int
    delta_version: int
    counts: MergeCounts = field(default_factory=MergeCounts)
    compaction: CompactResult = field(default_factory=CompactResult)
    steps: tuple[Step, ...] = ()
    error: BaseException | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()

    @property
    def warning(self) -> str | None:
        """What a reader of the result should not miss; None if there is nothing."""
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
    """What an apply did.

    Attributes:
        version: that holds the batch; the first one when it is a replay.
        counts: of the batch; ``received`` and the like can be read on the result itself.
        replayed: whether the same batch was applied before, so that no version was made.
        merge: what the merge that followed did; None where none was due, or a replay left nothing to merge.
        steps: where time and requests went.
        advisory: steps after the commit that failed, a failed merge among them; the batch is applied.
        conflicts: versions of other writers that took the number of this one, so that the commit was tried again.
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
        """Rows of the batch."""
        return self.counts.received

    @property
    def upserts(self) -> int:
        """Upserts committed."""
        return self.counts.upserts

    @property
    def deletes(self) -> int:
        """Deletes committed."""
        return self.counts.deletes

    @property
    def truncates(self) -> int:
        """Truncates committed."""
        return self.counts.truncates

    @property
    def collapsed(self) -> int:
        """Rows that stood twice in the batch."""
        return self.counts.collapsed

    @property
    def quarantined(self) -> int:
        """Bad mods set aside."""
        return self.counts.quarantined


@dataclass(frozen=True, repr=False)
class HistoryEntry(Displayed):
    """A version of the log.

    Attributes:
        version: number of the version.
        time: of its commit, UTC.
        operation: verb that made it.
        counts: rows of the batch.
        batch: source, id and digest of the batch, if it has an id.
        job: name of the job that made it, if it has one.
        commit_id: UUID of the commit.
    """

    version: int
    time: datetime.datetime
    operation: str
    counts: Counts
    batch: Batch | None
    job: str | None
    commit_id: str

    @classmethod
    def of(cls, manifest: Manifest) -> HistoryEntry:
        """What a manifest says of its version."""
        time = moment(manifest.time)
        assert time is not None
        return cls(
            manifest.version,
            time,
            manifest.operation,
            manifest.counts,
            manifest.batch,
            manifest.writer.get("job"),
            manifest.commit_id,
        )

    def summary(self) -> str:
        """See ``Displayed``."""
        return f"version {self.version}, {self.operation}, {time_text(self.time)}: {self._counts()}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        batch = {} if self.batch is None else {"batch": f"{self.batch.source} {self.batch.id.partition(':')[2]}"}
        job = {} if self.job is None else {"job": self.job}
        return {
            "version": str(self.version),
            "time": time_text(self.time),
            "operation": self.operation,
            "rows": self._counts(),
            **batch,
            **job,
        }

    def _counts(self) -> str:
        return counts_text({name: getattr(self.counts, name) for name in COUNTED}, none="none")


@dataclass(frozen=True, repr=False)
class MergeEntry(Displayed):
    """A merge of the base.

    Attributes:
        delta_version: of the base, that the merge made.
        time: of its commit, UTC; None where the entry does not say.
        from_version, to_version: versions of the log that it folded in.
        counts: of mods, by what became of them; its fields can be read on the entry itself.
    """

    delta_version: int
    time: datetime.datetime | None
    from_version: int
    to_version: int
    counts: MergeCounts

    def __getattr__(self, name: str) -> Any:
        # Only asked for names that the dataclass does not have.
        if name in MergeCounts.__dataclass_fields__:
            return getattr(self.counts, name)
        raise AttributeError(name)

    def summary(self) -> str:
        """See ``Displayed``."""
        versions = f"versions {self.from_version} to {self.to_version}"
        return f"{versions}, {time_text(self.time)}: {counts_text(vars(self.counts), none='no mods')}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {
            "delta_version": str(self.delta_version),
            "time": time_text(self.time),
            "versions": f"{self.from_version} to {self.to_version}",
            "mods": counts_text(vars(self.counts), none="none"),
        }


def spent_text(steps: Iterable[Step]) -> str:
    """Time, requests, bytes and Spark jobs of some steps together."""
    done = list(steps)
    spent = [
        f"{sum(step.seconds for step in done):.2f} s",
        count_text(sum(step.requests for step in done), "requests"),
        f"{size_text(sum(step.bytes_written for step in done))} written",
    ]
    jobs = sum(step.spark_jobs for step in done)
    return ", ".join([*spent, *([count_text(jobs, "Spark jobs")] if jobs else [])])


def _warned(merge: MergeResult) -> dict[str, str]:
    """The warning of a merge, as a field for people."""
    return {} if merge.warning is None else {"WARNING": merge.warning}


def _afterwards(failures: Iterable[AdvisoryFailure]) -> dict[str, str]:
    """Failures of steps after a commit, as a field for people."""
    told = [f"{failure.step} failed, {failure.consequence}: {failure.error}" for failure in failures]
    return {"afterwards": "\n".join(told)} if told else {}
