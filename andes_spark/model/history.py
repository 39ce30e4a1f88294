"""Entries of the history of a table: versions of its log, and merges into its base."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from andes_spark.model.display import Displayed, counts_text, moment, time_text
from andes_spark.model.events import Alter, Event, Expire, Forget, Restore, SetAside, Tag, TakeIn, Vacuum
from andes_spark.model.manifest import COUNTED, Batch, Counts, Manifest
from andes_spark.model.results import MergeCounts


def event_text(event: Event) -> str | None:
    """Describe an event about names or earlier versions; None for others."""
    match event:
        case SetAside():
            return f"version {event.version} set aside"
        case Restore():
            return f"version {event.version} restored"
        case Vacuum():
            return f"versions below {event.floor} are no longer kept"
        case Alter():
            return ", ".join("columns" if name == "schema_id" else name for name in event.changed) + " changed"
        case TakeIn():
            return f"Delta version {event.delta_version} of the base taken in"
        case Expire():
            return f"deletes and truncates up to {', '.join(map(str, event.sequence))} forgotten"
        case Forget():
            return "hashes took the place of the tombstones of forgotten keys"
        case Tag(version=None):
            return f"tag {event.name} removed"
        case Tag():
            until = "" if event.expires is None else f", expires {time_text(moment(event.expires))}"
            return f"tag {event.name} on version {event.version}{until}"
    return None


@dataclass(frozen=True, repr=False)
class HistoryEntry(Displayed):
    """A version of the log, as ``ModTable.history`` lists it.

    Attributes:
        version: number of the version.
        time: commit time, UTC.
        operation: verb that made the version.
        counts: number of rows of all batches.
        batches: source, id, digest and counts of the batches with an id.
        job: name of the job that made the version; None if it had none.
        commit_id: UUID of the commit.
        tags: names of the tags that stand for the version.
        notes: changes of tags and of earlier versions by this one, as text.
    """

    version: int
    time: datetime.datetime
    operation: str
    counts: Counts
    batches: tuple[Batch, ...]
    job: str | None
    commit_id: str
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, tags: Iterable[str] = ()) -> HistoryEntry:
        """Create the entry from a manifest and the tags of its version."""
        time = moment(manifest.time)
        assert time is not None
        return cls(
            manifest.version,
            time,
            manifest.operation,
            manifest.counts,
            tuple(manifest.batches),
            manifest.writer.get("job"),
            manifest.commit_id,
            tuple(tags),
            tuple(filter(None, map(event_text, manifest.events))),
        )

    def summary(self) -> str:
        """See ``Displayed``."""
        return f"version {self.version}, {self.operation}, {time_text(self.time)}: {self._counts()}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        batch = {"batch": "\n".join(map(_batch_text, self.batches))} if self.batches else {}
        job = {} if self.job is None else {"job": self.job}
        lists = {"tags": ", ".join(self.tags), "notes": "\n".join(self.notes)}
        return {
            "version": str(self.version),
            "time": time_text(self.time),
            "operation": self.operation,
            "rows": self._counts(),
            **batch,
            **job,
            **{name: text for name, text in lists.items() if text},
        }

    def _counts(self) -> str:
        return counts_text({name: getattr(self.counts, name) for name in COUNTED}, none="none")


@dataclass(frozen=True, repr=False)
class MergeEntry(Displayed):
    """A merge of the log into the base, as ``ModTable.merges`` lists it.

    Attributes:
        delta_version: version of the base's Delta table made by the merge.
        time: commit time, UTC; None if unknown.
        from_version, to_version: first and last merged version of the log.
        counts: number of mods by outcome; its fields are also attributes of the entry.
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


def _batch_text(batch: Batch) -> str:
    return f"{batch.source} {batch.id.partition(':')[2]}"
