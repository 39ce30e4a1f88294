"""The fast hash is MurmurHash3_x64_128."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.law.hashing import murmur3
from tests.law.reference import murmur3_x64_128

# (seed, text, first word, second word): the vectors that implementations in many languages share.
KNOWN = [
    (0, "", 0x0000000000000000, 0x0000000000000000),
    (0, "hello", 0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19),
    (0, "hello, world", 0x342FAC623A5EBC8E, 0x4CDCBC079642414D),
    (0, "19 Jan 2038 at 3:14:07 AM", 0xB89E5988B737AFFC, 0x664FC2950231B2CB),
    (0, "The quick brown fox jumps over the lazy dog.", 0xCD99481F9EE902C9, 0x695DA1A38987B6E7),
    (1, "", 0x4610ABE56EFF5CB5, 0x51622DAA78F83583),
    (1, "hello", 0xA78DDFF5ADAE8D10, 0x128900EF20900135),
    (1, "hello, world", 0x8B95F808840725C6, 0x1597ED5422BD493B),
]


def hashes(texts: list[bytes], seed: int = 0) -> list[bytes]:
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    data = np.frombuffer(b"".join(texts), dtype=np.uint8)
    result = murmur3.hash_ranges(data, np.cumsum(lengths) - lengths, lengths, seed=seed)
    return [row.tobytes() for row in result]


@pytest.mark.parametrize(("seed", "text", "first", "second"), KNOWN)
def test_known_vectors(seed: int, text: str, first: int, second: int) -> None:
    expected = first.to_bytes(8, "little") + second.to_bytes(8, "little")
    assert murmur3_x64_128(text.encode(), seed) == expected
    assert hashes([text.encode()], seed) == [expected]
    assert murmur3.hash_one(text.encode(), seed=seed) == expected


@given(st.lists(st.binary(max_size=70), max_size=20), st.integers(0, 2**32 - 1))
def test_many_strings_at_once(texts: list[bytes], seed: int) -> None:
    expected = [murmur3_x64_128(text, seed) for text in texts]
    assert hashes(texts, seed) == expected
    assert [murmur3.hash_one(text, seed=seed) for text in texts] == expected


def test_every_length_of_tail_beside_each_other() -> None:
    texts = [bytes(range(1, length + 1)) for length in range(100)]
    assert hashes(texts) == [murmur3_x64_128(text) for text in texts]
    assert hashes(texts[::-1]) == [murmur3_x64_128(text) for text in texts[::-1]]


def test_more_strings_than_one_group() -> None:
    texts = [str(number).encode() * (number % 7) for number in range(2 * murmur3.GROUP + 5)]
    row_hashes = hashes(texts)
    for number in (0, 1, murmur3.GROUP - 1, murmur3.GROUP, 2 * murmur3.GROUP, len(texts) - 1):
        assert row_hashes[number] == murmur3_x64_128(texts[number])


def test_parts_may_overlap_and_be_out_of_order() -> None:
    data = bytes(range(256))
    starts = np.array([200, 3, 0, 250, 3], dtype=np.int64)
    lengths = np.array([56, 40, 256, 0, 41], dtype=np.int64)
    row_hashes = murmur3.hash_ranges(np.frombuffer(data, np.uint8), starts, lengths)
    for row, start, length in zip(row_hashes, starts.tolist(), lengths.tolist(), strict=True):
        assert row.tobytes() == murmur3_x64_128(data[start : start + length])


@given(st.integers(0, 50), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_strings_of_one_length(length: int, rows: int, seed: int) -> None:
    padded = -(-max(length, 1) // 16) * 16
    lines = np.zeros((rows, padded), dtype=np.uint8)
    lines[:, :length] = np.random.default_rng(seed).integers(0, 256, (rows, length))
    row_hashes = murmur3.hash_rows(lines.view("<u8"), length, seed=seed)
    assert [row.tobytes() for row in row_hashes] == [murmur3_x64_128(line[:length].tobytes(), seed) for line in lines]
