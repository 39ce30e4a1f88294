"""Mistakes planted into Delta's log, compaction, pruning and the ledger: the fast tests must find every one of them."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap64

from andes_spark import ModTable
from andes_spark.base import files as base_files
from andes_spark.base import rows as base_rows
from andes_spark.base.merge import bucket, merge, rewrite
from andes_spark.delta import (
    actions,
    bounds,
    checkpoint_writer,
    entries,
    files,
    partition_values,
    paths,
    ranges,
    statistics,
    vectors,
)
from andes_spark.errors import AndesError
from andes_spark.log import ledger
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import create, fill, rows
from tests.delta import test_actions, test_files, test_prune, test_statistics
from tests.delta.log_rules import check_log
from tests.interleave import explore
from tests.other_readers import READERS, random_table

pytestmark = pytest.mark.faults

Patch = pytest.MonkeyPatch
Detector = Callable[[Path], None]


def by_other_readers(folder: Path) -> None:
    """Other readers find the rows that they must."""
    for seed in range(12):
        table = random_table(folder / str(seed), seed, partitioned=seed % 3 == 2, checkpoint=seed % 2 == 1)
        finders = [reader(table.url) for reader in READERS.values()]
        for condition in table.conditions(8):
            for find in finders:
                assert find(condition) == table.keys(condition)


def by_log_rules(folder: Path) -> None:
    """The log says of files what they hold."""
    for seed in range(20):
        table = random_table(folder / str(seed), seed, partitioned=seed % 2 == 1, checkpoint=False)
        check_log(DiskStorage(table.url), ["k"])


def by_interleavings(_: Path, **options: Any) -> None:
    """A table equals the oracle after random steps."""
    for seed in range(1000, 1200):
        explore(seed, **options)


def by_vectors_that_grow(_: Path) -> None:
    """The same where vectors grow from merge to merge, and no file is written anew."""
    by_interleavings(_, steps=12, vectors=True, compacts=False)


def by_vectors(_: Path) -> None:
    """The same where each table has vectors."""
    by_interleavings(_, steps=12, vectors=True)


def by_replays(_: Path) -> None:
    """No batch is applied twice, however long ago it came."""
    storage = MemoryStorage()
    fill(create(storage), 1, 32)
    table = ModTable.open(storage)
    for number in range(1, 33):
        repeat = table.apply(rows((number % 7, number, "x")), batch_id=("s", number))
        assert (repeat.version, repeat.replayed) == (number, True)


def by_small_row_groups(_: Path) -> None:
    """The same where each row group of the ledger holds few ids."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_GROUP_ROWS", 4)
        by_replays(Path())


def by_microseconds(_: Path) -> None:
    """A file of one time of day is kept for that time."""
    for number in range(50):
        time = datetime.datetime(2024, 2, 29) + datetime.timedelta(microseconds=1_234_567 * number)
        assert test_prune.paths({"ntz": [time]}, [test_prune.written("f", {"ntz": [time]})]) == "f"


def integer_maximum_too_low(patch: Patch) -> None:
    """The greatest integer of a file is one less."""
    true = statistics._extremes

    def extremes(*args: Any) -> tuple[Any, Any]:
        low, high = true(*args)
        return low, high - 1 if isinstance(high, int) else high

    patch.setattr(statistics, "_extremes", extremes)


def cut_maximum_without_mark(patch: Patch) -> None:
    """A long maximum is cut off, and nothing says that there may be greater values."""
    patch.setattr(statistics, "truncate_max", lambda text, prefix=statistics.STRING_PREFIX: text[:prefix])


def escaped_statistics(patch: Patch) -> None:
    """Characters of statistics are escaped to ASCII."""
    patch.setattr(statistics, "_json_text", __import__("json").dumps)


def null_counts_of_zero(patch: Patch) -> None:
    """Every column is said to have no NULLs."""
    true = statistics._put
    patch.setattr(statistics, "_put", lambda tree, path, value: true(tree, path, 0 if type(value) is int else value))


def tight_bounds_beside_a_vector(patch: Patch) -> None:
    """Bounds are said to be those of live rows although rows are gone."""
    patch.setattr(statistics, "to_wide_bounds", lambda text, **_: text)


def fewer_records_beside_a_vector(patch: Patch) -> None:
    """The number of records leaves out the deleted ones."""
    true = statistics.to_wide_bounds

    def wide(text: str | None, *, num_records: int, deleted: int) -> str:
        new = statistics.parse_verbatim(true(text, num_records=num_records, deleted=deleted))
        return statistics.dumps({**new, "numRecords": num_records - 1})

    patch.setattr(statistics, "to_wide_bounds", wide)


def vector_off_by_one(patch: Patch) -> None:
    """Each vector names the row behind the one that is gone."""
    true = vectors.from_positions
    patch.setattr(bucket, "from_positions", lambda positions: true(np.asarray(positions) + 1))


def vector_without_the_old_rows(patch: Patch) -> None:
    """A new vector forgets the rows of the one before."""
    true = vectors.load_vectors
    patch.setattr(merge, "load_vectors", lambda *args: dict.fromkeys(true(*args), BitMap64()))


def lost_remove(patch: Patch) -> None:
    """A file whose vector changes, or that is rewritten, is not removed."""
    true = actions.encode

    def encode(entry: Iterable[actions.Action]) -> bytes:
        return true(action for action in entry if "remove" not in action)

    patch.setattr(entries, "encode", encode)


def path_not_encoded(patch: Patch) -> None:
    """Paths stand in the log as they are."""
    patch.setattr(paths, "encode_path", lambda path: path)


def checkpoint_without_vectors(patch: Patch) -> None:
    """A checkpoint leaves out the deletion vectors."""
    true = checkpoint_writer._unchanging

    def unchanging(rows: pa.StructArray) -> pa.StructArray:
        members = true(rows).flatten()
        at = rows.type.get_field_index("deletionVector")
        members[at] = pa.nulls(len(rows), members[at].type)
        return pa.StructArray.from_arrays(members, fields=list(rows.type))

    patch.setattr(checkpoint_writer, "_unchanging", unchanging)


def partition_value_of_another_file(patch: Patch) -> None:
    """Partition values are cut off."""
    true = partition_values.partition_value

    def value(*args: Any) -> str | None:
        text = true(*args)
        return text[:-1] or "x" if text else text

    patch.setattr(base_rows, "partition_value", value)


def dead_rows_live_again(patch: Patch) -> None:
    """A rewritten file keeps rows that its old vector had removed."""
    patch.setattr(rewrite, "load_vector", lambda *_: BitMap64())


def compaction_loses_a_file(patch: Patch) -> None:
    """A compaction removes files and adds one less than it wrote."""
    true = rewrite.RewriteJob.__call__
    patch.setattr(rewrite.RewriteJob, "__call__", lambda self, files: true(self, files)[:-1])


def bound_excludes_itself(patch: Patch) -> None:
    """A file whose greatest key is the one looked for is left out."""
    true = ranges.ranges_of

    def ranges_of(pairs: Iterable[tuple[Any, Any]], kind: Any) -> ranges.Ranges:
        return true(((low, high - 1 if isinstance(high, int) else high) for low, high in pairs), kind)

    patch.setattr(ranges, "ranges_of", ranges_of)


def missing_statistics_are_pruned(patch: Patch) -> None:
    """A file without bounds is taken for one that holds nothing."""
    true = ranges.Ranges.contain_any

    def contain_any(self: ranges.Ranges, keys: Any) -> Any:
        return true(self, keys) & (self.low.is_not_null() & self.high.is_not_null()).to_numpy()

    patch.setattr(ranges.Ranges, "contain_any", contain_any)


def files_that_stay(patch: Patch) -> None:
    """A file that is removed stays in the columns of the state."""
    true = files.Files.live_row
    patch.setattr(files.Files, "live_row", lambda self, path: None if len(self.rows) % 2 else true(self, path))


def positions_of_other_files(patch: Patch) -> None:
    """The file at a position of the columns is its neighbour."""
    true = files.Files.at
    patch.setattr(files.Files, "at", lambda self, position: true(self, (position + 1) % len(self)))


def numbers_of_other_files(patch: Patch) -> None:
    """Files that are picked get the numbers of their neighbours."""

    def pick(self: base_files.NumberedFiles, at: Any) -> base_files.NumberedFiles:
        return base_files.NumberedFiles(self.files.pick(np.asarray(at, np.int64)), np.asarray(at, np.int64) - 1)

    patch.setattr(base_files.NumberedFiles, "pick", pick)


def rounded_decimals(patch: Patch) -> None:
    """Decimals are read as doubles."""
    true = bounds._decimal_bound

    def bound(value: Any, scale: int, upper: bool) -> int | None:
        exact = true(value, scale, upper)
        return exact if exact is None else int(float(exact)) // 1000 * 1000

    patch.setattr(bounds, "_decimal_bound", bound)


def truncated_times(patch: Patch) -> None:
    """Times that were cut to milliseconds are taken at their word."""

    def bound(value: Any, upper: bool, *, zoned: bool) -> int | None:
        time = datetime.datetime.fromisoformat(value).replace(tzinfo=None)
        return (time - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)

    patch.setattr(bounds, "_time_bound", bound)


def forgotten_batch(patch: Patch) -> None:
    """A roll-up leaves out the first batch since the one before."""
    true = ledger._batches
    patch.setattr(ledger, "_batches", lambda manifests: true(manifests).slice(1))


def retention_of_no_time(patch: Patch) -> None:
    """Ids of batches are forgotten at the first roll-up."""
    patch.setattr(ledger, "parse_duration", lambda *_, **__: datetime.timedelta(days=-1))


def row_group_without_its_last_id(patch: Patch) -> None:
    """A row group of the ledger is not read for the greatest id in it."""
    true = ledger._Group.may_hold
    patch.setattr(
        ledger._Group, "may_hold", lambda self, batch: true(self, batch) and batch.tagged != (self.ids or ("", ""))[1]
    )


def forgotten_row_groups(patch: Patch) -> None:
    """A row group of the ledger that was read counts as read for all ids."""
    patch.setattr(ledger.Ledger, "_unread", lambda self, file, batch: file.path not in self._files_read)


MUTANTS: dict[Callable[[Patch], None], Detector] = {
    integer_maximum_too_low: by_log_rules,
    cut_maximum_without_mark: lambda _: test_statistics.test_a_cut_maximum_is_never_below(),
    escaped_statistics: by_other_readers,
    null_counts_of_zero: by_log_rules,
    tight_bounds_beside_a_vector: by_log_rules,
    fewer_records_beside_a_vector: by_log_rules,
    vector_off_by_one: by_vectors_that_grow,
    vector_without_the_old_rows: by_vectors_that_grow,
    lost_remove: by_interleavings,
    path_not_encoded: lambda _: test_actions.test_paths_are_encoded_as_java_does(),
    checkpoint_without_vectors: by_other_readers,
    partition_value_of_another_file: by_log_rules,
    dead_rows_live_again: by_vectors,
    compaction_loses_a_file: by_interleavings,
    bound_excludes_itself: lambda _: test_prune.test_a_file_that_holds_a_key_is_never_pruned(),
    missing_statistics_are_pruned: lambda _: test_prune.test_one_sided_bounds(),
    files_that_stay: lambda _: test_files.test_files_are_those_of_a_dictionary(),
    positions_of_other_files: by_interleavings,
    numbers_of_other_files: lambda _: test_files.test_slices_for_tasks_hold_what_they_need(),
    rounded_decimals: lambda _: test_prune.test_a_file_that_holds_a_key_is_never_pruned(),
    truncated_times: by_microseconds,
    forgotten_batch: by_replays,
    retention_of_no_time: by_replays,
    row_group_without_its_last_id: by_replays,
    forgotten_row_groups: by_small_row_groups,
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_mistake_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        mutant(patch)
        with pytest.raises((AssertionError, AndesError)) as caught:
            MUTANTS[mutant](tmp_path / "with")
    logging.getLogger(__name__).info("found: %s", caught.value)


@pytest.mark.parametrize("detector", [by_log_rules, by_microseconds, by_replays])
def test_nothing_is_found_without_a_mistake(detector: Detector, tmp_path: Path) -> None:
    detector(tmp_path)
