"""Our entries in the Delta log prove themselves: what is changed, swapped or stripped of its seal is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.delta import actions, paths, seal
from andes_spark.delta.log import parse_commit
from andes_spark.errors import LogDamagedError
from andes_spark.storage.memory import MemoryStorage


def table_of(storage: MemoryStorage) -> ModTable:
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    table.apply(pa.table({"k": [1, 2, 3], "v": ["a", "b", "c"], "s": [1, 1, 1]}))
    table.apply(pa.table({"k": [4], "v": ["d"], "s": [2]}))
    return table


def stripped(entry: bytes) -> bytes:
    lines = [json.loads(line) for line in entry.splitlines()]
    del lines[0]["commitInfo"]["tags"]
    return actions.encode(lines)


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "a statistic": lambda entry: re.sub(rb'maxValues\\":\{\\"k\\":3', rb'maxValues\\":{\\"k\\":1', entry),
    "the commit id": lambda entry: re.sub(rb'"txnId":"\w', b'"txnId":"_', entry),
    "the seal": lambda entry: re.sub(rb'sha256":"\w{8}', b'sha256":"00000000', entry),
    "a line more": lambda entry: entry + b'{"txn":{"appId":"x","version":1}}\n',
    "a line less": lambda entry: entry[: entry.rindex(b"\n", 0, -1) + 1],
    "no seal": stripped,
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_entry_is_refused(edit: Callable[[bytes], bytes]) -> None:
    storage = MemoryStorage()
    table_of(storage)
    path = paths.entry_path(1)
    before = storage.get(path)
    changed = edit(before)
    assert changed != before
    storage.put(path, changed)
    for use in (ModTable.to_arrow, ModTable.merge, ModTable.status):
        with pytest.raises(LogDamagedError, match=r"00001\.json: it is not as this library wrote it") as caught:
            use(ModTable.open(storage))
        assert caught.value.path == path


def test_an_entry_under_another_version_is_refused() -> None:
    storage = MemoryStorage()
    table_of(storage)
    storage.put(paths.entry_path(1), storage.get(paths.entry_path(2)))
    with pytest.raises(LogDamagedError, match="its checksum differs"):
        ModTable.open(storage).to_arrow()


def test_entries_of_other_writers_have_no_seal_and_need_none() -> None:
    foreign = actions.encode(
        [{"commitInfo": {"engineInfo": "Apache-Spark/4.2.0 Delta-Lake/4.4.0"}}, actions.txn("a", 1)]
    )
    assert seal.is_intact(1, foreign) is None
    assert parse_commit(1, foreign).txns == {"a": 1}
    assert seal.sealed(1, foreign) == foreign


def test_a_text_that_looks_like_a_seal_is_text() -> None:
    storage = MemoryStorage()
    comment = '"andes_spark.sha256":"' + "a" * 64 + '"'
    ModTable.create(storage, "k bigint", primary_key=["k"], comment=comment)
    assert seal.is_intact(0, storage.get(paths.entry_path(0))) is True
    assert ModTable.open(storage).to_arrow().num_rows == 0
