"""Thrift's compact protocol, the encoding of the metadata of Parquet files.

Format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. A struct becomes a dict by
field number, so that callers ignore unknown fields, as the protocol demands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(1, 14)
_MOST_BITS = 63
_MOST_DEPTH = 64
_LONG_LIST = 4

Encoded = tuple[int, int, bytes]
"""A field to be written: number, type, and the encoded value."""


def read_struct(
    data: bytes | memoryview, position: int = 0, *, encoded: Collection[int] = ()
) -> tuple[dict[int, Any], int]:
    """Read one struct.

    Args:
        data: bytes with the struct.
        position: its first byte.
        encoded: numbers of fields of this struct, lists of structs, whose elements are returned as encoded bytes.

    Returns:
        Values by field number, and the position behind the struct. Integers are ``int``, text and binary ``bytes``.

    Raises:
        ValueError: the bytes are no struct, or end within it.
    """
    reader = _Reader(data, position)
    try:
        return reader.struct(0, encoded), reader.position
    except IndexError:
        raise ValueError("the bytes end within a struct of Thrift") from None


def i32(number: int, value: int) -> Encoded:
    """Encode a field of 32 bits."""
    return number, _I32, _integer(value)


def i64(number: int, value: int) -> Encoded:
    """Encode a field of 64 bits."""
    return number, _I64, _integer(value)


def binary(number: int, value: bytes) -> Encoded:
    """Encode a field of text or binary."""
    return number, _BINARY, _varint(len(value)) + value


def struct(number: int, value: bytes) -> Encoded:
    """Encode a field with a struct that :func:`write_struct` gave."""
    return number, _STRUCT, value


def i32_list(number: int, values: Sequence[int]) -> Encoded:
    """Encode a list of integers of 32 bits."""
    return number, _LIST, _list(_I32, [_integer(value) for value in values])


def binary_list(number: int, values: Sequence[bytes]) -> Encoded:
    """Encode a list of texts."""
    return number, _LIST, _list(_BINARY, [_varint(len(value)) + value for value in values])


def struct_list(number: int, values: Sequence[bytes]) -> Encoded:
    """Encode a list of structs that :func:`write_struct` gave."""
    return number, _LIST, _list(_STRUCT, values)


def write_struct(fields: Iterable[Encoded]) -> bytes:
    """Write one struct from fields with ascending numbers, each at most 15 above the one before."""
    parts = []
    last = 0
    for number, kind, value in fields:
        parts += [bytes([(number - last) << 4 | kind]), value]
        last = number
    return b"".join([*parts, b"\x00"])


def _list(kind: int, values: Sequence[bytes]) -> bytes:
    size = len(values)
    header = bytes([size << 4 | kind]) if size < 0x0F else bytes([0xF0 | kind]) + _varint(size)
    return header + b"".join(values)


def _integer(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else ~(value << 1))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class _Reader:
    def __init__(self, data: bytes | memoryview, position: int) -> None:
        self.data = data
        self.position = position

    def byte(self) -> int:
        value = self.data[self.position]
        self.position += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > _MOST_BITS:
                raise ValueError("an integer of Thrift with more than 64 bits")

    def integer(self) -> int:
        zigzag = self.varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def binary(self) -> bytes:
        return self.take(self.varint())

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self.data):
            raise IndexError
        value = bytes(self.data[self.position : end])
        self.position = end
        return value

    def struct(self, depth: int, encoded: Collection[int] = ()) -> dict[int, Any]:
        if depth > _MOST_DEPTH:
            raise ValueError("structs of Thrift within each other without end")
        values: dict[int, Any] = {}
        number = 0
        while header := self.byte():
            delta, kind = header >> 4, header & 0x0F
            number = number + delta if delta else self.integer()
            if number in encoded:
                values[number] = self.encoded_structs(kind, depth)
                continue
            # The value of a boolean field is its type.
            values[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self.value(kind, depth)
        return values

    def encoded_structs(self, kind: int, depth: int) -> list[bytes]:
        size, element = self.list_header()
        if kind != _LIST or element != _STRUCT:
            raise ValueError("a field of Thrift that is no list of structs")
        parts = []
        for _ in range(size):
            start = self.position
            self.struct(depth + 1)
            parts.append(bytes(self.data[start : self.position]))
        return parts

    def value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self.integer()
        if kind == _BINARY:
            return self.binary()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self.elements(depth + 1)
        if kind == _MAP:
            return self.pairs(depth + 1)
        if kind in (_TRUE, _FALSE):
            return self.byte() == _TRUE
        if kind == _BYTE:
            return int.from_bytes(self.take(1), "little", signed=True)
        if kind in (_DOUBLE, _UUID):
            return self.take(8 if kind == _DOUBLE else 16)
        raise ValueError(f"type {kind}, which Thrift does not have")

    def elements(self, depth: int) -> list[Any]:
        size, kind = self.list_header()
        if size > _LONG_LIST:
            values = self.like_elements(size, kind)
            if values is not None:
                return values
        return [self.value(kind, depth) for _ in range(size)]

    def list_header(self) -> tuple[int, int]:
        header = self.byte()
        size, kind = header >> 4, header & 0x0F
        if size == 0x0F:
            size = self.varint()
        self.fits(size)
        return size, kind

    def like_elements(self, size: int, kind: int) -> list[Any] | None:
        """Read a long list whose elements have one byte each, or texts of one length below 128; else None."""
        start = self.position
        if kind in (_TRUE, _FALSE):
            self.position += size
            return [byte == _TRUE for byte in self.data[start : self.position]]
        step = self.data[start] + 1 if kind == _BINARY else 1
        block = bytes(self.data[start : start + size * step])
        if len(block) < size * step:
            return None
        if kind == _BINARY and step <= 0x80 and block[::step].count(step - 1) == size:
            self.position += size * step
            return [block[at : at + step - 1] for at in range(1, len(block) + 1, step)][:size]
        if kind in (_I16, _I32, _I64) and max(block) < 0x80:
            self.position += size
            return [(byte >> 1) ^ -(byte & 1) for byte in block]
        return None

    def pairs(self, depth: int) -> list[tuple[Any, Any]]:
        size = self.varint()
        if not size:
            return []
        self.fits(size)
        kinds = self.byte()
        return [(self.value(kinds >> 4, depth), self.value(kinds & 0x0F, depth)) for _ in range(size)]

    def fits(self, size: int) -> None:
        """Refuse a size beyond the remaining bytes: every element has at least one byte."""
        if size > len(self.data) - self.position:
            raise IndexError
