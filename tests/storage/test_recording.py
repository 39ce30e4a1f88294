"""A storage that records the files of one piece of work."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import cast

from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import PutOutcome, Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.recording import RecordingStorage


def test_it_records_what_is_opened_for_writing_and_hands_all_else_on() -> None:
    storage = MemoryStorage()
    recording: Storage = RecordingStorage(storage)
    with recording.open_output("a/part") as sink:
        sink.write(b"12345")
    assert recording.put_if_absent("record", b"1") is PutOutcome.CREATED
    recording.put("hint", b"2")
    assert cast("RecordingStorage", recording).paths == ["a/part"]
    assert (recording.get("record"), recording.find("hint"), recording.find("x")) == (b"1", b"2", None)
    assert recording.size("a/part") == 5
    assert recording.info("a/part") == storage.info("a/part")
    assert recording.open_input("a/part").read() == b"12345"
    assert recording.open_ranges("a/part", 5) is not None
    assert [info.path for info in recording.list("a")] == ["a/part"]
    recording.delete(["a/part"])
    assert storage.size("a/part") is None
    assert (recording.url, recording.counts, recording.scheduler) == (storage.url, storage.counts, storage.scheduler)


def test_tasks_get_the_storage_behind_it(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(RecordingStorage(DiskStorage(str(tmp_path)))))
    assert isinstance(copy, DiskStorage)
    assert copy.url == str(tmp_path)
