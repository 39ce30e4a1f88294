"""The three puts that commit, each answered "unknown" or "slow down": what the caller is told, and what is stored."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark import ModTable, Settings
from andes_spark.cli import app
from andes_spark.errors import CommitUnknownError, ThrottledError
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage

FOLDERS = ("_andes/manifests", "_andes/merges", "_delta_log")
SHORT = Settings(commit_seconds=0.15)


class Odd(MemoryStorage):
    """A store whose puts of one folder are answered as if the connection had broken."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: str | None = None
        self.happens = True
        self.times = 0
        self.throttles = False

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        if self.folder is None or not path.startswith(self.folder) or self.times == 0:
            return super().put_if_absent(path, data)
        self.times -= 1
        if self.throttles:
            raise ThrottledError("slow down", path=path)
        if self.happens:
            super().put_if_absent(path, data)
        return PutOutcome.UNKNOWN


def batch(value: str, sequence: int) -> pa.Table:
    return pa.table({"id": [1], "v": [value], "seq": [sequence]})


def opened(settings: Settings) -> tuple[Odd, ModTable]:
    storage = Odd()
    table = ModTable.create(
        storage, "id BIGINT, v STRING, seq BIGINT", primary_key=["id"], sequence_by=["seq"], settings=settings
    )
    table.apply(batch("a", 1), batch_id=("s", 1))
    return storage, table


def check(storage: Odd, *, replayed: bool) -> None:
    """Sending the batch again gives what it would have given."""
    storage.times = 0
    reopened = ModTable.open(storage)
    result = reopened.apply(batch("b", 2), batch_id=("s", 2))
    assert (result.version, result.replayed) == (2, replayed)
    reopened.merge()
    fresh = ModTable.open(storage)
    assert fresh.verify().ok
    assert fresh.to_arrow().to_pylist() == [{"id": 1, "v": "b", "seq": 2}]
    assert fresh.status().pending_versions == 0


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "happens", "times"), list(itertools.product(FOLDERS, (True, False), (1, 10_000))))
def test_an_unknown_outcome(folder: str, happens: bool, times: int) -> None:
    storage, table = opened(SHORT)
    storage.folder, storage.happens, storage.times = folder, happens, times
    is_lost = not happens and times > 1
    if is_lost and folder == FOLDERS[0]:
        with pytest.raises(CommitUnknownError) as caught:
            table.apply(batch("b", 2), batch_id=("s", 2))
        assert caught.value.retryable
        assert caught.value.version == 2
        check(storage, replayed=False)
        return
    result = table.apply(batch("b", 2), batch_id=("s", 2))
    assert (result.version, result.replayed) == (2, False)
    assert result.merge is not None
    if is_lost:
        assert result.merge.status == "failed"
        assert isinstance(result.merge.error, CommitUnknownError)
        assert result.merge.error.retryable
    else:
        assert (result.merge.status, result.advisory) == ("merged", ())
    check(storage, replayed=True)


@pytest.mark.slow
@pytest.mark.parametrize("throttles", [True, False])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_store_that_answers_503_for_a_while_costs_time_only(folder: str, throttles: bool) -> None:
    storage, table = opened(Settings(commit_seconds=30))
    storage.folder, storage.happens, storage.times, storage.throttles = folder, False, 4, throttles
    result = table.apply(batch("b", 2), batch_id=("s", 2))
    assert (result.version, result.replayed, result.advisory) == (2, False, ())
    assert result.merge is not None
    assert result.merge.status == "merged"
    check(storage, replayed=True)


@pytest.mark.parametrize("happens", [True, False])
def test_a_tag_whose_outcome_is_unknown_may_be_set_again(happens: bool) -> None:
    storage, table = opened(SHORT)
    storage.folder, storage.happens, storage.times = FOLDERS[0], happens, 10_000
    if happens:
        assert not table.tag("x", 1).repeated
    else:
        with pytest.raises(CommitUnknownError, match=r"version 2 was committed; make the same call again$"):
            table.tag("x", 1)
    storage.times = 0
    reopened = ModTable.open(storage).tag("x", 1)
    assert (reopened.committed, reopened.repeated) == (2, happens)


def test_a_create_whose_outcome_is_unknown_may_be_sent_again() -> None:
    for folder in (FOLDERS[0], FOLDERS[2]):
        storage = Odd()
        storage.folder, storage.happens, storage.times = folder, False, 10_000
        with pytest.raises(CommitUnknownError) as caught:
            ModTable.create(storage, "id BIGINT", primary_key=["id"], settings=SHORT)
        assert caught.value.retryable
        storage.times = 0
        assert ModTable.create(storage, "id BIGINT", primary_key=["id"]).version == 0


def test_the_command_line_ends_with_75(tmp_path, monkeypatch) -> None:
    ModTable.create(tmp_path / "t", "id BIGINT, v STRING, seq BIGINT", primary_key=["id"], sequence_by=["seq"])
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "v": "a", "seq": 1}\n')

    def unknown(*args, **options):
        raise CommitUnknownError("the store does not say", version=1)

    monkeypatch.setattr(ModTable, "apply", unknown)
    result = CliRunner().invoke(app.andes, ["table", "apply", str(tmp_path / "t"), str(rows)])
    assert (result.exit_code, app.RETRYABLE) == (75, 75)
