"""A store that fails for longer than requests are repeated, at each kind of object: one clear error, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark import ModTable, Settings
from andes_spark.cli import app
from andes_spark.errors import AccessDeniedError, AndesError, CommitUnknownError
from andes_spark.storage import open as storages
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.faults]
SHORT = Settings(threads=1, compact_bytes=0, store_seconds=0.3, commit_seconds=0.3)
LATEST = 12.0
"""Seconds of the slowest case: several requests, one after another, each fail for as long as they are repeated."""
PLACES = [
    "_andes/mods",
    "_andes/manifests",
    "_andes/merges",
    "_delta_log",
    "part-",
    "deletion_vector",
    "merging",
    "hint",
]
ANSWERS = {"503": "SlowDown", "400": "ExpiredToken", "drop": "", "cut": ""}


@dataclass
class Case:
    """A table of one merged batch on S3; ``url`` is reached through the proxy."""

    url: str
    server: S3Server
    proxy: FaultProxy

    def open(self, *, direct: bool = False) -> ModTable:
        options = self.server.options if direct else self.proxy.options
        return ModTable.open(self.url, storage_options=options, settings=Settings() if direct else SHORT)

    def fail(self, answer: str, place: str, *, forward: bool) -> None:
        methods = ("GET", "PUT", "HEAD", "POST")
        self.proxy.faults = [
            Fault(method, answer, forward=forward and method == "PUT", code=ANSWERS[answer], path=place, times=10_000)
            for method in methods
        ]


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def one_batch() -> MemoryStorage:
    """The table of each case, to be copied."""
    storage = MemoryStorage()
    table = ModTable.create(storage, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"])
    table.apply(mods(1, range(10)), batch_id=("s", 1))
    return storage


@pytest.fixture
def case(s3_server: S3Server, proxy: FaultProxy, one_batch: MemoryStorage) -> Iterator[Case]:
    url = f"s3://{s3_server.make_bucket()}/t"
    stored = S3Storage(url, s3_server.options)
    for info in one_batch.list():
        stored.put(info.path, one_batch.get(info.path))
    yield Case(url, s3_server, proxy)
    proxy.faults = []


def mods(lsn: int, keys: Any) -> pa.Table:
    ids = list(keys)
    return pa.table({"id": ids, "lsn": [lsn] * len(ids)})


def rows_of(table: ModTable) -> dict[int, int]:
    return {row["id"]: row["lsn"] for row in table.to_arrow().to_pylist()}


BEFORE = dict.fromkeys(range(10), 1)
AFTER = {**BEFORE, **dict.fromkeys(range(5, 15), 2)}


CASES = [
    # An answer that refuses says that nothing was done.
    *((answer, False, True) for answer in ANSWERS),
    ("drop", True, True),
    ("cut", True, True),
    ("drop", False, False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "forward", "warm"), CASES)
@pytest.mark.parametrize("place", PLACES)
def test_an_apply_with_its_merge(case: Case, place: str, answer: str, forward: bool, warm: bool) -> None:
    table = case.open()
    if warm:
        table.status()
    case.fail(answer, place, forward=forward)
    begin = time.monotonic()
    error: BaseException | None = None
    try:
        result = table.apply(mods(2, range(5, 15)), batch_id=("s", 2))
        error = None if result.merge is None else result.merge.error
        assert result.version == 2
    except AndesError as raised:
        error = raised
    assert time.monotonic() - begin < LATEST
    if error is not None:
        assert isinstance(error, AndesError)
        assert case.url in str(error)
        assert error.retryable != isinstance(error, AccessDeniedError)
        assert isinstance(error, CommitUnknownError) or place in str(error)
    case.proxy.settle()
    case.proxy.faults = []
    assert rows_of(case.open(direct=True)) in (BEFORE, AFTER)
    # The same handle goes on, and so does another one.
    repeat = table.apply(mods(2, range(5, 15)), batch_id=("s", 2))
    assert repeat.version == 2
    assert repeat.merge is None or repeat.merge.error is None
    fresh = case.open(direct=True)
    assert fresh.version == 2
    assert rows_of(fresh) == AFTER
    assert fresh.status().pending_versions == 0
    checked = fresh.verify()
    assert checked.ok, checked.problems


@pytest.mark.parametrize("verb", ["to_arrow", "status", "merge", "history"])
@pytest.mark.parametrize("answer", list(ANSWERS))
def test_other_verbs(case: Case, answer: str, verb: str) -> None:
    table = case.open()
    table.apply(mods(2, range(5, 15)), batch_id=("s", 2), merge=False)
    case.fail(answer, "", forward=False)
    begin = time.monotonic()
    with pytest.raises(AndesError) as caught:
        getattr(table, verb)()
    assert time.monotonic() - begin < LATEST
    assert case.url in str(caught.value)
    assert caught.value.retryable != isinstance(caught.value, AccessDeniedError)
    case.proxy.faults = []
    getattr(table, verb)()
    assert rows_of(case.open(direct=True)) == AFTER


def test_a_handle_that_cannot_be_opened(case: Case) -> None:
    for answer in ANSWERS:
        case.fail(answer, "", forward=False)
        with pytest.raises(AndesError) as caught:
            case.open()
        assert case.url in str(caught.value)


@pytest.mark.parametrize(("answer", "code"), [("503", 75), ("drop", 75), ("400", 1)])
def test_the_exit_code(case: Case, answer: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "lsn": 5}\n')
    true_table, true_storage = ModTable.open, storages.open_storage
    monkeypatch.setattr(ModTable, "open", lambda path, **options: true_table(path, **{**options, "settings": SHORT}))
    monkeypatch.setattr(
        storages,
        "open_storage",
        lambda url, *, options: true_storage(url, options=options, seconds=SHORT.store_seconds),
    )
    case.fail(answer, "_andes/mods", forward=False)
    options = [f"--storage-option={name}={value}" for name, value in case.proxy.options.items()]
    begin = time.monotonic()
    result = CliRunner().invoke(app.andes, ["table", "apply", case.url, str(rows), *options])
    assert time.monotonic() - begin < LATEST
    assert result.exit_code == code, result.output
    assert case.url in result.output
    assert "_andes/mods" in result.output
    case.proxy.faults = []
    assert rows_of(case.open(direct=True)) == BEFORE
