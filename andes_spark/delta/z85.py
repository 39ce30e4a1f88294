"""Z85, the base-85 encoding of bytes in Delta's log.

Source: https://rfc.zeromq.org/spec/32/, as used by the Delta protocol ("Deletion Vector Descriptor Schema")
and by its reference implementation, which pads input to four bytes with zeros.
"""

from __future__ import annotations

import struct

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

_VALUES = {character: value for value, character in enumerate(ALPHABET)}


def encode(data: bytes) -> str:
    """Encode four bytes as five characters; the input is padded with zero bytes."""
    padded = data + bytes(-len(data) % 4)
    out: list[str] = []
    for (word,) in struct.iter_unpack(">I", padded):
        block = []
        for _ in range(5):
            word, digit = divmod(word, 85)
            block.append(ALPHABET[digit])
        out.extend(reversed(block))
    return "".join(out)


def decode(text: str, size: int | None = None) -> bytes:
    """Decode the result of ``encode``.

    Args:
        text: encoded bytes.
        size: number of bytes to return, without padding; None for all.

    Raises:
        ValueError: not Z85, or fewer than ``size`` bytes or more than its padding.
    """
    if len(text) % 5:
        raise ValueError(f"{len(text)} characters are not a multiple of five")
    words = []
    for start in range(0, len(text), 5):
        word = 0
        for character in text[start : start + 5]:
            value = _VALUES.get(character)
            if value is None:
                raise ValueError(f"{character!r} is no character of Z85")
            word = word * 85 + value
        words.append(word)
    try:
        data = struct.pack(f">{len(words)}I", *words)
    except struct.error as error:
        raise ValueError("a group of five characters above 32 bits") from error
    if size is None:
        return data
    if not 0 <= len(data) - size < 4:
        raise ValueError(f"{len(data)} bytes where {size} were announced")
    return data[:size]
