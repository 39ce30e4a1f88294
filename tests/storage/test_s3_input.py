from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.storage import s3_input
from andes_spark.storage.s3_input import RangeReader

DATA = bytes(number * 7 % 251 for number in range(3 * s3_input.PART_BYTES))


class Requests:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans: list[tuple[int, int]] = []

    def __call__(self, spans: Sequence[tuple[int, int]]) -> list[memoryview]:
        self.spans += spans
        return [memoryview(self.data)[start:end] for start, end in spans]


def reader(data: bytes, tail: int) -> tuple[RangeReader, Requests]:
    fetch = Requests(data)
    return RangeReader(fetch, len(data), memoryview(data)[len(data) - tail :]), fetch


OFFSETS = st.one_of(
    st.integers(0, len(DATA) + 10),
    st.integers(-20, 20).map(lambda delta: len(DATA) - 1000 + delta),
    st.integers(-20, 20).map(lambda delta: s3_input.PART_BYTES + delta),
)


@pytest.mark.slow
@given(st.lists(st.tuples(OFFSETS, st.integers(0, 5000) | st.integers(0, len(DATA))), max_size=8))
def test_reads_equal_slices(reads: list[tuple[int, int]]) -> None:
    source, fetch = reader(DATA, 1000)
    for offset, size in reads:
        assert source.seek(offset) == offset
        expected = DATA[offset : offset + size]
        assert source.read(size) == expected
        assert source.tell() == max(offset, min(offset + size, len(DATA))) or offset > len(DATA)
    assert all(0 <= start < end <= len(DATA) - 1000 for start, end in fetch.spans)


def test_what_follows_a_small_read_comes_along() -> None:
    source, fetch = reader(DATA, 1000)
    for start in range(100, 900_000, 10_000):
        assert source.read_at(start, 5000) == DATA[start : start + 5000]
    assert fetch.spans == [(100, 100 + s3_input.READ_AHEAD_BYTES)]


def test_the_end_costs_nothing_more() -> None:
    source, fetch = reader(DATA, 1000)
    source.seek(-8, 2)
    assert source.read() == DATA[-8:]
    assert fetch.spans == []


def test_a_large_read_is_fetched_in_parts() -> None:
    source, fetch = reader(DATA, 0)
    assert source.read() == DATA
    assert len(fetch.spans) == 3
    assert max(end - start for start, end in fetch.spans) == s3_input.PART_BYTES


def test_memory_is_bounded() -> None:
    source, _ = reader(DATA, 0)
    for start in range(0, len(DATA), s3_input.READ_AHEAD_BYTES):
        source.read_at(start, 10)
    assert sum(block.nbytes for _, block in source._blocks) <= s3_input.KEPT_BLOCKS * s3_input.READ_AHEAD_BYTES


def test_an_empty_object() -> None:
    source, fetch = reader(b"", 0)
    assert source.read().nbytes == 0
    assert source.size() == 0
    assert fetch.spans == []
