"""Forgets in random interleavings: their deletes are mods that the oracle knows, the rest changes no rows."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from andes_spark.errors import CommitConflictError, ForeignWriteError, OptionError, UnsupportedTableError
from andes_spark.model.events import Vacuum
from andes_spark.model.manifest import MANIFESTS, decode_manifest
from andes_spark.table.forgetting import forget
from andes_spark.table.verbs.apply import apply_batch
from andes_spark.testing.oracle import Mod
from tests.interleave_appends import UNKNOWN

if TYPE_CHECKING:
    from tests.interleave import World


@dataclass
class Forgets:
    """Number of forgets, which merge without a count of the mods, and the keys that they were asked for."""

    done: int = 0
    keys: set[tuple[Any, ...]] = field(default_factory=set)

    @staticmethod
    def is_due(world: World, place: str, often: int = 1) -> bool:
        """Whether to forget at a place of a step; by a choice of its own, so that others of a seed stay as they are."""
        return random.Random(f"{place} {world.seed} {world.steps}").random() < often * world.forgetting

    def run(self, world: World, number: int) -> None:
        """Forget one or two keys by a handle."""
        rnd = random.Random(f"forget {world.seed} {world.steps}")
        keys = rnd.sample(world.key.values, k=rnd.randint(1, 2))
        before = len(world.versions)
        with pytest.MonkeyPatch.context() as patch:

            def learned(open_table: Any, mods: Any, options: Any) -> Any:
                result = apply_batch(open_table, mods, options)
                _learn(world, result.version, mods.to_pylist())
                return result

            patch.setattr(forget, "apply_batch", learned)
            self.done += 1
            self.keys.update(keys)
            try:
                result = world.tables[number].forget(list(keys), confirm=_name(world))
            except UnsupportedTableError:
                assert set(world.key.names) <= set(world.partition)
                return
            except (OptionError, CommitConflictError, ForeignWriteError) as error:
                if isinstance(error, OptionError) and not error.problems:
                    raise
                if isinstance(error, ForeignWriteError) and not world.repairs.due:
                    raise
                _learn_quiet(world)
                return
        own = _learn_quiet(world)
        assert result.ok or len(world.versions) > before + own + 1, result.details()


def _name(world: World) -> str:
    return str(world.storage.url).rstrip("/").rpartition("/")[2]


def _learn(world: World, version: int, rows: list[dict[str, Any]]) -> None:
    """Learn of a version with deletes."""
    names = world.sequence.names
    mods = [
        Mod(
            "delete",
            tuple(row[name] for name in world.key.names),
            tuple(row[name] for name in names) if names else None,
        )
        for row in rows
    ]
    while len(world.versions) <= version:
        world.versions.append(UNKNOWN)
    assert world.versions[version] is UNKNOWN, "a version was given twice"
    world.expires.learn(version, {"backfill": bool(names)})
    world.versions[version] = mods


def _learn_quiet(world: World) -> int:
    """Learn of the versions of forgets that change no rows; return their number."""
    learned = 0
    for info in world.storage.list(MANIFESTS):
        version = int(info.path.rpartition("/")[2][:20])
        known = version < len(world.versions) and world.versions[version] is not UNKNOWN
        manifest = decode_manifest(world.storage.get(info.path), table="t", version=version)
        if known or manifest.operation != "forget":
            continue
        world.learn_quiet(version)
        learned += 1
        for event in manifest.events:
            if isinstance(event, Vacuum):
                world.vacuums.floors[version] = event.floor
    return learned
