"""Vacuums in random interleavings: the floors that the oracle knows, and reads of versions that may be released."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from andes_spark.errors import CommitConflictError, VersionExpiredError
from andes_spark.log.pins import stored_pins
from andes_spark.model.manifest import MANIFESTS

if TYPE_CHECKING:
    from andes_spark.table.mod_table import ModTable
    from tests.interleave import World

EXPIRED = "expired"


@dataclass
class Vacuums:
    """Floors, by the version that holds them, pinned versions, and those whose pins were removed."""

    floors: dict[int, int] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)
    unpinned: list[int] = field(default_factory=list)

    def floor(self, head: int) -> int:
        """Floor as of a version."""
        return max((floor for version, floor in self.floors.items() if version <= head), default=0)

    def released(self, world: World, version: int) -> bool:
        """Whether a version is released now; a vacuum that another one stands in the middle of counts."""
        kept = {*world.tags.at(len(world.versions)).values(), *self.pinned}
        return version < self._newest_floor(world) and version not in kept

    def _newest_floor(self, world: World) -> int:
        newest = max(info.path for info in world.storage.list(MANIFESTS))
        return int(json.loads(world.storage.get(newest))["floor"])

    def readable(self, world: World, version: int, head: int) -> bool:
        """Whether a version can be read as of another one."""
        return version >= self.floor(head) or version in world.tags.at(head).values() or version in self.pinned

    def act(self, world: World, number: int) -> None:
        """Vacuum by a handle, or pin or unpin a version."""
        rnd = world.random
        if rnd.random() >= world.pinning:
            self.run(world, number)
        elif self.pinned and rnd.random() < 0.3:
            version = rnd.choice(sorted(self.pinned))
            removed = world.tables[number].unpin(version).removed
            assert removed or version not in self.pinned, "another handle removed no pin"
            # Another handle may have put a pin since the list of those that were removed.
            if not _has_pin(world, version):
                self.pinned.discard(version)
            self.unpinned.append(version)
        else:
            self._pin(world, number, rnd.choice((None, rnd.randrange(len(world.versions)))))

    def _pin(self, world: World, number: int, version: int | None) -> None:
        unpinned = len(self.unpinned)
        try:
            result = world.tables[number].pin(version, days=3)
        except VersionExpiredError:
            assert version is not None
            # Below the floor, where a pin of the same moment may be one that the vacuum did not see.
            assert self.released(world, version) or version < self._newest_floor(world), f"version {version}"
            return
        assert version in (None, result.version)
        # An unpin in its middle came before the pin was put, or after it.
        if result.version not in self.unpinned[unpinned:] or _has_pin(world, result.version):
            self.pinned.add(result.version)

    def run(self, world: World, number: int) -> None:
        """Vacuum by a handle, without a retention."""
        before = len(world.versions)
        try:
            result = world.tables[number].vacuum("0 seconds")
        except CommitConflictError:
            assert len(world.versions) > before, "nobody else committed anything"
            return
        if result.version is not None:
            world.learn_quiet(result.version)
            self.floors[result.version] = result.floor
            assert result.floor == self.floor(result.version), "a floor went down"

    def sent(self, apply: Callable[[], Any]) -> Any:
        """Result of an apply; None if another handle's vacuum deleted its files, so that nothing is committed."""
        floors = len(self.floors)
        try:
            return apply()
        except CommitConflictError:
            if len(self.floors) == floors:
                raise
            return None

    def attempt(self, world: World, number: int, version: int | None, read: Callable[[], Any]) -> Any:
        """Read a version, None for the newest; return what was read, or EXPIRED, which must be right."""
        # A handle that is behind reads what it knows of, as long as the files are there.
        first = min(len(world.versions) - 1, world.tables[number]._open_table.log.head)
        try:
            answer = read()
        except VersionExpiredError as error:
            self._judge(world, version, error)
            return EXPIRED
        if version is not None:
            assert any(self.readable(world, version, head) for head in range(first, len(world.versions)))
        return answer

    def _judge(self, world: World, version: int | None, error: VersionExpiredError) -> None:
        if error.version is None:
            # A time before the floor, or another handle deleted what this read was pinned on.
            assert (error.floor or 0) > 0, error
        else:
            chosen = error.version if version is None else version
            assert self.released(world, chosen), f"version {chosen} can be read: {error}"

    def check(self, world: World, table: ModTable) -> None:
        """Compare each version with the oracle: the rows of one that can be read, else the error."""
        for version in range(len(world.versions)):
            try:
                rows: Any = world.rows_of(table.to_arrow(version=version))
            except VersionExpiredError:
                rows = EXPIRED
            can = self.readable(world, version, len(world.versions) - 1)
            assert rows == (world.expected(version) if can else EXPIRED), f"version {version}"


def _has_pin(world: World, version: int) -> bool:
    return any(pin.version == version for pin in stored_pins(world.storage))
