"""The verbs of ``ModTable`` that keep a table small and fast, and versions readable."""

from __future__ import annotations

import datetime
from typing import Any

from andes_spark.log.dropped import refuse_gone
from andes_spark.model.display import Listing
from andes_spark.model.options import INTEGER, require
from andes_spark.model.repair_options import RepairOptions
from andes_spark.model.upkeep_options import (
    CompactOptions,
    ExpireOptions,
    ForgetOptions,
    MaintainOptions,
    PinOptions,
    VacuumOptions,
)
from andes_spark.table.about import about
from andes_spark.table.forgetting.forget import forget
from andes_spark.table.forgetting.proof import ForgetResult
from andes_spark.table.maintenance.compaction import CompactionResult, compaction
from andes_spark.table.maintenance.expire import ExpireResult, expire
from andes_spark.table.maintenance.maintain import MaintainResult, maintain
from andes_spark.table.maintenance.pins import PinnedVersion, PinResult, pin_version, pins, unpin
from andes_spark.table.maintenance.vacuum import VacuumResult, vacuum
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.repair import RepairResult, repair


class TableUpkeep:
    """The verbs that keep a table fast, small and whole: they compact, vacuum, forget, pin and repair."""

    _open_table: OpenTable

    def compact(self, max_bytes: int | None = None, *, dry_run: bool = False) -> CompactionResult:
        """Write the files of the base anew that slow reads: small ones, and those with many deleted rows.

        Merges do this for up to ``Settings.compact_bytes`` each; this verb does the rest, in Delta commits of that size
        that change no rows. Runs Spark jobs only above the byte budget.

        Args:
            max_bytes: bytes of files that may be written anew; by default as many as it takes.
            dry_run: only count the files that slow reads.

        Raises:
            OptionError: ``max_bytes`` is no number of bytes.
            CommitConflictError: merges were first each time; what was committed stays.
            ForeignWriteError, UnsupportedTableError: another writer changed the base.
        """
        options = CompactOptions.checked(max_bytes=max_bytes, dry_run=dry_run)
        return observe(self._open_table, "compact", lambda: compaction(self._open_table, options))

    def expire(
        self, up_to: Any = None, older_than: datetime.timedelta | str | None = None, *, dry_run: bool = False
    ) -> ExpireResult:
        """Forget deletes and truncates up to a sequence, for good: their tombstones take up space until then.

        A version is committed from which on mods at or below that sequence are set aside as expired, unless they are
        applied with ``backfill=True``; these are judged by the rows that are there, and not by what is forgotten. No
        row changes. A merge by the table's policy follows, which drops the tombstones. Runs Spark jobs as it does.

        Args:
            up_to: the sequence: a value of the sequence column, or a tuple with one for each of several.
            older_than: in place of it, an age; by default the table's ``lateness``. The sequence is then the highest of
                the versions of that age (of the newest 1,024) which is below all that arrived since, above the cut; the
                newest batch counts as arrived since. Reads the manifest of each version of that time.
            dry_run: only tell the sequence.

        Returns:
            The version and the sequence. If the sequence is not above the cut of an earlier expire, or there is none,
            nothing is committed; the tombstones of backfilled deletes go with the next expire above it.

        Raises:
            OptionError: the table has no sequence columns, or they are part of the key; ``up_to`` is no sequence, or
                ``older_than`` no duration; both are given.
            CommitConflictError: other writers were first too often.
            DamagedError: a document is missing.
        """
        options = ExpireOptions.checked(up_to=up_to, older_than=older_than, dry_run=dry_run)
        with about(self._open_table.table):
            return observe(self._open_table, "expire", lambda: expire(self._open_table, options))

    def forget(
        self, keys: Any = None, *, condition: str | None = None, confirm: str | None = None, dry_run: bool = False
    ) -> ForgetResult:
        """Remove keys from all that is stored: rows, mods, old versions, refused rows, tombstones, both logs.

        All versions up to now are released, and the history of the base with them. Mods of the keys that come late lose
        as before, since a salted hash takes the place of each tombstone. What other tables, clones, local caches and
        old object versions of a bucket hold is not reached. A call that was interrupted is finished by the same call.
        Reads all objects of the table; runs Spark jobs only as ``merge`` does.

        Args:
            keys: the keys, as for ``get``; a key without a row is forgotten as well.
            condition: in place of keys, a SQL condition on the newest rows, whose keys are forgotten.
            confirm: name of the table's folder, or its URL.
            dry_run: only tell what names the keys, and what is in the way.

        Returns:
            What was removed and written anew, with checksums; its ``verify()`` decodes all that is left, at any time.

        Raises:
            OptionError: ``confirm`` is another name; neither or both of keys and condition; tags or pins keep versions,
                which ``problems`` names, and nothing was changed (unless a pin came meanwhile: nothing was deleted).
            SchemaMismatchError: keys of another type.
            CommitConflictError: other writers brought the keys again each time; forget again.
            ForeignWriteError, UnsupportedTableError: another writer changed the base.
            DamagedError: a file or document is missing.
        """
        options = ForgetOptions.checked(condition=condition, confirm=confirm, dry_run=dry_run)
        with about(self._open_table.table):
            return observe(self._open_table, "forget", lambda: forget(self._open_table, keys, options))

    def maintain(
        self,
        *,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
        retain: datetime.timedelta | str = "7 days",
        dry_run: bool = False,
    ) -> MaintainResult:
        """Do all upkeep that is due, for a scheduler: a merge by the merge policy, compaction, a vacuum.

        A table at rest is not changed. What time or bytes do not suffice for is done by the next call. Runs Spark jobs
        only as ``merge`` does.

        Args:
            max_bytes: bytes of files that compaction may write anew; by default as many as it takes.
            max_seconds: time after which no further step is begun; by default all are.
            retain: as for ``vacuum``.
            dry_run: only tell what is due.

        Raises:
            OptionError: an option of another kind.
            AndesError: as ``merge``, ``compact`` and ``vacuum``; what was committed stays.
        """
        options = MaintainOptions.checked(max_bytes=max_bytes, max_seconds=max_seconds, retain=retain, dry_run=dry_run)
        with about(self._open_table.table):
            return observe(self._open_table, "maintain", lambda: maintain(self._open_table, options))

    def pin(self, version: int | None = None, days: int = 7) -> PinResult:
        """Keep a version readable for some days, by an object beside the log: no version is committed.

        For readers: it needs no right to commit. A tag is for what people name, and lasts. Runs no Spark job.

        Args:
            version: version to keep; by default the newest.
            days: number of days, after today, on which a vacuum keeps it; up to 366.

        Raises:
            OptionError: another number of days.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
        """
        options = PinOptions.checked(version=version, days=days)
        with about(self._open_table.table):
            return observe(self._open_table, "pin", lambda: pin_version(self._open_table, options))

    def unpin(self, version: int) -> PinResult:
        """Remove all pins of a version, whoever put them; the next vacuum may release it. Runs no Spark job.

        Args:
            version: the version; without pins, nothing happens.
        """
        require("version", version, INTEGER)
        return observe(self._open_table, "unpin", lambda: unpin(self._open_table, version))

    def pins(self) -> Listing[PinnedVersion]:
        """Return the pinned versions, oldest first, by a listing. Runs no Spark job."""
        return pins(self._open_table)

    def vacuum(self, retain: datetime.timedelta | str = "7 days", *, dry_run: bool = False) -> VacuumResult:
        """Release old versions, and delete the files that no readable version needs. Runs no Spark job.

        Versions with a tag or a pin stay readable, and so do the base and its newest state for all readers of Delta. A
        tag that has expired is removed if its version is released. Manifests, refused rows and the Delta log stay.
        Nothing is committed if there is nothing to delete; a vacuum that was interrupted is finished by the next one.

        Args:
            retain: versions that were the newest within this time stay readable, and files that were written within it
                stay. Reads, writes and merges that take longer fail with an error, or begin again; none loses rows.
            dry_run: only tell what would be deleted.

        Raises:
            OptionError: ``retain`` is no duration.
            CommitConflictError: other writers were first too often; nothing was deleted.
            ForeignWriteError, UnsupportedTableError: another writer changed the base; nothing was deleted.
            DamagedError: a file or document is missing; nothing was deleted.
        """
        options = VacuumOptions.checked(retain=retain, dry_run=dry_run)
        with about(self._open_table.table):
            return observe(self._open_table, "vacuum", lambda: vacuum(self._open_table, options))

    def repair(self, foreign: str | None = None, *, lost: str | None = None, dry_run: bool = False) -> RepairResult:
        """Find what other writers or damage did to the table, and mend it from the log, so that merges go on.

        What becomes of changes of other writers is the caller's choice: without ``foreign`` they are an error, with the
        number of rows that were added, changed and removed. If there are none, the table is verified, and what is
        damaged is made again from the log; what is lost is named in ``left``. Runs Spark jobs as ``merge`` does.

        Args:
            foreign: ``"undo"`` takes back what other writers changed, rows, columns and features, by one Delta commit;
                ``"take_in"`` makes the rows of the base a version of the table, after a check of their keys.
            lost: ``"accept"`` goes on without mods and manifests that are lost, whose cost ``left`` names.
            dry_run: only tell what is wrong, and what would be done.

        Raises:
            OptionError: ``foreign`` does not say what becomes of a change, or the change cannot be taken in.
            CommitConflictError: another writer committed meanwhile; nothing was repaired.
            DamagedError: what is needed is missing or damaged.
        """
        options = RepairOptions.checked(foreign=foreign, lost=lost, dry_run=dry_run)
        with about(self._open_table.table):
            refuse_gone(self._open_table.storage, self._open_table.table_id)
            result, self._open_table = observe(self._open_table, "repair", lambda: repair(self._open_table, options))
        return result
