"""Expires and backfills in random interleavings: what the oracle knows of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from andes_spark.testing.random_batches import Batch

if TYPE_CHECKING:
    from tests.interleave import World


@dataclass
class Expires:
    """Sequences of expires, by version, and the versions whose mods are a backfill."""

    events: dict[int, Any] = field(default_factory=dict)
    backfills: set[int] = field(default_factory=set)
    made: int = 0

    def is_due(self, world: World, place: str) -> bool:
        """Whether to expire at a place of a step; by a choice of its own, so that others of a seed stay as they are."""
        return random.Random(f"expire {place} {world.seed} {world.steps}").random() < world.expiring

    def options(self, world: World, batch: Batch) -> dict[str, Any]:
        """Options of a batch, some of which are backfills."""
        self.made += 1
        rnd = random.Random(f"backfill {world.seed} {world.steps} {self.made}")
        backfill = bool(world.sequence.names) and rnd.random() < 2 * world.expiring
        return {**batch.options, "backfill": True} if backfill else batch.options

    def learn(self, version: int, options: dict[str, Any]) -> None:
        """Learn whether a version is a backfill, before its mods are known."""
        if options.get("backfill"):
            self.backfills.add(version)

    def run(self, world: World, number: int) -> None:
        """Expire by a handle, up to some sequence or by age."""
        if not world.sequence.names:
            return
        self.made += 1
        rnd = random.Random(f"expire {world.seed} {world.steps} {self.made}")
        # Sequences of a narrow range, so that most mods that follow are above it.
        up_to = rnd.choice(world.sequence.values[: 2 + len(world.sequence.values) // 2])
        options: dict[str, Any] = {"up_to": up_to} if rnd.random() < 0.8 else {"older_than": "0 seconds"}
        result = world.tables[number].expire(**options)
        if result.version is None:
            assert result.sequence is None
            return
        assert result.sequence is not None
        world.learn_quiet(result.version)
        self.events[result.version] = result.sequence
        world.count(result.merge)

    def check(self, world: World, table: Any) -> None:
        """Compare the cut and the mods set aside by the law with the oracle."""
        state = world.state(len(world.versions) - 1)
        record = table._open_table.base.snapshot().record
        assert (record.cut is None) == (state.cut is None), f"cut {record.cut}, by the oracle {state.cut}"
        by_law = table.quarantined().to_pylist()
        reasons = ("late", "partial", "expired")
        assert len([row for row in by_law if row["reason"].startswith(reasons)]) == len(state.quarantined)
