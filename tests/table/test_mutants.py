"""Mistakes planted into the code on purpose: the interleavings must find every one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import msgspec
import polars as pl
import pytest

from andes_spark.base import adopt, evaluate, evaluation
from andes_spark.base.evaluation import Snapshot
from andes_spark.base.files import numbered_files
from andes_spark.base.merge import bucket, finish, merge
from andes_spark.base.snapshots import Base
from andes_spark.delta.log import create_entry, read_commit
from andes_spark.law import columns, decide, order, winners
from andes_spark.log import alterations, commit, line, mod_files, pending, rolled, times
from andes_spark.log.log import Log
from andes_spark.log.pins import StoredPin, stored_pins
from andes_spark.model.documents import encode
from andes_spark.model.events import PendingVersion, Restore, SetAside
from andes_spark.model.manifest import Manifest
from andes_spark.model.merge_record import merge_record_path
from andes_spark.model.mod import OP
from andes_spark.storage.interface import PutOutcome
from andes_spark.table import open_table, upkeep
from andes_spark.table.adoption import clone
from andes_spark.table.evolution import alter
from andes_spark.table.history import tags, versions
from andes_spark.table.maintenance import needed, pins, set_aside, vacuum
from andes_spark.table.verbs import ahead, append, apply, read
from andes_spark.testing.tapped import TappedStorage
from tests.mutants import assert_found

pytestmark = pytest.mark.faults

Patch = pytest.MonkeyPatch
IN_BETWEEN = "_andes/in-between"
"""Path of no file, which a planted mistake asks for at the moment when others step in."""

ORDERED = ("int", "two", "decimal", "timestamp", "string")


def convert_without_a_check_of_keys(patch: Patch) -> None:
    """A table is converted though rows share a key."""
    patch.setattr(adopt, "repeated_keys", lambda rows, columns: [])


def clone_without_deletion_vectors(patch: Patch) -> None:
    """Rows that are deleted by a vector are there again in a clone."""
    true = clone._add

    def add(file: Any, path: str, vectors: Any) -> Any:
        action = true(file, path, vectors)
        action["add"].pop("deletionVector", None)
        return action

    patch.setattr(clone, "_add", add)


def late_at_equal_base_row(patch: Patch) -> None:
    """A mod at the sequence of its base row counts as late: ``>`` for ``>=``."""
    true, equal = order.above, order.equal
    patch.setattr(decide, "above", lambda left, right: true(left, right) | equal(left, right))


def holds_at_equal_tombstone(patch: Patch) -> None:
    """A mod at the sequence of its tombstone holds."""
    patch.setattr(decide, "equal", lambda left, right: pl.lit(False))


def no_tombstone_for_absent_keys(patch: Patch) -> None:
    """A delete of a key that has no row is forgotten by the merge."""
    true_decide, true_evaluate = decide.decide, evaluate.evaluate
    decisions: list[decide.Decision] = []

    def remember(*args: Any, **options: Any) -> decide.Decision:
        decisions.append(true_decide(*args, **options))
        return decisions[-1]

    def forget(*args: Any, **options: Any) -> evaluation.Evaluation:
        result = true_evaluate(*args, **options)
        key = args[1].shape.columns.key
        absent = decisions[-1].deleted.filter(pl.col(columns.BASE_ROW).is_null()).select(key)
        return replace(result, tombstones=result.tombstones.join(absent, on=key, how="anti"))

    patch.setattr(evaluate, "decide", remember)
    patch.setattr(bucket, "evaluate", forget)


def tombstones_of_another_version(patch: Patch) -> None:
    """The merge record names the tombstones of the merge before."""
    patch.setattr(merge, "fold_files", lambda storage, files, shape, **options: list(files[:-1]))


def record_after_the_commit(patch: Patch) -> None:
    """Tombstones and watermark are written once the base is committed, not before."""
    true_record, true_delta_commit = finish.put_record, finish._commit

    class Later(TappedStorage):
        def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
            return PutOutcome.CREATED

    def put_record(context: merge.BaseContext, record: Any) -> Any:
        return true_record(replace(context, storage=Later(context.storage)), record)  # type: ignore[arg-type]

    def delta_commit(context: merge.BaseContext, planned: Any, upto: Any, record: Any) -> Any:
        answer = true_delta_commit(context, planned, upto, record)
        context.storage.put_if_absent(merge_record_path(record.version, record.commit_id), encode(record))
        return answer

    patch.setattr(finish, "put_record", put_record)
    patch.setattr(finish, "_commit", delta_commit)


def plan_that_outlives_its_version(patch: Patch) -> None:
    """A merge that was planned for a version is finished for the later one that the batch became."""

    def committed(self: ahead.MergeAhead, manifest: Manifest) -> None:
        if self._planned is not None:
            self._planned, self._record = replace(self._planned, version=manifest.version), None
            self._is_committed = True

    patch.setattr(ahead.MergeAhead, "is_overtaken", lambda self: False)
    patch.setattr(ahead.MergeAhead, "settle", lambda self, head: None)
    patch.setattr(ahead.MergeAhead, "committed", committed)


def merge_that_rebases(patch: Patch) -> None:
    """A merge whose Delta version is taken commits the same plan as the next version."""

    def commit_entry(context: merge.BaseContext, version: int, entry: Any, commit_id: str) -> Any:
        while True:
            create_entry(context.storage, version, entry)
            stored = read_commit(context.storage, version)
            if stored is not None and stored.commit_id == commit_id:
                return stored
            version += 1

    patch.setattr(finish, "commit_entry", commit_entry)


def unpinned_read(patch: Patch) -> None:
    """The files of the base are looked up again after the log was read."""
    true = read.pin

    def pin(context: Any, version: int | None) -> Snapshot:
        snapshot = true(context, version)
        if version is not None:
            return snapshot
        context.storage.find(IN_BETWEEN)
        files = context.base.snapshot().state.files
        return replace(snapshot, inputs=replace(snapshot.inputs, files=numbered_files(files)))

    patch.setattr(read, "pin", pin)


def newest_base_for_old_versions(patch: Patch) -> None:
    """Time travel starts from the newest base, whatever it contains."""
    patch.setattr(Base, "snapshot_at", lambda self, version: self.snapshot())


def kept_base_for_versions_before_it(patch: Patch) -> None:
    """The older state that is in memory is taken for any version that is not newer."""
    true = Base.snapshot_at

    def snapshot_at(self: Base, version: int) -> Any:
        kept = self._kept
        return kept.snapshot if kept is not None and version < kept.until else true(self, version)

    patch.setattr(Base, "snapshot_at", snapshot_at)


def upsert_beats_delete_at_a_tie(patch: Patch) -> None:
    """At equal sequence the later version wins, whatever it does."""
    patch.setattr(winners, "OP", columns.ARRIVAL)
    patch.setattr(winners, "ARRIVAL", OP)


def operation_before_version(patch: Patch) -> None:
    """Without sequences a delete beats an upsert of a later version."""
    true = winners.pick_winners

    def pick(mods: pl.DataFrame, of: columns.KeyColumns, **options: Any) -> winners.Winners:
        if not of.sequence and not options.get("truncates"):
            places = [*of.key, OP, columns.ARRIVAL]
            one = mods.sort(places).unique(subset=of.key, keep="last", maintain_order=True)
            return replace(true(one, of, **options), superseded=mods.height - one.height)
        return true(mods, of, **options)

    patch.setattr(evaluate, "pick_winners", pick)


def one_winner_among_partials(patch: Patch) -> None:
    """The greatest mod of a key is taken, the other partial ones with what they set are lost."""
    true = winners.pick_winners

    def pick(mods: pl.DataFrame, *args: Any, **options: Any) -> winners.Winners:
        return true(mods.with_columns(pl.lit(False).alias(columns.PARTIAL)), *args, **options)

    patch.setattr(evaluate, "pick_winners", pick)


def exists_is_taken_for_won(patch: Patch) -> None:
    """A manifest that stands there already is taken for the own one: the batch is told to be committed, and is not."""
    true = commit._put

    def put(log: Log, manifest: Manifest, data: bytes, *arguments: Any) -> bytes:
        true(log, manifest, data, *arguments)
        return data

    patch.setattr(commit, "_put", put)


def forgotten_watermark(patch: Patch) -> None:
    """The merge record does not keep the truncate."""
    patch.setattr(merge, "quoted", lambda mark, shape: [])


def set_aside_that_a_merge_forgets(patch: Patch) -> None:
    """A version that is set aside while a merge takes it in stays in the base."""
    patch.setattr(open_table, "newest_base", lambda versions, applied: None)


def restore_that_leaves_nothing_out(patch: Patch) -> None:
    """Versions between a restore and what it restores still take part."""
    patch.setattr(pending, "line", list)


def restore_within_what_is_pending(patch: Patch) -> None:
    """A restore of a version that is merged starts from the newest state of the base."""
    true = line.newest_base

    def newest_base(versions: Sequence[PendingVersion], applied: int) -> int | None:
        without = [
            msgspec.structs.replace(
                version, events=[event for event in version.events if not isinstance(event, Restore)]
            )
            for version in versions
        ]
        return true(without, applied)

    patch.setattr(open_table, "newest_base", newest_base)
    patch.setattr(ahead, "newest_base", newest_base)


def restore_of_the_version_below(patch: Patch) -> None:
    """The version that is restored is left out as well."""
    true = line.restored
    patch.setattr(line, "restored", lambda version: None if (at := true(version)) is None else max(0, at - 1))


def set_aside_for_ever(patch: Patch) -> None:
    """A version that was set aside is gone from earlier snapshots too."""
    true = Log.pending

    def pending(self: Log, applied: int, version: int) -> list[PendingVersion]:
        deleted = {
            event.version
            for pending_version in true(self, 0, self.head)
            for event in pending_version.events
            if isinstance(event, SetAside)
        }
        return [
            pending_version
            for pending_version in true(self, applied, version)
            if pending_version.version not in deleted
        ]

    patch.setattr(Log, "pending", pending)


def batches_of_a_version_in_any_order(patch: Patch) -> None:
    """Mods of one version are not ordered by their batches."""
    patch.setattr(pending, "_arrivals", lambda version, batches: pl.lit(columns.arrival(version), pl.Int64))


def truncates_before_their_whole_version(patch: Patch) -> None:
    """A truncate precedes the batches before its own, too."""
    arrival = property(lambda event: columns.arrival(event.version))
    patch.setattr(winners.TruncateEvent, "arrival", arrival)


def tags_that_a_roll_up_forgets(patch: Patch) -> None:
    """A roll-up does not repeat the tags."""
    patch.setattr(rolled, "current_tags", lambda log: {})


def taggers_that_both_win(patch: Patch) -> None:
    """A tag that another writer set meanwhile is overwritten."""
    true = commit.commit
    patch.setattr(
        tags, "commit", lambda log, draft, **options: true(log, draft, **{**options, "admit": lambda _: None})
    )


def first_version_after_the_time(patch: Patch) -> None:
    """A read by time shows the version after the one of that time."""
    true = times.version_at
    patch.setattr(versions, "version_at", lambda log, *arguments: min(log.head, true(log, *arguments) + 1))


def deletion_before_the_manifest(patch: Patch) -> None:
    """A vacuum deletes before it commits what it deletes."""
    announce = vacuum.Work.announce

    def early(self: Any, plan: Any) -> Any:
        self.delete(plan)
        return announce(self, plan)

    patch.setattr(vacuum.Work, "announce", early)


def vacuum_that_knows_no_tags(patch: Patch) -> None:
    """A version below the floor is not needed for its tag."""
    patch.setattr(needed, "current_tags", lambda log: {})


def vacuum_without_a_fence(patch: Patch) -> None:
    """Writers commit the files that they began below the fence of a vacuum."""
    patch.setattr(apply, "fenced", lambda log, start: False)
    patch.setattr(append, "fenced", lambda log, start: False)


def vacuum_without_a_delta_entry(patch: Patch) -> None:
    """Merges that were planned before a vacuum commit the files that it deletes."""
    patch.setattr(vacuum.Work, "_fence_base", lambda self, plan: True)


def vacuum_that_trusts_its_first_plan(patch: Patch) -> None:
    """What is committed between the plan of a vacuum and its manifest is not looked at."""
    patch.setattr(vacuum.Work, "_confirmed", lambda self, plan, manifest: plan)


def starts_that_a_vacuum_forgets(patch: Patch) -> None:
    """The state that a restore starts from is needed for nothing."""
    patch.setattr(needed, "_starts", lambda manifest: ())


def set_aside_below_the_floor(patch: Patch) -> None:
    """A version is set aside though the base contains it and the state before it is deleted."""
    patch.setattr(set_aside, "_refuse_below_floor", lambda open_table, version: None)


def readers_that_know_no_floor(patch: Patch) -> None:
    """A version below the floor is read as long as its files are there."""
    patch.setattr(read, "check_readable", lambda log, version: None)


def alteration_left_out_by_a_restore(patch: Patch) -> None:
    """A change of the columns between a version and its restore never reaches the base."""
    true = alterations.alteration_of
    patch.setattr(pending, "alteration_of", lambda versions: true(line.line(versions)))


def definition_of_another_writer_overwritten(patch: Patch) -> None:
    """A change of the columns is committed on top of one that it does not know."""
    patch.setattr(alter, "_admit", lambda manifest: None)


def old_versions_in_the_new_columns(patch: Patch) -> None:
    """An old version is read by the newest columns."""
    true = open_table.OpenTable.shape_at
    patch.setattr(open_table.OpenTable, "shape_at", lambda self, version: true(self, self.log.head))


def columns_of_the_reader(patch: Patch) -> None:
    """A file of mods is read by the newest columns instead of those that it was written with."""
    for module in (mod_files, pending):
        patch.setattr(module, "schema_of", lambda entry, schemas, **options: schemas.current)


def pin_after_the_floor(patch: Patch) -> None:
    """A pinner reads the floor before it puts the pin."""
    true = pins._is_kept

    def pin_version(open_table: Any, options: Any) -> pins.PinResult:
        head = open_table.log.refresh()
        version = head if options.version is None else options.version
        pin = StoredPin(version, date.max, "0" * 36)
        kept = true(open_table, pin, date.min)
        open_table.storage.find(IN_BETWEEN)
        if not kept:
            raise pins._expired(open_table.log, version)
        open_table.storage.put(pin.path, b"{}")
        return pins.PinResult(version, pin.until)

    patch.setattr(upkeep, "pin_version", pin_version)


def pins_before_the_floor(patch: Patch) -> None:
    """A vacuum lists the pins before it commits the floor."""
    true = vacuum.Work._commit

    def commit_floor(self: Any, plan: Any) -> Manifest:
        listed = stored_pins(self._open_table.storage)
        self._open_table.storage.find(IN_BETWEEN)
        try:
            return true(self, plan)
        finally:
            patch.setattr(vacuum, "stored_pins", lambda storage: listed)

    plan_true = vacuum.Work._plan

    def plan_anew(self: Any) -> Any:
        patch.setattr(vacuum, "stored_pins", stored_pins)
        return plan_true(self)

    patch.setattr(vacuum.Work, "_commit", commit_floor)
    patch.setattr(vacuum.Work, "_plan", plan_anew)


def pins_that_keep_nothing(patch: Patch) -> None:
    """A vacuum does not look at pins."""
    patch.setattr(vacuum, "stored_pins", lambda storage: [])


VACUUMS: dict[str, Any] = {"vacuuming": 0.4, "steps": 10, "pinning": 0.1}
PINS: dict[str, Any] = {"vacuuming": 0.5, "nested": 1.0, "interruptions": ("vacuum",), "pinning": 0.5, "tagging": 0.0}
MUTANTS: dict[Callable[[Patch], None], dict[str, Any]] = {
    late_at_equal_base_row: {"sequences": ORDERED},
    holds_at_equal_tombstone: {"sequences": ORDERED},
    no_tombstone_for_absent_keys: {"sequences": ORDERED, "partials": False},
    tombstones_of_another_version: {"sequences": ORDERED},
    record_after_the_commit: {"sequences": ORDERED, "nested": 1.0, "interruptions": ("merge",)},
    merge_that_rebases: {"nested": 1.0, "interruptions": ("merge",)},
    plan_that_outlives_its_version: {"nested": 1.0},
    unpinned_read: {
        "nested": 1.0,
        "reads": 0.6,
        "at": IN_BETWEEN,
        "sequences": ("none",),
        "interruptions": ("apply", "merge"),
    },
    newest_base_for_old_versions: {},
    kept_base_for_versions_before_it: {},
    convert_without_a_check_of_keys: {"converted": 1.0, "steps": 0},
    clone_without_deletion_vectors: {"converted": 1.0, "steps": 1},
    upsert_beats_delete_at_a_tie: {"sequences": ORDERED, "partials": False},
    operation_before_version: {"sequences": ("none",)},
    one_winner_among_partials: {"partials": True},
    exists_is_taken_for_won: {"nested": 1.0},
    set_aside_that_a_merge_forgets: {"nested": 1.0, "interruptions": ("set_aside",)},
    set_aside_for_ever: {"asides": 0.5},
    restore_that_leaves_nothing_out: {"restores": 0.5},
    restore_within_what_is_pending: {"restores": 0.5},
    restore_of_the_version_below: {"restores": 0.5},
    tags_that_a_roll_up_forgets: {"tagging": 0.5, "steps": 16},
    taggers_that_both_win: {"tagging": 1.0, "nested": 1.0, "interruptions": ("tag",)},
    first_version_after_the_time: {"tagging": 0.5},
    alteration_left_out_by_a_restore: {"altering": 0.5, "restores": 0.5, "asides": 0.0, "tagging": 0.0},
    definition_of_another_writer_overwritten: {"altering": 0.9, "nested": 1.0},
    old_versions_in_the_new_columns: {"altering": 0.5},
    columns_of_the_reader: {"altering": 0.5},
    forgotten_watermark: {"sequences": ORDERED, "truncates": True},
    batches_of_a_version_in_any_order: {"steps": 12},
    truncates_before_their_whole_version: {"sequences": ("none",), "truncates": True, "steps": 12},
    deletion_before_the_manifest: {**VACUUMS, "nested": 1.0},
    vacuum_that_knows_no_tags: {**VACUUMS, "tagging": 0.4},
    vacuum_without_a_fence: {"nested": 1.0, "interruptions": ("apply", "vacuum"), "pinning": 0.0},
    vacuum_without_a_delta_entry: {**VACUUMS, "nested": 1.0, "interruptions": ("vacuum",)},
    vacuum_that_trusts_its_first_plan: {**VACUUMS, "nested": 1.0, "tagging": 0.4},
    starts_that_a_vacuum_forgets: {**VACUUMS, "restores": 0.4},
    set_aside_below_the_floor: {"nested": 1.0, "asides": 0.6, "interruptions": ("merge", "vacuum"), "pinning": 0.0},
    readers_that_know_no_floor: VACUUMS,
    pin_after_the_floor: {**PINS, "at": IN_BETWEEN},
    pins_before_the_floor: {**PINS, "at": IN_BETWEEN, "steps": 8},
    pins_that_keep_nothing: {**VACUUMS, "pinning": 0.6},
}
SEEDS = 300
GIVEN: dict[str, Any] = {"forgetting": 0.0, "expiring": 0.0}
"""What no mutant here is about."""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_a_planted_mistake_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    assert_found(mutant, monkeypatch, 1000, SEEDS, **GIVEN, **MUTANTS[mutant])
