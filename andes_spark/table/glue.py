"""Synchronization with the Glue Data Catalog as a verb: the forms of a table, its merge before, and the outcome."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

from andes_spark.errors import AndesError, OptionError
from andes_spark.log.advisory import Advisory
from andes_spark.model.display import Displayed
from andes_spark.model.results import MergeResult, Step
from andes_spark.model.sync_options import SyncGlueOptions, SyncIcebergOptions
from andes_spark.run.steps import Steps
from andes_spark.sync.glue.client import glue_api
from andes_spark.sync.glue.entry import Entry, delta_entry, iceberg_entry
from andes_spark.sync.glue.names import GlueName
from andes_spark.sync.glue.plan import GluePlan
from andes_spark.sync.glue.synchronizer import GlueSynchronizer
from andes_spark.sync.iceberg.files import FACE_FOLDER, file_url, root_url
from andes_spark.sync.iceberg.metadata import APPLIED, metadata_path, newest_metadata
from andes_spark.sync.outcomes import TargetOutcome, write_outcome
from andes_spark.table.iceberg import shown_by, sync_iceberg
from andes_spark.table.open_table import OpenTable
from andes_spark.table.sessions import access_of
from andes_spark.table.shown import shown_of
from andes_spark.table.verbs.merge import run_merge


@dataclass(frozen=True, repr=False)
class GlueSync(Displayed):
    """Result of a synchronization, as ``ModTable.sync_glue`` returns it.

    Attributes:
        entries: what was done to each entry; in a dry run, what would be.
        pending: number of versions that the base does not contain yet, and no reader of Glue sees.
        merge: the merge before, if there was one.
        merge_due: whether there was a merge before; in a dry run, whether there would be one, which then is shown.
        dry_run: whether nothing was written.
        steps: time, requests and bytes of each step.
    """

    entries: tuple[GluePlan, ...]
    pending: int
    merge: MergeResult | None = None
    merge_due: bool = False
    dry_run: bool = False
    steps: tuple[Step, ...] = field(default=(), compare=False)

    @property
    def changed(self) -> bool:
        """Whether an entry was, or would be, created or updated."""
        return any(entry.action in ("create", "update") for entry in self.entries)

    def summary(self) -> str:
        """See ``Displayed``."""
        return "; ".join(entry.summary() for entry in self.entries)

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        several = len(self.entries) > 1
        details: dict[str, str] = {}
        for entry in self.entries:
            names = entry.details().items()
            details.update({f"{entry.form}: {name}" if several else name: text for name, text in names})
        if self.pending:
            details["not merged yet"] = f"{self.pending:,} versions" if self.pending > 1 else "1 version"
        if self.merge_due:
            details["merge"] = "would be made first, and shown" if self.merge is None else self.merge.summary()
        return details


def sync_glue(open_table: OpenTable, name: str, options: SyncGlueOptions) -> GlueSync:
    """Synchronize the entries of a table in Glue; see ``ModTable.sync_glue``."""
    names = _names(name, options)
    if not open_table.table.startswith("s3://"):
        raise OptionError(
            f"{open_table.table} is not on S3: Glue, and what reads tables by it, needs a folder of a bucket",
            option="path",
        )
    api = glue_api(_access(open_table), endpoint=options.endpoint, region=options.region)
    steps = open_table.begin("sync_glue", open_table.log.head)
    run = _Run(open_table, options, steps)
    synchronizers = {
        form: GlueSynchronizer(
            api, glue_name, run.reader(form), create_database=options.create_database, adopt=options.adopt
        )
        for form, glue_name in names.items()
    }
    entries, errors = [], []
    due = options.freshness is not None and run.is_stale(options.freshness)
    merge = (
        None
        if options.dry_run or not due
        else run.merge({form: f"glue {glue_name}" for form, glue_name in names.items()})
    )
    for form, synchronizer in synchronizers.items():
        try:
            with steps.step(f"synchronize {form}"):
                entries.append(run.synchronize(synchronizer))
        except AndesError as error:
            run.note(f"glue {synchronizer.name}", form, error=error)
            errors.append(error)
        else:
            run.note(f"glue {synchronizer.name}", form, applied=entries[-1].applied)
    run.report()
    if errors:
        for other in errors[1:]:
            errors[0].add_note(str(other))
        raise errors[0]
    pending = open_table.log.head - open_table.base.in_memory().applied
    return GlueSync(tuple(entries), pending, merge, due, options.dry_run, steps.done)


class _Run:
    """One run: what the entries are made from, and what is noted."""

    def __init__(self, open_table: OpenTable, options: SyncGlueOptions, steps: Steps) -> None:
        self._open_table = open_table
        self._options = options
        self._steps = steps
        self._advisory = Advisory(open_table.table)

    def reader(self, form: str) -> Callable[[], Entry]:
        """Return the function that reads what Glue is to say in a form."""
        return self._delta if form == "delta" else self._iceberg

    def synchronize(self, synchronizer: GlueSynchronizer) -> GluePlan:
        """Plan, or plan and carry out."""
        if self._options.dry_run:
            return synchronizer.plan()
        return synchronizer.apply(self._open_table.settings.commit_attempts)

    def merge(self, targets: dict[str, str]) -> MergeResult:
        """Merge; a failure is noted for all targets."""
        try:
            with self._steps.step("merge"):
                return run_merge(self._open_table)
        except AndesError as error:
            for form, target in targets.items():
                self.note(target, form, error=error)
            self.report()
            raise

    def note(self, target: str, form: str, *, applied: int | None = None, error: AndesError | None = None) -> None:
        """Store the outcome for ``status``; a failure to do so is a record of the logger."""
        if self._options.dry_run:
            return
        storage, time = self._open_table.storage, self._open_table.log.clock()
        text = None if error is None else f"{type(error).__name__}: {error}"
        outcome = TargetOutcome(target, form, time, applied, text)
        self._advisory.run(
            f"noting the outcome of the synchronization with {target}",
            lambda: write_outcome(storage, outcome),
            consequence="status shows the outcome before",
        )

    def report(self) -> None:
        """Log what could not be noted."""
        self._advisory.report("the synchronization ended")

    def is_stale(self, freshness: datetime.timedelta) -> bool:
        """Return whether mods have been pending for a time."""
        log, base = self._open_table.log, self._open_table.base.snapshot()
        if log.refresh() <= base.applied:
            return False
        waited = log.clock() - log.manifest(base.applied + 1).time
        return waited >= freshness / datetime.timedelta(milliseconds=1)

    def _delta(self) -> Entry:
        return delta_entry(shown_by(self._open_table), root_url(self._open_table.storage))

    def _iceberg(self) -> Entry:
        """Write the face, unless this is a dry run, and return the entry that names its newest metadata."""
        open_table = self._open_table
        storage = open_table.storage
        location = file_url(storage, FACE_FOLDER)
        if not self._options.dry_run:
            metadata = sync_iceberg(open_table, SyncIcebergOptions()).metadata
            return iceberg_entry(shown_of(open_table, open_table.base.in_memory()), location, metadata)
        newest = newest_metadata(storage, open_table.table_id)
        shown = shown_by(open_table)
        number = 1
        if newest is not None:
            is_shown = int(newest.current["summary"][APPLIED]) == shown.applied
            number = newest.number if is_shown else newest.number + 1
        return iceberg_entry(shown, location, file_url(storage, metadata_path(number)))


def _names(name: str, options: SyncGlueOptions) -> dict[str, GlueName]:
    """Names of the entries by their form; the two forms cannot have one name."""
    first = GlueName.parse(name)
    if options.as_ != "both":
        return {options.as_: first}
    if options.iceberg_name is None:
        second = GlueName.parse(f"{first}_iceberg")
    else:
        second = GlueName.parse(options.iceberg_name, option="iceberg_name")
    if first == second:
        raise OptionError(
            f"{first} cannot be the name of both forms: choose another iceberg_name", option="iceberg_name"
        )
    return {"delta": first, "iceberg": second}


def _access(open_table: OpenTable) -> dict[str, str]:
    """Storage options as of now: a synchronization is short."""
    access = access_of(open_table.storage)
    if access is None:
        return {}
    return dict(access(open_table.table.split("/")[2]) if callable(access) else access)
