from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.cli.dry_run import DryRun
from andes_spark.errors import OptionError
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import TEMP_PREFIX, Requests, Storage, Tally, check_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.recording import RecordingStorage
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.tapped import TappedStorage

SEGMENTS = st.one_of(
    st.sampled_from(["", ".", "..", "...", "a", "~", "C:", "\\", "%2e%2e", TEMP_PREFIX + "x"]),
    st.text(max_size=8),
)


@given(st.one_of(st.text(max_size=40), st.lists(SEGMENTS, max_size=5).map("/".join)))
def test_an_accepted_path_stays_in_the_folder_and_is_itself(path: str) -> None:
    try:
        accepted = check_path(path)
    except OptionError:
        return
    assert accepted == path
    root = "/lake/orders"
    assert os.path.normpath(os.path.join(root, path)) == f"{root}/{path}"
    path.encode()
    assert not {"", ".", ".."} & set(path.split("/"))
    assert not any(char < " " or char == "\\" for char in path)


@given(st.lists(st.text("abz019-_.=% '\"é日", min_size=1, max_size=10), min_size=1, max_size=5))
def test_ordinary_paths_are_accepted(segments: list[str]) -> None:
    if {".", ".."} & set(segments):
        return
    path = "/".join(segments)
    assert check_path(path) == path


def test_not_a_string() -> None:
    with pytest.raises(OptionError, match="not a string"):
        check_path(b"a")  # type: ignore[arg-type]


def test_the_error_names_the_path() -> None:
    with pytest.raises(OptionError, match=r"'a/\.\./b' cannot be used") as caught:
        check_path("a/../b")
    assert caught.value.path == "a/../b"


def test_the_longest_path() -> None:
    assert check_path("x" * 1024)
    with pytest.raises(OptionError, match="longer than 1024") as caught:
        check_path("x" * 1025)
    assert len(caught.value.message) < 400


def test_counts_lose_nothing_between_threads() -> None:
    counts = Requests()

    def work() -> None:
        for _ in range(2000):
            counts.add("get", read=3)
            counts.add("put_if_absent", 2, written=5)
            counts.add_sync(0.5)
            counts.add_bytes(read=1, written=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.snapshot() == Tally(
        get=8000, put_if_absent=16000, bytes_read=32000, bytes_written=48000, sync_seconds=4000.0
    )
    assert isinstance(counts.snapshot().get, int)


@pytest.mark.parametrize("wrapper", [RecordingStorage, DryRun, TappedStorage, DiskStorage, MemoryStorage, S3Storage])
def test_every_storage_has_all_methods(wrapper: type) -> None:
    methods = {name for name, value in vars(Storage).items() if callable(value) and not name.startswith("_")}
    assert "open_ranges" in methods
    assert methods <= set(dir(wrapper)), methods - set(dir(wrapper))
