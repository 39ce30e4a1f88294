"""What follows a commit is advisory: whichever step fails, and however, the commit stands and the result names it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import MissingPackageError, StorageError, StorageFullError
from andes_spark.log.lease import LEASE_PATH
from andes_spark.log.probing import HINT
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable as Table
from andes_spark.table.verbs import after_merge, due, overtaken
from andes_spark.table.verbs import merge as merging
from andes_spark.testing.tapped import TappedStorage


class Panic(BaseException):
    """As native libraries raise it."""


ERRORS = [
    StorageFullError("the disk is full", path="x"),
    MissingPackageError("deltalake is not installed", package="deltalake"),
    Panic("index out of bounds"),
    KeyError("x"),
    RuntimeWarning("under -W error"),
]
SETTINGS = Settings(checkpoint_interval=1, compact_files=2, compact_dead_ratio=0.0)


def rows(*values: tuple[int, int]) -> pa.Table:
    return pa.table({"id": [key for key, _ in values], "seq": [seq for _, seq in values]})


def opened() -> tuple[MemoryStorage, TappedStorage, Table]:
    storage = MemoryStorage()
    tapped = TappedStorage(storage)
    table = ModTable.create(
        tapped, "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"], merge="manual", settings=SETTINGS
    )
    table.apply(rows((1, 1), (2, 1)), batch_id=("s", 1), merge=True)
    return storage, tapped, table


Fail = Callable[[TappedStorage, Table, pytest.MonkeyPatch, BaseException], None]


def failing_request(kind: str, path: str, *, after_merge: bool = False) -> Fail:
    """A request that fails; if asked, only once the Delta entry of the merge stands."""

    def arrange(tapped: TappedStorage, table: Table, patch: pytest.MonkeyPatch, error: BaseException) -> None:
        newest = table.status().delta_version

        def tap(request: str, where: str) -> None:
            merged = tapped.inner.size(f"_delta_log/{newest + 1:020}.json") is not None
            if request == kind and where.startswith(path) and (merged or not after_merge):
                raise error

        tapped.tap = tap

    return arrange


def failing_function(name: str, *, on_call: int = 1, module: ModuleType = merging) -> Fail:
    def arrange(tapped: TappedStorage, table: Table, patch: pytest.MonkeyPatch, error: BaseException) -> None:
        true: Any = vars(module)[name]
        calls = [0]

        def function(*args: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == on_call:
                raise error
            return true(*args, **options)

        patch.setattr(module, name, function)

    return arrange


def failing_progress(step: str) -> Fail:
    def arrange(tapped: TappedStorage, table: Table, patch: pytest.MonkeyPatch, error: BaseException) -> None:
        def progress(name: str) -> None:
            if name == step:
                raise error

        table._open_table.progress = progress

    return arrange


def newer_version_fails(tapped: TappedStorage, table: Table, patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Another writer appends while the first round runs; the second round fails."""
    failing_function("merge_pending", on_call=2, module=overtaken)(tapped, table, patch, error)
    other = ModTable.open(tapped.inner)
    true: Any = vars(merging)["compact"]

    def compact(*args: Any, **options: Any) -> Any:
        other.apply(rows((9, 9)), merge=False)
        return true(*args, **options)

    patch.setattr(merging, "compact", compact)


STEPS: dict[str, tuple[Fail, str]] = {
    "lease read": (failing_request("get", LEASE_PATH), "reading the merge lease"),
    "lease put": (failing_request("put", LEASE_PATH), "taking the merge lease"),
    "lease release": (failing_request("put", LEASE_PATH, after_merge=True), "releasing the merge lease"),
    "compaction": (failing_function("compact"), "compacting"),
    "progress of compaction": (failing_progress("compact files"), "compacting"),
    "checkpoint": (failing_function("write_checkpoint", module=after_merge), "writing a checkpoint"),
    "progress of checkpoint": (failing_progress("checkpoint"), "writing a checkpoint"),
    "newer versions": (newer_version_fails, "merging newer versions"),
}


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", list(STEPS))
def test_a_merge_that_is_committed_stands(step: str, error: BaseException, monkeypatch, caplog) -> None:
    storage, tapped, table = opened()
    table.apply(rows((1, 2), (3, 2)), batch_id=("s", 2))
    # A merge that others are told of.
    monkeypatch.setattr(due, "LONG_BYTES", -1)
    arrange, name = STEPS[step]
    arrange(tapped, table, monkeypatch, error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = table.merge()
    tapped.tap = None
    monkeypatch.undo()
    assert (result.status, result.applied) == ("merged", 2)
    failures = {failure.step: failure.error for failure in result.advisory}
    assert failures[name] is error
    [record] = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert record.name == "andes_spark.log.advisory"
    for failure in result.advisory:
        assert f"{failure.step} failed" in record.getMessage()
    reopened = ModTable.open(storage)
    assert reopened.status().applied == 2
    assert reopened.verify().ok
    assert reopened.merge().status in ("merged", "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["hint", "merge", "policy"])
def test_a_batch_that_is_applied_stands(step: str, error: BaseException, monkeypatch, caplog) -> None:
    storage, tapped, table = opened()
    if step == "hint":
        failing_request("put", HINT)(tapped, table, monkeypatch, error)
    else:
        failing_function("run_merge" if step == "merge" else "merge_decision")(tapped, table, monkeypatch, error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = table.apply(rows((1, 2)), batch_id=("s", 2), merge=None if step == "policy" else True)
    tapped.tap = None
    monkeypatch.undo()
    assert (result.version, result.replayed) == (2, False)
    assert [failure.error for failure in result.advisory] == [error]
    [record] = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert "the batch is applied, but" in record.getMessage()
    if step != "hint":
        assert result.merge is not None
        assert (result.merge.status, result.merge.error) == ("failed", error)
    reopened = ModTable.open(storage)
    assert reopened.apply(rows((1, 2)), batch_id=("s", 2), merge=True).replayed
    assert reopened.verify().ok


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_repeated_batch_whose_files_cannot_be_deleted_is_a_replay(error: BaseException, caplog) -> None:
    storage, tapped, table = opened()
    failing_request("delete", "_andes/mods")(tapped, table, pytest.MonkeyPatch(), error)
    result = table.apply(rows((1, 1), (2, 1)), batch_id=("s", 1))
    assert (result.version, result.replayed) == (1, True)
    assert [failure.step for failure in result.advisory] == ["deleting files of the repeated batch"]
    assert ModTable.open(storage).verify().ok


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_table_that_is_created_stands(error: BaseException, caplog) -> None:
    storage = MemoryStorage()
    tapped = TappedStorage(storage)

    def tap(kind: str, path: str) -> None:
        if (kind, path) == ("put", HINT):
            raise error

    tapped.tap = tap
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = ModTable.create(tapped, "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"])
    assert table.version == 0
    assert "version 0 is committed, but writing the hint failed" in caplog.text
    assert ModTable.open(storage).verify().ok


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_request_to_stop_is_obeyed_after_a_commit_too(stop: type[BaseException], monkeypatch) -> None:
    storage, tapped, table = opened()
    failing_function("compact")(tapped, table, monkeypatch, stop())
    table.apply(rows((1, 2)), batch_id=("s", 2))
    with pytest.raises(stop):
        table.merge()
    assert ModTable.open(storage).status().applied == 2


def test_a_merge_that_fails_before_its_commit_raises() -> None:
    storage, tapped, table = opened()
    table.apply(rows((1, 2)), batch_id=("s", 2))

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_delta_log/"):
            raise StorageError("no", path=path)

    tapped.tap = tap
    with pytest.raises(StorageError):
        table.merge()
    tapped.tap = None
    assert ModTable.open(storage).status().applied == 1
