"""Ranges of remote objects: near ones take one request, none is read twice, and views are right."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pyarrow as pa
import pytest

from andes_spark.storage.ranges import NEAR_BYTES, RemoteRanges, join_near


def test_near_ranges_are_joined() -> None:
    assert join_near([(10, 20), (0, 5), (15, 30)], near=4) == [(0, 5), (10, 30)]
    assert join_near([(10, 20), (0, 5)], near=5) == [(0, 20)]
    assert join_near([(0, 100), (10, 20), (90, 95)], near=0) == [(0, 100)]
    assert join_near([], near=1) == []


@pytest.mark.parametrize("seed", range(20))
def test_views_are_the_bytes_whatever_was_loaded_before(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("andes_spark.storage.ranges.NEAR_BYTES", 3)
    chance = random.Random(seed)
    data = chance.randbytes(200)

    def fetch(ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        return [memoryview(data)[start:end] for start, end in ranges]

    ranges = RemoteRanges(fetch, len(data))
    for _ in range(30):
        spans = [tuple(sorted(chance.sample(range(201), 2))) for _ in range(chance.randrange(1, 4))]
        ranges.load(spans)  # type: ignore[arg-type]
        for start, end in spans:
            assert bytes(ranges.view(start, end)) == data[start:end]


def test_far_ranges_are_requests_of_their_own() -> None:
    requests: list[Sequence[tuple[int, int]]] = []

    def fetch(ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        requests.append(ranges)
        return [memoryview(bytes(end - start)) for start, end in ranges]

    size = 4 * NEAR_BYTES
    ranges = RemoteRanges(fetch, size)
    ranges.load([(0, 10), (100, 110), (2 * NEAR_BYTES, 2 * NEAR_BYTES + 5)])
    assert requests == [[(0, 110), (2 * NEAR_BYTES, 2 * NEAR_BYTES + 5)]]
    ranges.load([(50, 60)])
    assert len(requests) == 1
    with pytest.raises(pa.ArrowInvalid, match="ends at byte"):
        ranges.load([(size - 1, size + 1)])
    short = RemoteRanges(lambda ranges: [memoryview(b"") for _ in ranges], 10)
    with pytest.raises(pa.ArrowInvalid, match="ends before byte"):
        short.load([(0, 10)])
