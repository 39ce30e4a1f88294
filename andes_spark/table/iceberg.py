"""The Iceberg face as a verb: metadata over the files of the base, for readers that read no Delta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from andes_spark.log.advisory import Advisory
from andes_spark.model.display import Displayed, count_text
from andes_spark.model.results import Step
from andes_spark.model.sync_options import SyncIcebergOptions
from andes_spark.sync.iceberg.catalog import CatalogName, CatalogTable
from andes_spark.sync.iceberg.face import Outcome
from andes_spark.sync.iceberg.files import file_url
from andes_spark.sync.iceberg.metadata import APPLIED, Shown
from andes_spark.table.open_table import OpenTable
from andes_spark.table.shown import shown_of


@dataclass(frozen=True, repr=False)
class IcebergSync(Displayed):
    """Result of a synchronization, as ``ModTable.sync_iceberg`` returns it.

    Attributes:
        metadata: location of the newest metadata file, which readers open.
        snapshot_id: id of the newest snapshot.
        applied: version of the table whose rows it has.
        pending: number of later versions, which no merge has brought into the base yet, as in ``status``.
        committed: whether this call committed the snapshot; False if it was there.
        format: version of Iceberg's specification.
        files_added, files_removed: number of data files that entered and left the face.
        vectors: number of files of position deletes, or of deletion vectors in format 3, that were written.
        manifests_written, manifests_reused: number of manifests of the snapshot that were written, and that were there.
        expired: number of snapshots that left the face.
        name: name in the catalog; None without one.
        published: whether this call changed the table of the catalog.
        steps: time, requests and bytes of each step.
    """

    metadata: str
    snapshot_id: int
    applied: int
    pending: int
    committed: bool
    format: int
    files_added: int = 0
    files_removed: int = 0
    vectors: int = 0
    manifests_written: int = 0
    manifests_reused: int = 0
    expired: int = 0
    name: str | None = None
    published: bool = False
    steps: tuple[Step, ...] = field(default=(), compare=False)

    def summary(self) -> str:
        """See ``Displayed``."""
        outcome = f"shows version {self.applied}" if self.committed else f"shows version {self.applied} already"
        return f"{outcome}; {count_text(self.pending, 'versions')} not merged yet" if self.pending else outcome

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        files = f"{self.files_added:,} added, {self.files_removed:,} removed"
        manifests = f"{self.manifests_written:,} written, {self.manifests_reused:,} reused"
        details: Mapping[str, str] = {
            "iceberg": self.summary(),
            "metadata": self.metadata,
            "snapshot": str(self.snapshot_id),
            "data files": files if self.files_added or self.files_removed else "",
            "deletes": count_text(self.vectors, "files") if self.vectors else "",
            "manifests": manifests if self.committed else "",
            "catalog": "" if self.name is None else f"{self.name}, {'changed' if self.published else 'as it was'}",
            "expired": count_text(self.expired, "snapshots") if self.expired else "",
        }
        return {name: text for name, text in details.items() if text}


def sync_iceberg(open_table: OpenTable, options: SyncIcebergOptions) -> IcebergSync:
    """Synchronize the Iceberg face; see ``ModTable.sync_iceberg``."""
    steps = open_table.begin("sync_iceberg", open_table.log.head)
    advisory = Advisory(open_table.table)
    storage, clock = open_table.storage, open_table.log.clock
    named = None
    if options.name is not None:
        name = CatalogName(options.name, options.catalog, options.catalog_properties or {})
        with steps.step("load the catalog"):
            named = CatalogTable(name, open_table.table)
    face = open_table.face

    def after(outcome: Outcome) -> None:
        advisory.later(
            storage.scheduler,
            "writing the hint of the Iceberg face",
            lambda: face.write_hint(outcome),
            consequence="readers of the folder see the snapshot before; those of the metadata file see this one",
        )
        if outcome.expired:
            now_ms = clock()
            advisory.later(
                storage.scheduler,
                "deleting expired files of the Iceberg face",
                lambda: face.delete_unnamed(outcome, now_ms),
                consequence="a later synchronization deletes them",
            )

    if open_table.base.newest is None:
        # What came with the log may be older than the face.
        with steps.step("read the base"):
            open_table.base.snapshot()
    with steps.step("synchronize"):
        outcome = face.synchronize(
            lambda: shown_by(open_table),
            format_version=options.format,
            now_ms=clock,
            attempts=open_table.settings.commit_attempts,
            after=after,
        )
    advisory.report("the Iceberg face is synchronized")
    published = False
    if named is not None:
        location = file_url(storage, outcome.metadata.path)
        with steps.step("commit to the catalog"):
            published = named.publish(outcome.metadata, location, attempts=open_table.settings.commit_attempts)
    return replace(_result(open_table, outcome, steps.done), name=options.name, published=published)


def shown_by(open_table: OpenTable) -> Shown:
    """Read the newest state of log and base, with what the face needs of the definition."""
    open_table.base.ask()
    open_table.log.refresh()
    base = open_table.base.snapshot()
    if base.applied > open_table.log.head:
        open_table.log.refresh()
    return shown_of(open_table, base)


def _result(open_table: OpenTable, outcome: Outcome, steps: tuple[Step, ...]) -> IcebergSync:
    snapshot, changes = outcome.metadata.current, outcome.changes
    applied = int(snapshot["summary"][APPLIED])
    return IcebergSync(
        metadata=file_url(open_table.storage, outcome.metadata.path),
        snapshot_id=snapshot["snapshot-id"],
        applied=applied,
        pending=open_table.log.head - applied,
        committed=changes is not None,
        format=outcome.metadata.format_version,
        files_added=0 if changes is None else len(changes.added),
        files_removed=0 if changes is None else changes.removed_files,
        vectors=0 if changes is None else len(changes.vectors),
        manifests_written=outcome.manifests,
        manifests_reused=outcome.reused,
        expired=outcome.expired,
        steps=steps,
    )
