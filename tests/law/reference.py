"""Row hash format 1 once more, value by value and as plainly as can be, to check the fast one against."""

from __future__ import annotations

import datetime
import decimal
import math
import struct
from typing import Any

from andes_spark.schema import types as dt

MASK = (1 << 64) - 1
EPOCH = datetime.datetime(1970, 1, 1)
ABSENT = object()


def murmur3_x64_128(data: bytes, seed: int = 0) -> bytes:
    """MurmurHash3_x64_128 by its published text; 16 bytes, each word little-endian."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = seed
    body = len(data) // 16 * 16
    for i in range(0, body, 16):
        k1, k2 = struct.unpack_from("<QQ", data, i)
        h1 ^= rotl(k1 * c1 & MASK, 31) * c2 & MASK
        h1 = ((rotl(h1, 27) + h2) * 5 + 0x52DCE729) & MASK
        h2 ^= rotl(k2 * c2 & MASK, 33) * c1 & MASK
        h2 = ((rotl(h2, 31) + h1) * 5 + 0x38495AB5) & MASK
    tail = data[body:]
    if len(tail) > 8:
        h2 ^= rotl(int.from_bytes(tail[8:], "little") * c2 & MASK, 33) * c1 & MASK
    if tail:
        h1 ^= rotl(int.from_bytes(tail[:8], "little") * c1 & MASK, 31) * c2 & MASK
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & MASK
    h2 = (h2 + h1) & MASK
    h1, h2 = fmix(h1), fmix(h2)
    h1 = (h1 + h2) & MASK
    h2 = (h2 + h1) & MASK
    return struct.pack("<QQ", h1, h2)


def rotl(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & MASK


def fmix(word: int) -> int:
    word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & MASK
    word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return word ^ word >> 33


def hash_of_bytes(data: bytes, level: int = 0) -> bytes:
    if len(data) <= 1024:
        return murmur3_x64_128(data, level)
    pieces = [data[i : i + 1024] for i in range(0, len(data), 1024)]
    return hash_of_bytes(b"".join(murmur3_x64_128(piece, level) for piece in pieces), level + 1)


def cell(value: Any, type_: dt.DataType) -> bytes:
    """The cell of a Python value as ``pa.Array.to_pylist`` gives it, None, or ABSENT."""
    if value is ABSENT:
        return b"\x02" + bytes(16)
    if value is None:
        return bytes(17)
    return b"\x01" + payload(value, type_)


def payload(value: Any, type_: dt.DataType) -> bytes:
    match type_:
        case dt.Decimal(_, scale):
            with decimal.localcontext(prec=80):
                return integer(int(value.scaleb(scale)))
        case dt.Array(element):
            return hash_of_bytes(b"".join(cell(item, element) for item in value))
        case dt.Map(key, item_type):
            pairs = (cell(key_value, key) + cell(item, item_type) for key_value, item in value)
            return hash_of_bytes(b"".join(pairs))
        case dt.Struct(fields):
            return hash_of_bytes(b"".join(cell(value[field.name], field.type) for field in fields))
    if type_ == dt.STRING:
        return hash_of_bytes(value.encode())
    if type_ == dt.BINARY:
        return hash_of_bytes(value)
    if type_ in (dt.FLOAT, dt.DOUBLE):
        number = math.nan if math.isnan(value) else value + 0.0
        return struct.pack("<d", number) + bytes(8)
    if type_ == dt.DATE:
        return integer((value - EPOCH.date()).days)
    if type_ in (dt.TIMESTAMP, dt.TIMESTAMP_NTZ):
        return integer((value.replace(tzinfo=None) - EPOCH) // datetime.timedelta(microseconds=1))
    return integer(int(value))


def integer(value: int) -> bytes:
    return value.to_bytes(16, "little", signed=True)


def row_hash(op: int, values: list[Any], types: list[dt.DataType]) -> bytes:
    return murmur3_x64_128(bytes([op]) + b"".join(map(cell, values, types)))


def digest(hashes: list[bytes]) -> str:
    total = sum(int.from_bytes(hash_bytes, "little") for hash_bytes in hashes) % (1 << 128)
    content = total.to_bytes(16, "little") + len(hashes).to_bytes(8, "little")
    return "andes1:" + murmur3_x64_128(content).hex()
