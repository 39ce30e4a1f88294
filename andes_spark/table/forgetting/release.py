"""The release of all versions up to what the base contains, by a forget."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import polars as pl

from andes_spark.errors import DamagedError, NotFoundError, OptionError
from andes_spark.log.clock import CheckedClock
from andes_spark.log.mod_files import open_entry, read_as, read_entry
from andes_spark.log.readable import floor_of
from andes_spark.model.events import Mods, Quarantine, Truncate, Vacuum, mods_of, quarantine_of
from andes_spark.model.manifest import Manifest
from andes_spark.model.mod import OP
from andes_spark.run.steps import Steps
from andes_spark.table.forgetting.mentions import Keys, named_rows
from andes_spark.table.maintenance.vacuum import Limits, Plan, Work
from andes_spark.table.open_table import OpenTable

_NEVER = 2**62
"""Time after all others, in milliseconds since 1970."""


class _KeyFoundError(Exception):
    """Another writer committed a version that brings one of the keys, or that goes back to earlier versions."""


class Release(Work):
    """The deletion of all that no version from the floor on needs.

    Args:
        open_table: the table; all versions that it knows are merged.
        steps: collector of steps.
        clock: clock that dates the version.
        keys: keys that no later version may bring.
        merged: version up to which all was merged when no row and no tombstone had one of the keys.
    """

    operation = "forget"
    always_fences = True
    keeps_face = False

    def __init__(self, open_table: OpenTable, steps: Steps, clock: CheckedClock, keys: Keys, merged: int) -> None:
        super().__init__(open_table, steps, clock, 0)
        self._keys = keys
        self._merged = merged

    def run(self) -> tuple[int, Plan] | None:
        """Release the versions; return the one that did, with what was deleted. None if all is to be done again.

        Raises:
            OptionError: a tag or pin came meanwhile.
        """
        try:
            version, plan = self.announce(self.plan())
        except _KeyFoundError:
            return None
        self.delete(plan)
        return version, plan

    def limits(self, applied: int) -> Limits:
        """See ``Work``: whatever its age, a file that no version needs is deleted."""
        log = self._open_table.log
        floor = max(floor_of(log), applied)
        return Limits(floor, log.head + 1, _NEVER, floor)

    def plan(self) -> Plan:
        """See ``Work``.

        Raises:
            _KeyFoundError: a version since brings a key, or goes back to earlier ones.
            OptionError: a tag or pin came meanwhile.
        """
        plan = super().plan()
        log, later = self._open_table.log, self._merged + 1
        for manifest in log.manifests(later, plan.needed.head) if later <= plan.needed.head else ():
            self._check(manifest)
        self._refuse_kept(reason for reasons in plan.needed.kept.values() for reason in reasons)
        return plan

    def admit(self, manifest: Manifest) -> None:
        """See ``Work``: a version that does not bring the keys may come first."""
        self._check(manifest)

    def check_pinned(self, pinned: Collection[int]) -> None:
        """See ``Work``: the version is committed, and nothing was deleted yet."""
        self._refuse_kept(f"pin of version {version}" for version in sorted(pinned))

    def _refuse_kept(self, kept: Iterable[str]) -> None:
        names = tuple(kept)
        if names:
            raise OptionError(
                f"{self._open_table.table}: {', '.join(names)} came meanwhile; nothing was deleted yet: remove it by "
                "untag() or unpin(), then forget again",
                table=self._open_table.table,
                option="keys",
                problems=names,
            )

    def _check(self, version: Manifest) -> None:
        """Let batches that do not bring the keys come between.

        Raises:
            _KeyFoundError: another version.
        """
        log = self._open_table.log
        if not all(isinstance(event, Mods | Quarantine | Truncate | Vacuum) for event in version.events):
            raise _KeyFoundError
        try:
            brings = self._brings_keys(version)
        except (DamagedError, NotFoundError):
            log.refresh()
            if version.version > floor_of(log):
                raise
            brings = True  # another vacuum or forget has released the version, and deleted its files
        if brings:
            raise _KeyFoundError

    def _brings_keys(self, version: Manifest) -> bool:
        """Whether mods or refused rows of a version have one of the keys."""
        storage, shape, columns = self._open_table.storage, self._open_table.shape(), list(self._keys.columns)
        for entry in mods_of(version.events):
            file = open_entry(storage, entry, table=shape.table)
            data = read_as(file, entry, table=shape.table, schemas=shape.versions, columns=[*columns, OP])
            rows = pl.from_arrow(data.select(columns))
            assert isinstance(rows, pl.DataFrame)
            if self._keys.among(rows).any():
                return True
        return any(
            named_rows(read_entry(storage, entry, table=shape.table)["row"].to_pylist(), self._keys)
            for entry in quarantine_of(version.events)
        )
