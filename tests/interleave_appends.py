"""Batches that are committed together in random interleavings."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, cast

from andes_spark.batch.write import PartWriter
from andes_spark.model.options import ApplyOptions
from andes_spark.settings import Settings
from andes_spark.table.mod_table import ModTable
from andes_spark.table.verbs.append import PreparedBatch, append_batches
from andes_spark.table.verbs.batch_plan import arrow_rows, plan_batch
from andes_spark.testing.oracle import Mod
from andes_spark.testing.random_batches import Author, Batch
from tests.interleave_alters import Alters

UNKNOWN: list[Mod] = []
"""Mods of a version that another handle committed, until its operation ends."""


class Appends:
    """The part of a world that appends groups of batches; see ``interleave.World``."""

    random: random.Random
    tables: list[ModTable]
    author: Author
    alters: Alters
    versions: list[list[Mod]]
    sent: dict[int, Batch]
    groups: dict[int, list[Batch]]
    count: Any

    def append(self, number: int) -> None:
        """Append several batches as one version by a handle, some of them again."""
        rnd = self.random
        open_table = self.tables[number]._open_table
        group: list[tuple[Batch, int | None]] = [
            (self.alters.quiet(self.author.batch()), None) for _ in range(rnd.randint(1, 4))
        ]
        known = [(batch, version) for version, batch in self._known() if batch.id is not None]
        group += rnd.sample(known, min(len(known), rnd.choice((0, 0, 1, 2))))
        rnd.shuffle(group)
        prepared = [self._prepared(number, self.alters.quiet(batch)) for batch, _ in group]
        outcomes = append_batches(open_table, prepared, merge=rnd.choice((None, False, True)))
        fresh = []
        for (batch, version), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            assert outcome.replayed == (version is not None)
            assert version in (None, outcome.version)
            assert (outcome.received, outcome.quarantined) == (batch.rows.num_rows, batch.bad)
            if version is None:
                fresh.append((batch, outcome))
        (version,) = {outcome.version for _, outcome in fresh}
        self._learn_group(version, [batch for batch, _ in fresh])
        self.count(fresh[0][1].merge)

    def _prepared(self, number: int, batch: Batch) -> PreparedBatch:
        open_table = self.tables[number]._open_table
        options = ApplyOptions.checked(batch_id=batch.id, **batch.options)
        shape = open_table.shape()
        batch_plan = plan_batch(open_table.table, shape, options)
        source = arrow_rows(batch.rows, shape, options, settings=Settings(), storage=open_table.storage)
        writer = PartWriter(open_table.storage, batch_plan, 0, 200, 1, options.max_quarantined)
        return PreparedBatch(options.batch_id, batch_plan, source.prepared(next(iter(source.tables)), writer))

    def committed(self, version: int, batch: Batch) -> list[Mod]:
        """See ``Alters.committed``."""
        return self.alters.committed(cast(Any, self), version, batch)

    def _known(self) -> list[tuple[int, Batch]]:
        return [*self.sent.items(), *((version, batch) for version, group in self.groups.items() for batch in group)]

    def _learn_group(self, version: int, group: list[Batch]) -> None:
        while len(self.versions) <= version:
            self.versions.append(UNKNOWN)
        assert self.versions[version] is UNKNOWN, "a version was given twice"
        mods = [
            replace(mod, batch=place) for place, batch in enumerate(group) for mod in self.committed(version, batch)
        ]
        self.versions[version] = mods
        self.groups[version] = group
