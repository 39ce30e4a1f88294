"""Restoring an earlier version, as a new version from which the table goes on."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.errors import CommitConflictError, OptionError
from andes_spark.log.advisory import Advisory
from andes_spark.log.commit import Draft, commit
from andes_spark.log.line import line
from andes_spark.log.readable import check_readable
from andes_spark.model.display import Displayed, counts_text
from andes_spark.model.events import Restore, mods_of
from andes_spark.model.history_options import RestoreOptions
from andes_spark.model.manifest import Manifest
from andes_spark.model.results import AdvisoryFailure, MergeResult
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.merge import merge_after_apply
from andes_spark.table.verbs.read import pin


@dataclass(frozen=True, repr=False)
class RestoreResult(Displayed):
    """Result of a restore, as ``ModTable.restore`` returns it.

    Attributes:
        version: version whose rows the table has again.
        committed: version with the event; reads of versions below it are as before.
        left_out: number of versions that take no part any more.
        mods: number of mods in the versions left out.
        merge: result of the merge that followed; None without one.
        advisory: failed steps after the commit, which do not affect the restore.
    """

    version: int
    committed: int
    left_out: int
    mods: int
    merge: MergeResult | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()

    def summary(self) -> str:
        """See ``Displayed``."""
        left_out = counts_text({"versions": self.left_out, "mods": self.mods}, none="nothing")
        return f"version {self.version} was restored as version {self.committed}; left out: {left_out}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        details = {"restored": self.summary()}
        return details if self.merge is None else {**details, "merge": self.merge.summary()}


def restore(open_table: OpenTable, options: RestoreOptions) -> RestoreResult:
    """Restore a version; see ``ModTable.restore``."""
    steps = open_table.begin("restore", open_table.log.head + 1)
    log = open_table.log
    with steps.step("read the log"):
        open_table.check_log()
        version = chosen_version(open_table, options)
        assert version is not None
        _refuse_newest(open_table, version)
        check_readable(log, version)
        left_out, mods = _left_out(open_table, version)
    with steps.step("read the base"):
        # The files that the rows are in must exist.
        pin(open_table, version)
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=log.clock())
    draft = Draft(operation="restore", table_id=open_table.table_id, events=(Restore(version=version),), new_epoch=True)
    advisory = Advisory(open_table.table)
    planned_on = log.head

    def admit(manifest: Manifest) -> Manifest | None:
        raise CommitConflictError(
            f"{open_table.table}: version {manifest.version} was committed by another writer while the restore of "
            f"version {version} was planned on version {planned_on}, and would be left out unseen; restore again",
            table=open_table.table,
            version=manifest.version,
        )

    with steps.step("commit"):
        manifest = commit(
            log,
            draft,
            clock=clock,
            admit=admit,
            roll_up=open_table.roll_ups.make,
            advisory=advisory,
            head_checked=True,
        )
    # Until it is merged, each read evaluates the mods since an older state of the base.
    by_default = options.merge is None and open_table.definition.merge != "manual"
    requested = True if by_default else options.merge
    merged = merge_after_apply(open_table, None, requested=requested, in_memory={}, advisory=advisory)
    failures = advisory.report("the version is restored")
    return RestoreResult(version, manifest.version, left_out, mods, merged, failures)


def _refuse_newest(open_table: OpenTable, version: int) -> None:
    if version == open_table.log.head:
        raise OptionError(
            f"{open_table.table}: version {version} is the newest, so that there is nothing to restore",
            table=open_table.table,
            option="version",
            value=version,
        )


def _left_out(open_table: OpenTable, version: int) -> tuple[int, int]:
    """Number of versions that a restore would leave out, and of their mods."""
    log = open_table.log
    later = line([manifest.pending for manifest in log.manifests(version, log.head)])
    left_out = [part for part in later if part.version > version]
    return len(left_out), sum(entry.rows for part in left_out for entry in mods_of(part.events))
