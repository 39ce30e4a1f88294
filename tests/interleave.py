"""Random interleavings of applies, merges, reads and replays on one table, compared with the oracle.

A ``World`` is one table in memory with several handles on it. Every choice comes from one seed. A handle's
storage can be tapped: at a random request of one operation, another handle runs a whole operation of its own,
which is how writers, mergers and readers meet in the middle of each other's work.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.base import paged, tombstones
from andes_spark.base.merge import plan
from andes_spark.errors import (
    BatchConflictError,
    CommitConflictError,
    ForeignWriteError,
    OptionError,
    VersionExpiredError,
)
from andes_spark.log import mod_files
from andes_spark.log.log import system_clock
from andes_spark.model import merge_cost
from andes_spark.model.results import MergeCounts
from andes_spark.settings import MIB, Settings
from andes_spark.storage import memory, parquet
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.open import open_storage
from andes_spark.table.history import comparison
from andes_spark.table.mod_table import ModTable
from andes_spark.testing import oracle
from andes_spark.testing.kinds import KEYS, SEQUENCES
from andes_spark.testing.oracle import Mod, State
from andes_spark.testing.random_batches import VALUES, Author, Batch
from andes_spark.testing.tapped import TappedStorage
from tests.foreign_tables import converted
from tests.interleave_alters import Alters, refused
from tests.interleave_appends import UNKNOWN, Appends
from tests.interleave_changes import reads_of_changes
from tests.interleave_expire import Expires
from tests.interleave_forget import Forgets
from tests.interleave_repairs import Repairs
from tests.interleave_rows import by_key, difference, rewound
from tests.interleave_tags import Tags
from tests.interleave_vacuum import EXPIRED, Vacuums


@dataclass
class World(Appends):
    """One table, its handles, and what the oracle knows.

    ``at`` is the path whose request others interrupt, with ``interruptions`` (names of operations; random ones if
    empty). ``folder``: on disk there, where Spark can read it too, and within the byte budget; else in memory.
    """

    seed: int
    partials: bool | None = None
    truncates: bool | None = None
    sequences: Sequence[str] = tuple(SEQUENCES)
    keys: Sequence[str] = tuple(KEYS)
    nested: float = 0.5
    reads: float = 0.0
    asides: float = 0.1
    vectors: bool | None = None
    compacts: bool | None = None
    interruptions: Sequence[str] = ()
    restores: float = 0.1
    tagging: float = 0.15
    converted: float = 0.5
    vacuuming: float = 0.1
    altering: float = 0.1
    foreign: float = 0.06
    pinning: float = 0.4
    forgetting: float = 0.05
    expiring: float = 0.08
    at: str | None = None
    folder: str | None = None
    versions: list[list[Mod]] = field(default_factory=list)
    sent: dict[int, Batch] = field(default_factory=dict)
    groups: dict[int, list[Batch]] = field(default_factory=dict)
    aside: dict[int, int] = field(default_factory=dict)
    restored: dict[int, int] = field(default_factory=dict)
    tags: Tags = field(default_factory=Tags)
    vacuums: Vacuums = field(default_factory=Vacuums)
    alters: Alters = field(default_factory=Alters)
    repairs: Repairs = field(default_factory=Repairs)
    forgets: Forgets = field(default_factory=Forgets)
    expires: Expires = field(default_factory=Expires)
    counts: MergeCounts = field(default_factory=MergeCounts)
    steps: int = 0
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        rnd = self.random = random.Random(self.seed)
        self.key = KEYS[rnd.choice(tuple(self.keys))]
        self.sequence = SEQUENCES[rnd.choice(tuple(self.sequences))]
        self.partition = rnd.choice(((), (), ("part",), self.key.names[:1]))
        if self.partition and self.partition != ("part",):
            if self.key.columns[0][1] == pa.binary():
                self.partition = ()
            # An empty string is no partition value: such mods are refused.
            self.key = replace(self.key, values=tuple(key for key in self.key.values if key[0] != ""))
        vectors = rnd.random() < 0.6
        self.vectors = vectors if self.vectors is None else self.vectors
        partials = rnd.random() < 0.5 if self.partials is None else self.partials
        truncates = rnd.random() < 0.4 if self.truncates is None else self.truncates
        self.storage: Any = MemoryStorage() if self.folder is None else open_storage(self.folder)
        fields = [pa.field(name, kind, nullable=False) for name, kind in (*self.key.columns, *self.sequence.columns)]
        fields += [pa.field(name, kind, nullable=name != "must") for name, kind in VALUES]
        self.schema = pa.schema(fields)
        self.author = Author(rnd, self.key, self.sequence, self.schema, partials, truncates)
        loaded = self.author.load() if rnd.random() < 0.3 else None
        data = None if loaded is None else loaded[0]
        self.versions.append([] if loaded is None else loaded[1])
        options: dict[str, Any] = {
            "primary_key": self.key.names,
            "sequence_by": self.sequence.names,
            "text_sequence": True,
            "deletion_vectors": self.vectors,
            "merge": rnd.choice(("manual", "auto")),
        }
        # Of its own, so that the other choices of a seed stay as they are.
        foreign_random = random.Random(f"theirs {self.seed}")
        if data is not None and foreign_random.random() < self.converted:
            created = converted(self.storage, data, self.schema, self.partition, options, foreign_random)
        else:
            created = ModTable.create(self.storage, self.schema, partition_by=self.partition, data=data, **options)
        assert created.version == 0
        self.taps = [TappedStorage(self.storage) for _ in range(3)]
        self.tables = [ModTable.open(tap, settings=self._settings()) for tap in self.taps]  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return (
            f"World(seed={self.seed}, key={self.key.names}, sequence={self.sequence.names}, "
            f"partition={self.partition}, vectors={self.vectors}, steps={self.steps})"
        )

    def _settings(self) -> Settings:
        rnd = self.random
        return Settings(
            byte_budget=rnd.choice((0, 512 * MIB)) if self.folder is None else 512 * MIB,
            key_cache_bytes=rnd.choice((0, 100, 256 * MIB)),
            threads=1,
            target_file_bytes=rnd.choice((200, 128 * MIB)),
            merge_rounds=rnd.choice((1, 3)),
            auto_merge_reads=rnd.choice((0.0, 0.5, 5.0)),
            checkpoint_interval=rnd.choice((1, 3, 10)),
            compact_files=rnd.choice((2, 4)),
            compact_dead_ratio=rnd.choice((0.1, 0.9)),
            compact_bytes=rnd.choice((0, 512 * MIB)) if self.compacts is None else self.compacts * 512 * MIB,
        )

    def apply(self, number: int) -> None:
        """Apply a new batch, or one again, by a handle."""
        rnd = self.random
        known = [version for version, batch in self.sent.items() if batch.id is not None]
        if known and rnd.random() < 0.25:
            self._replay(number, rnd.choice(known))
            return
        batch = self.alters.fitted(self, self.author.batch())
        batch = replace(batch, options=self.expires.options(self, batch))
        rows: Any = batch.rows
        if rnd.random() < 0.3:
            rows = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(max_chunksize=2))
        merge = rnd.choice((None, False, True))
        if batch.id is None and not self.sequence.names:
            batch.options["at_least_once"] = True
        try:
            result = self.vacuums.sent(
                lambda: self.tables[number].apply(rows, batch_id=batch.id, merge=merge, **batch.options)
            )
        except (CommitConflictError, OptionError) as error:
            if "evolve_schema" in batch.options and refused(error):
                return
            raise
        if result is None:
            return
        assert not result.replayed
        self.expires.learn(result.version, batch.options)
        self._learn(result.version, batch)
        if isinstance(rows, pa.Table):
            assert (result.received, result.collapsed, result.quarantined) == (
                batch.rows.num_rows,
                batch.collapsed,
                batch.bad,
            )
            by_op = [sum(mod.op == op for mod in batch.mods) for op in ("upsert", "delete", "truncate")]
            assert [result.upserts, result.deletes, result.counts.truncates] == by_op
            assert result.counts.partial == sum(mod.partial for mod in batch.mods)
        balance = result.upserts + result.deletes + result.counts.truncates + result.collapsed + result.quarantined
        assert result.received == balance
        assert result.merge is not None or not merge
        self.count(result.merge)

    def _replay(self, number: int, version: int) -> None:
        batch = self.sent[version]
        if self.random.random() < 0.2 and batch.mods and not self.forgets.done:  # which leaves no digests
            with_id = {**batch.options, "batch_id": batch.id}
            other = batch.rows.filter(pa.array([False] * batch.rows.num_rows))
            with pytest.raises(BatchConflictError) as caught:
                self.tables[number].apply(other, **self.alters.options(with_id))
            assert caught.value.version == version
            return
        order = self.random.sample(range(batch.rows.num_rows), batch.rows.num_rows)
        rows = batch.rows.take(pa.array(order, pa.int64()))
        options, table = self.alters.options(batch.options), self.tables[number]
        result = self.vacuums.sent(lambda: table.apply(rows, batch_id=batch.id, **options))
        if result is None:
            return
        assert result.replayed
        assert result.version == version
        self.count(result.merge)

    def _learn(self, version: int, batch: Batch) -> None:
        # Another handle may have committed in the middle of this one's apply, and be known already.
        while len(self.versions) <= version:
            self.versions.append(UNKNOWN)
        assert self.versions[version] is UNKNOWN, "a version was given twice"
        self.versions[version] = self.committed(version, batch)
        self.sent[version] = batch

    def set_aside(self, number: int) -> None:
        """Set a version aside by a handle, unless it is merged."""
        candidates = sorted({version for version, batch in self._known() if batch.mods})
        if not candidates:
            return
        version = self.random.choice(candidates)
        try:
            result = self.tables[number].set_aside(version)
        except OptionError:
            return  # it is merged, or a restore left it out
        assert result.mods == len(self.versions[version])
        if result.repeated:
            # By the handle that stepped in meanwhile, or before, or that this one interrupts behind its commit.
            assert self.aside.setdefault(result.committed, version) == version
            return
        self.learn_quiet(result.committed)
        assert self.aside.setdefault(result.committed, version) == version

    def restore(self, number: int) -> None:
        """Restore a version by a handle, unless another one commits meanwhile."""
        if len(self.versions) < 2:
            return
        version = self.random.randrange(len(self.versions) - 1)
        merge = self.random.choice((None, False, True))
        try:
            result = self.tables[number].restore(version, merge=merge)
        except CommitConflictError:
            return
        except VersionExpiredError:
            assert self.vacuums.released(self, version)
            return
        self.learn_quiet(result.committed)
        self.restored[result.committed] = version
        self.count(result.merge)

    def tag(self, number: int) -> None:
        """Set, move or remove a tag by a handle."""
        self.tags.change(self, number)

    def vacuum(self, number: int) -> None:
        """Vacuum, pin or unpin by a handle."""
        self.repairs.allow(lambda: self.vacuums.act(self, number))

    def forget(self, number: int) -> None:
        """Forget keys by a handle."""
        self.forgets.run(self, number)

    def learn_quiet(self, version: int) -> None:
        """Learn of a version without mods."""
        while len(self.versions) <= version:
            self.versions.append(UNKNOWN)
        assert self.versions[version] is UNKNOWN, "a version was given twice"
        self.versions[version] = []

    def count(self, result: Any) -> None:
        """Add the counts of a merge."""
        if result is None:
            return
        if result.error is not None:
            if isinstance(result.error, ForeignWriteError) and self.repairs.due:
                return
            raise result.error
        self.counts = self.counts.plus(result.counts)

    def merge(self, number: int) -> None:
        """Merge by a handle."""
        self.count(self.repairs.allow(self.tables[number].merge))

    def read(self, number: int) -> None:
        """Compare the newest rows; whatever another handle commits meanwhile may be in them or not."""
        head = len(self.versions) - 1
        rows = self._read_at(number, None, lambda table: table.to_arrow())
        if rows == EXPIRED:
            return
        allowed = [self.expected(version) for version in range(head, len(self.versions))]
        assert rows in allowed, difference(rows, allowed[-1])

    def read_version(self, number: int) -> None:
        """Compare the rows of some version."""
        version = self.random.randrange(len(self.versions))
        rows = self._read_at(number, version, lambda table: table.to_arrow(version=version))
        if rows != EXPIRED:
            assert rows == self.expected(version), f"version {version}: {difference(rows, self.expected(version))}"

    def _read_at(self, number: int, version: int | None, read: Callable[[ModTable], pa.Table]) -> Any:
        table = self.tables[number]
        return self.vacuums.attempt(self, number, version, lambda: self.rows_of(read(table)))

    def get(self, number: int) -> None:
        """Compare rows by key of some version, by keys that exist or not, some of them twice."""
        rnd = random.Random(self.seed + self.steps)
        version = rnd.randrange(len(self.versions))
        keys = rnd.choices(self.key.values, k=rnd.randint(0, 6))
        rows = self._read_at(number, version, lambda table: table.get(list(keys), version=version))
        if rows == EXPIRED:
            return
        expected = self.expected(version)
        target = {key: expected[key] for key in keys if key in expected}
        assert rows == target, f"get at version {version}: {difference(rows, target)}"
        assert list(rows) == list(target), "in the order of the keys"

    def step(self) -> None:
        """One operation by one handle, perhaps with another one's in its middle; then all is compared."""
        rnd = self.random
        self.steps += 1
        number = rnd.randrange(len(self.tables))
        if rnd.random() < 0.1:
            self.tables[number] = ModTable.open(self.taps[number], settings=self._settings())  # type: ignore[arg-type]
        if rnd.random() < self.nested:
            self._tap(number)
        applies = (self.apply, self.apply, self.append)
        action: Callable[[int], None] = rnd.choice((*applies, self.merge, self.merge, self.read, self.read_version))
        if rnd.random() < self.asides:
            action = self.set_aside
        if rnd.random() < self.restores:
            action = self.restore
        if rnd.random() < self.tagging:
            action = rnd.choice((self.tag, self.tag, *self.tags.reads(self)))
        if rnd.random() < self.vacuuming:
            action = self.vacuum
        if rnd.random() < self.altering:
            action = partial(self.alters.change, self)
        if rnd.random() < self.reads:
            action = self.read
        if random.Random(f"{self.seed} {self.steps} repair").random() < self.foreign:
            action = partial(self.repairs.act, self)
        if self.expires.is_due(self, "step"):
            action = partial(self.expires.run, self)
        if self.forgets.is_due(self, "step"):
            action = self.forget
        try:
            action(number)
        finally:
            self.taps[number].tap = None
        if self.failures:
            raise self.failures[0]
        self.check(rnd.randrange(len(self.tables)))

    def _tap(self, number: int) -> None:
        rnd = self.random
        other = (number + rnd.randint(1, len(self.tables) - 1)) % len(self.tables)
        actions = rnd.choice(
            (
                (self.apply,),
                (self.merge,),
                (self.apply, self.merge),
                (self.merge, self.apply),
                (self.apply, self.merge, self.apply),
            )
        )
        if rnd.random() < self.asides:
            actions = (*actions, self.set_aside)
        if rnd.random() < self.restores:
            actions = (*actions, self.restore)
        if rnd.random() < self.tagging:
            actions = (*actions, self.tag)
        if rnd.random() < self.vacuuming:
            actions = (*actions, self.vacuum)
        if rnd.random() < self.altering:
            actions = (*actions, partial(self.alters.change, self))
        if self.expires.is_due(self, "tap"):
            actions = (*actions, partial(self.expires.run, self))
        if self.forgets.is_due(self, "tap"):
            actions = (*actions, self.forget)
        if self.interruptions:
            actions = tuple(getattr(self, name) for name in self.interruptions)
        left = rnd.choice((rnd.randint(1, 6), rnd.randint(1, 40)))
        kind = rnd.choice((None, None, "put_if_absent"))

        def tap(request: str, path: str) -> None:
            nonlocal left
            if self.at is not None:
                if path != self.at:
                    return
                left = 1
            elif kind is not None:
                if request != kind:
                    return
                left = min(left, 2)
            left -= 1
            if left == 0:
                self.taps[number].tap = None
                try:
                    for action in actions:
                        action(other)
                except Exception as error:
                    self.failures.append(error)  # what is interrupted may be advisory, and go on
                    raise

        self.taps[number].tap = tap

    # What is compared

    def expected(self, version: int, *, columns_of: int | None = None) -> dict[Any, Any]:
        """Rows of a version, in its columns or those of a later one."""
        state, names = self.state(version), self.alters.names(version if columns_of is None else columns_of)
        return {
            key: (sequence if self.sequence.names else (), tuple(values.get(name) for name in names))
            for key, (sequence, values) in state.rows.items()
        }

    def state(self, version: int) -> State:
        """State of a version by the oracle."""
        versions, names, expires = self.versions[: version + 1], self.alters.ever(), self.expires
        events = (self.aside, self.restored, self.repairs.taken, expires.events, expires.backfills)
        return oracle.snapshot(versions, names, ["must"], *events)

    def rows_of(self, table: pa.Table) -> dict[Any, Any]:
        return by_key(table, self.key.names, self.sequence.names)

    def check(self, number: int) -> None:
        """Compare newest rows, those of a random version, of a tag or a time, by key, and changes, by one handle."""
        other = random.Random(f"{self.seed} {self.steps}").choice(self.tags.reads(self))
        for compare in (self.read, self.read_version, self.get, other, *reads_of_changes(self)):
            compare(number)

    def finish(self) -> None:
        """Merge what is left, and check all that must hold in the end."""
        self.tags.check(self, self.steps % len(self.tables))
        table = ModTable.open(self.storage)
        before = table.to_arrow()
        self.count(table.merge())
        assert self.rows_of(table.to_arrow()) == self.rows_of(before) == self.expected(len(self.versions) - 1)
        self.vacuums.check(self, table)
        # The base of a plain reader is the table: nothing is pending any more.
        assert table.status().pending_versions == 0
        committed = sum(len(mods) for mods in self.versions[1:])
        state = self.state(len(self.versions) - 1)
        if not rewound(table) and not self.forgets.done:
            assert self.counts.mods == committed, f"{self.counts} of {committed} mods"
            if not self.restored:
                assert self.counts.discarded == sum(len(self.versions[version]) for version in self.aside.values())
            assert self.counts.quarantined == len(state.quarantined), f"{self.counts}: {state.quarantined}"
        self.expires.check(self, table)
        checked = table.verify()
        assert checked.ok, checked.problems
        assert checked.rows == len(before)


def explore(seed: int, *, steps: int = 6, **options: Any) -> World:
    """Run one interleaving; any error names its seed. Files are older than a vacuum that follows at once.

    Raises:
        AssertionError: it differs from the oracle, or an operation failed.
    """
    world = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BUCKET_BYTES", 4096)
        patch.setattr(plan, "BUCKET_ROWS", 1)
        patch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
        patch.setattr(memory, "_now_ms", lambda: system_clock() - 1_000)
        if seed % 2:
            # Row groups of mods and tombstones of two rows.
            patch.setattr(mod_files, "GROUP_ROWS", 2)
            patch.setattr(tombstones, "GROUP_ROWS", 2)
            patch.setattr(comparison, "LEAST_BYTES", 100)
            # Look-ups by pages, of two rows, whatever the size of a file.
            patch.setattr(parquet, "PAGE_ROWS", 2)
            patch.setattr(paged, "WHOLE_BYTES", 0)
            patch.setattr(paged, "SHARE", 0)
        try:
            world = World(seed, **options)
            for _ in range(steps):
                world.step()
            world.finish()
        except Exception as error:
            raise AssertionError(f"seed {seed}, {world}: {type(error).__name__}: {error}") from error
    return world
