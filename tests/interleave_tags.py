"""Tags and times in random interleavings: what the oracle knows of them, and reads by them."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from andes_spark.errors import CommitConflictError, OptionError, VersionExpiredError
from andes_spark.model.manifest import MANIFESTS, manifest_path
from tests.interleave_appends import UNKNOWN
from tests.interleave_vacuum import EXPIRED

if TYPE_CHECKING:
    from tests.interleave import World

NAMES = ("a", "b")


@dataclass
class Tags:
    """Changes of tags: name and version (None: removed), by the version that holds them."""

    changes: dict[int, tuple[str, int | None]] = field(default_factory=dict)

    def at(self, head: int) -> dict[str, int]:
        """Tags as of a version."""
        tags: dict[str, int] = {}
        for committed, (name, version) in sorted(self.changes.items()):
            if committed <= head:
                tags.pop(name, None)
                if version is not None:
                    tags[name] = version
        return tags

    def change(self, world: World, number: int) -> None:
        """Set, move or remove a tag by a handle."""
        rnd, table = world.random, world.tables[number]
        name, removes, replace = rnd.choice(NAMES), rnd.random() < 0.25, rnd.random() < 0.5
        version = rnd.choice((None, rnd.randrange(len(world.versions))))
        before, first = len(self.changes), len(world.versions) - 1
        try:
            result = table.untag(name) if removes else table.tag(name, version, replace=replace)
        except OptionError:
            # As of a head of this time: another handle may have set or removed it meanwhile, or have just committed
            # what is learned when its operation ends.
            heads = range(first, len(world.versions))
            assert _has_unlearned(world) or any((name in self.at(head)) != removes for head in heads)
            return
        except CommitConflictError:
            assert len(self.changes) > before, "nobody else changed a tag"
            return
        except VersionExpiredError:
            assert version is not None
            assert world.vacuums.released(world, version)
            return
        assert result.committed is not None
        if result.repeated:
            assert self.changes[result.committed] == (name, result.version)
            return
        assert removes or version in (None, result.version)
        assert (name in self.at(result.committed - 1)) <= (removes or replace), f"tag {name} was there already"
        world.learn_quiet(result.committed)
        self.changes[result.committed] = (name, result.version)

    def read(self, world: World, number: int) -> None:
        """Compare the rows of a tag; what another handle makes of it meanwhile may be seen or not."""
        name = random.Random(f"{world.seed} {world.steps} tag").choice(NAMES)
        first = len(world.versions) - 1
        try:
            table = world.tables[number]
            rows: Any = world.vacuums.attempt(world, number, None, lambda: world.rows_of(table.to_arrow(tag=name)))
        except OptionError:
            rows = None
        if rows == EXPIRED:
            return
        versions = [self.at(head).get(name) for head in range(first, len(world.versions))]
        allowed = [None if version is None else world.expected(version) for version in versions]
        assert rows in allowed, f"tag {name} of versions {versions}: {rows}, not {allowed}"

    def read_time(self, world: World, number: int) -> None:
        """Compare the rows of a point in time; versions of another handle may have the same time."""
        rnd = random.Random(f"{world.seed} {world.steps} time")
        times = self._times(world)
        time = min(rnd.choice(times) + rnd.choice((0, 0, 1)), times[-1])
        at = datetime.datetime.fromtimestamp(time // 1000, datetime.UTC) + datetime.timedelta(milliseconds=time % 1000)
        table = world.tables[number]
        rows = world.vacuums.attempt(world, number, None, lambda: world.rows_of(table.to_arrow(timestamp=at)))
        later = self._times(world)
        first = max(version for version, committed in enumerate(times) if committed <= time)
        last = max(version for version, committed in enumerate(later) if committed <= time)
        if rows == EXPIRED:
            return
        assert rows in [world.expected(version) for version in range(first, last + 1)], f"time of version {first}"

    def reads(self, world: World) -> tuple[Callable[[int], None], ...]:
        """Comparisons of rows by a tag and by a time, by a handle."""
        return partial(self.read, world), partial(self.read_time, world)

    def check(self, world: World, number: int) -> None:
        """Compare the list of all tags, and the tags of each version in the history."""
        table = world.tables[number]
        expected = self.at(len(world.versions))
        assert {tag.name: tag.version for tag in table.tags()} == expected
        assert {name: entry.version for entry in table.history() for name in entry.tags} == expected

    def _times(self, world: World) -> list[int]:
        paths = map(manifest_path, range(len(world.versions)))
        return [json.loads(world.storage.get(path))["time"] for path in paths]


def _has_unlearned(world: World) -> bool:
    """Whether a version is committed that an operation under way will tell of."""
    newest = max(int(info.path.rpartition("/")[2][:20]) for info in world.storage.list(MANIFESTS))
    return newest >= len(world.versions) or any(mods is UNKNOWN for mods in world.versions)
