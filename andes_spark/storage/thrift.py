"""Reading of Thrift's compact protocol, the encoding of the metadata of Parquet files.

Format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. A struct becomes a dict by
field number, so that callers ignore unknown fields, as the protocol demands.
"""

from __future__ import annotations

from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(1, 14)
_MOST_BITS = 63
_MOST_DEPTH = 64


def read_struct(data: bytes | memoryview, position: int = 0) -> tuple[dict[int, Any], int]:
    """Read one struct.

    Args:
        data: bytes with the struct.
        position: its first byte.

    Returns:
        Values by field number, and the position behind the struct. Integers are ``int``, text and binary ``bytes``.

    Raises:
        ValueError: the bytes are no struct, or end within it.
    """
    reader = _Reader(data, position)
    try:
        return reader.struct(0), reader.position
    except IndexError:
        raise ValueError("the bytes end within a struct of Thrift") from None


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

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MOST_DEPTH:
            raise ValueError("structs of Thrift within each other without end")
        values: dict[int, Any] = {}
        number = 0
        while header := self.byte():
            delta, kind = header >> 4, header & 0x0F
            number = number + delta if delta else self.integer()
            # The value of a boolean field is its type.
            values[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self.value(kind, depth)
        return values

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
        header = self.byte()
        size, kind = header >> 4, header & 0x0F
        if size == 0x0F:
            size = self.varint()
        self.fits(size)
        return [self.value(kind, depth) for _ in range(size)]

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
