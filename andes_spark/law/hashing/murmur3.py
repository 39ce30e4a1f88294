"""MurmurHash3_x64_128 of many byte strings at once, in numpy.

The algorithm is Austin Appleby's of 2011, in the public domain (``MurmurHash3.cpp`` of SMHasher). It is taken
for speed and spread, not against forgery. A step of the algorithm is one numpy operation on all strings that
are long enough to need it, in groups of strings small enough for the processor's cache.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

BLOCK = 16
GROUP = 8192

_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_ADD1 = np.uint64(0x52DCE729)
_ADD2 = np.uint64(0x38495AB5)
_FMIX1 = np.uint64(0xFF51AFD7ED558CCD)
_FMIX2 = np.uint64(0xC4CEB9FE1A85EC53)
_ONE = np.uint64(1)
_FIVE = np.uint64(5)
_33 = np.uint64(33)
_63 = np.uint64(63)
_MASK = (1 << 64) - 1

# How many bits each part of a tail of 0 to 15 bytes has, as masks of the two words that hold it.
_TAIL1 = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(BLOCK)], dtype=np.uint64)
_TAIL2 = np.array([(1 << 8 * max(n - 8, 0)) - 1 for n in range(BLOCK)], dtype=np.uint64)


def hash_rows(words: Words, length: int, *, seed: int = 0) -> Words:
    """Hash byte strings of one length.

    Args:
        words: one string per row as little-endian words, zero bytes behind its end, a multiple of 16 in all.
        length: of each string, in bytes.
        seed: seed of the hash.

    Returns:
        An array of shape (rows, 2): the two words of each hash.
    """
    result = np.empty((len(words), 2), dtype=np.uint64)
    for start in range(0, len(words), GROUP):
        part = words[start : start + GROUP]
        state = _State(len(part), seed)
        for block in range(length // BLOCK):
            state.mix(part[:, 2 * block] * _C1, part[:, 2 * block + 1] * _C2)
        if length % BLOCK:
            block = length // BLOCK
            state.mix_tail(part[:, 2 * block] * _C1, part[:, 2 * block + 1] * _C2)
        state.finish(np.uint64(length), result[start : start + GROUP])
    return result


def hash_one(data: bytes, *, seed: int = 0) -> bytes:
    """Hash one byte string; for a short one, some tenths of a millisecond faster than :func:`hash_ranges`.

    Returns:
        The 16 bytes of the hash.
    """
    c1, c2 = int(_C1), int(_C2)
    h1 = h2 = seed
    whole = len(data) - len(data) % BLOCK
    for start in range(0, whole, BLOCK):
        h1 ^= _rotated(int.from_bytes(data[start : start + 8], "little") * c1, 31) * c2 & _MASK
        h1 = ((_rotated(h1, 27) + h2) * 5 + int(_ADD1)) & _MASK
        h2 ^= _rotated(int.from_bytes(data[start + 8 : start + BLOCK], "little") * c2, 33) * c1 & _MASK
        h2 = ((_rotated(h2, 31) + h1) * 5 + int(_ADD2)) & _MASK
    h2 ^= _rotated(int.from_bytes(data[whole + 8 :], "little") * c2, 33) * c1 & _MASK
    h1 ^= _rotated(int.from_bytes(data[whole : whole + 8], "little") * c1, 31) * c2 & _MASK
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    h1, h2 = _mixed(h1), _mixed(h2)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return h1.to_bytes(8, "little") + h2.to_bytes(8, "little")


def hash_ranges(data: Bytes, starts: Integers, lengths: Integers, *, seed: int = 0) -> Words:
    """Hash parts of a buffer; fastest if they follow each other.

    Args:
        data: the buffer.
        starts: offset of each byte string.
        lengths: length of each byte string. The time grows with the longest one of each group.
        seed: seed of the hash.

    Returns:
        An array of shape (strings, 2): the two words of each hash.
    """
    result = np.empty((len(starts), 2), dtype=np.uint64)
    for start in range(0, len(starts), GROUP):
        group = slice(start, start + GROUP)
        _hash_group(data, starts[group], lengths[group], seed, result[group])
    return result


def _hash_group(data: Bytes, starts: Integers, lengths: Integers, seed: int, result: Words) -> None:
    first, last = int(starts.min()), int((starts + lengths).max())
    words = _aligned(data[first:last])
    # The longest first, so that those with a block left are always a prefix.
    order = np.argsort(-lengths, kind="stable")
    lengths = lengths[order]
    positions = starts[order] - first
    state = _State(len(order), seed)
    blocks = lengths >> 4
    for block in range(int(blocks[0])):
        active = int(np.searchsorted(-blocks, -block, side="left"))
        low, high = _gather(words, positions[:active] + block * BLOCK)
        state.mix(low * _C1, high * _C2)
    tails = lengths & 15
    if tails.any():
        low, high = _gather(words, positions + blocks * BLOCK)
        state.mix_tail((low & _TAIL1[tails]) * _C1, (high & _TAIL2[tails]) * _C2)
    hashes = np.empty_like(result)
    state.finish(lengths.astype(np.uint64), hashes)
    result[order] = hashes


def _aligned(data: Bytes) -> Words:
    """A copy as words, with zeros behind its end so that reading a block there stays inside."""
    words = np.zeros(len(data) // 8 + 4, dtype=np.uint64)
    words.view(np.uint8)[: len(data)] = data
    return words


def _gather(words: Words, positions: Integers) -> tuple[Words, Words]:
    """The 16 bytes at each position, as two words."""
    index = positions >> 3
    shift = ((positions & 7) << 3).view(np.uint64)
    rest = _63 - shift
    first = words.take(index)
    middle = words.take(index + 1)
    last = words.take(index + 2)
    # A shift by 64 is undefined, so the upper part goes up by one and then by the rest.
    low = (first >> shift) | ((middle << _ONE) << rest)
    high = (middle >> shift) | ((last << _ONE) << rest)
    return low, high


class _State:
    """The two running words of a group of hashes."""

    def __init__(self, size: int, seed: int) -> None:
        self._h1 = np.full(size, seed, dtype=np.uint64)
        self._h2 = np.full(size, seed, dtype=np.uint64)
        self._spare = np.empty(size, dtype=np.uint64)

    def mix(self, k1: Words, k2: Words) -> None:
        """Take in one block for the first ``len(k1)`` hashes; the first products are made by the caller."""
        size = len(k1)
        h1, h2, spare = self._h1[:size], self._h2[:size], self._spare[:size]
        self._take_first(h1, k1, spare)
        _rotate(h1, 27, spare)
        h1 += h2
        h1 *= _FIVE
        h1 += _ADD1
        self._take_second(h2, k2, spare)
        _rotate(h2, 31, spare)
        h2 += h1
        h2 *= _FIVE
        h2 += _ADD2

    def mix_tail(self, k1: Words, k2: Words) -> None:
        """Take in the last bytes; a word without bytes is 0, which changes nothing."""
        self._take_second(self._h2, k2, self._spare)
        self._take_first(self._h1, k1, self._spare)

    def finish(self, lengths: Words | np.uint64, result: Words) -> None:
        """Write the hashes."""
        h1, h2, spare = self._h1, self._h2, self._spare
        h1 ^= lengths
        h2 ^= lengths
        h1 += h2
        h2 += h1
        _final_mix(h1, spare)
        _final_mix(h2, spare)
        h1 += h2
        h2 += h1
        result[:, 0] = h1
        result[:, 1] = h2

    @staticmethod
    def _take_first(h1: Words, k1: Words, spare: Words) -> None:
        _rotate(k1, 31, spare)
        k1 *= _C2
        h1 ^= k1

    @staticmethod
    def _take_second(h2: Words, k2: Words, spare: Words) -> None:
        _rotate(k2, 33, spare)
        k2 *= _C1
        h2 ^= k2


def _rotate(words: Words, bits: int, spare: Words) -> None:
    np.right_shift(words, np.uint64(64 - bits), out=spare)
    np.left_shift(words, np.uint64(bits), out=words)
    np.bitwise_or(words, spare, out=words)


def _rotated(word: int, bits: int) -> int:
    word &= _MASK
    return (word << bits | word >> (64 - bits)) & _MASK


def _mixed(word: int) -> int:
    for factor in (_FMIX1, _FMIX2):
        word = (word ^ word >> 33) * int(factor) & _MASK
    return word ^ word >> 33


def _final_mix(words: Words, spare: Words) -> None:
    for factor in (_FMIX1, _FMIX2):
        np.right_shift(words, _33, out=spare)
        words ^= spare
        words *= factor
    np.right_shift(words, _33, out=spare)
    words ^= spare
