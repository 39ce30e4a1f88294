"""What our commits leave for the next one to check: the entry before, and the record that a lost answer hides."""

from __future__ import annotations

import pytest

from andes_spark.delta import actions
from andes_spark.delta.hinted import check_chain
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.errors import ForeignWriteError
from andes_spark.log.lease import LEASE_PATH
from andes_spark.model.merge_record import merge_record_path
from andes_spark.settings import Settings
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows
from andes_spark.testing.tapped import TappedStorage


def merged(count: int, **options: int) -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    create(storage)
    table = ModTable.open(storage, settings=Settings(**options))  # type: ignore[arg-type]
    for version in range(1, count + 1):
        table.apply(rows((version, 1, "x")), merge=True)
    return storage, table


def test_each_entry_of_ours_names_the_one_before() -> None:
    storage, _ = merged(12, compact_files=2, checkpoint_interval=5)
    newest = load_state(storage).version
    operations = set()
    before = read_commit(storage, 0)
    for version in range(1, newest + 1):
        entry = read_commit(storage, version)
        assert entry is not None
        assert before is not None
        assert entry.previous == before.commit_id
        operations.add((entry.commit_info or {})["operation"])
        before = entry
    assert operations == {"MERGE", "OPTIMIZE"}


@pytest.mark.parametrize("at", [1, 2])
def test_an_entry_that_was_overwritten_is_seen_by_who_reads_the_next(at: int) -> None:
    storage, _ = merged(3, compact_bytes=0)
    foreign = {"commitInfo": {"operation": "OPTIMIZE", "engineInfo": "Apache-Spark", "txnId": "another"}}
    storage.put(entry_path(at), actions.encode([foreign]))
    storage.delete([LEASE_PATH])  # the note of the last merge is advisory
    for use in (ModTable.to_arrow, ModTable.merge):
        with pytest.raises(ForeignWriteError) as caught:
            use(ModTable.open(storage))
        assert caught.value.delta_version == at
    assert ModTable.open(storage).apply(rows((9, 1, "x")), merge=False).version == 4


@pytest.mark.parametrize(
    ("checkpoint", "is_found"), [(None, True), (0, True), (1, True), (2, False), (4, False), (9, True)]
)
def test_an_entry_that_was_overwritten_is_seen_before_another_reader_replays_it(
    checkpoint: int | None, is_found: bool
) -> None:
    storage, _ = merged(4, compact_bytes=0)
    check_chain(storage, 4, checkpoint)
    foreign = {"commitInfo": {"operation": "DELETE", "engineInfo": "Apache-Spark", "txnId": "another"}}
    storage.put(entry_path(2), actions.encode([foreign]))
    if not is_found:
        check_chain(storage, 4, checkpoint)
        return
    with pytest.raises(ForeignWriteError) as caught:
        check_chain(storage, 4, checkpoint)
    assert caught.value.delta_version == 2


class Unsure(TappedStorage):
    """A store that does not say what became of the record of a merge."""

    happens = True

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        if path.startswith("_andes/merges/"):
            if self.happens:
                self.inner.put_if_absent(path, data)
            return PutOutcome.UNKNOWN
        return super().put_if_absent(path, data)


def test_a_record_whose_answer_was_lost_is_read_back_and_used() -> None:
    storage = MemoryStorage()
    table = create(storage)
    table.apply(rows((1, 1, "x"), (2, 1, "y")), apply_as_deletes="id = 2")
    unsure = Unsure(storage)
    assert ModTable.open(unsure).merge().status == "merged"  # type: ignore[arg-type]
    assert storage.size(merge_record_path(1, table.manifest(1).commit_id)) is not None
    assert ModTable.open(storage).verify().ok


def test_a_record_names_the_manifest_that_it_goes_up_to() -> None:
    storage, table = merged(2)
    records = [info.path for info in storage.list("_andes/merges")]
    assert records == [merge_record_path(version, table.manifest(version).commit_id) for version in (1, 2)]
