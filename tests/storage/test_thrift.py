"""Thrift's compact protocol: what is written by the specification is read again, and damage is an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.storage import thrift
from andes_spark.storage.thrift import read_struct, write_struct

INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(INTEGERS, st.binary(max_size=20), st.booleans())


def structs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[int, Any]]:
    return st.dictionaries(st.integers(1, 2**15 - 1), values, max_size=6)


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.one_of(
        *(st.lists(kind, max_size=20) for kind in (INTEGERS, st.binary(max_size=4), st.booleans(), values))
    )


NESTED = st.recursive(structs(SCALARS), lambda inner: structs(st.one_of(SCALARS, inner, lists(inner))), max_leaves=12)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def integer(value: int) -> bytes:
    return varint((value << 1) ^ (value >> 63) if value >= 0 else ~(value << 1))


def kind_of(value: Any) -> int:
    return {bool: 1, int: 6, bytes: 8, list: 9, dict: 12}[type(value)]


def body(value: Any) -> bytes:
    match value:
        case bool():
            return b"\x01" if value else b"\x02"
        case int():
            return integer(value)
        case bytes():
            return varint(len(value)) + value
        case list():
            kind = kind_of(value[0]) if value else 6
            size = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + varint(len(value))
            return size + b"".join(map(body, value))
        case _:
            return struct(value)


def struct(values: dict[int, Any]) -> bytes:
    out, last = b"", 0
    for number, value in sorted(values.items()):
        kind = (1 if value else 2) if isinstance(value, bool) else kind_of(value)
        delta = number - last
        out += bytes([delta << 4 | kind]) if delta < 16 else bytes([kind]) + integer(number)
        out += b"" if isinstance(value, bool) else body(value)
        last = number
    return out + b"\x00"


@given(NESTED, st.binary(max_size=3))
def test_structs_are_read_as_they_were_written(values, behind):
    data = struct(values)
    assert read_struct(b"??" + data + behind, 2) == (values, 2 + len(data))


@given(NESTED, st.data())
def test_a_struct_that_ends_early_is_an_error(values, data):
    whole = struct(values)
    with pytest.raises(ValueError, match="Thrift"):
        read_struct(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_maps_doubles_bytes_and_uuids():
    data = bytes([0x1B, 1, 0x86, 1, ord("a"), 4, 0x13, 0xFF, 0x17]) + bytes(8) + bytes([0x1D]) + bytes(16) + b"\x00"
    assert read_struct(data) == ({1: [(b"a", 2)], 2: -1, 3: bytes(8), 4: bytes(16)}, len(data))
    assert read_struct(bytes([0x1B, 0, 0])) == ({1: []}, 3)


@pytest.mark.parametrize(
    "data",
    [b"\x1f", bytes([0x16]) + b"\xff" * 11, b"\x1c" * 200, bytes([0x19, 0xF8]) + varint(2**40), b""],
    ids=["unknown type", "long integer", "deep", "long list", "nothing"],
)
def test_what_is_no_struct_is_an_error(data):
    with pytest.raises(ValueError, match="Thrift"):
        read_struct(data)


@given(
    INTEGERS, st.integers(-(2**31), 2**31 - 1), st.binary(max_size=300), st.lists(st.binary(max_size=3), max_size=40)
)
def test_what_is_written_is_read(long, short, data, texts):
    inner = write_struct([thrift.i64(1, long), thrift.binary(16, data)])
    fields = [
        thrift.i32(1, short), thrift.i32_list(2, [short] * len(texts)), thrift.binary_list(3, texts),
        thrift.struct(9, inner), thrift.struct_list(20, [inner] * len(texts)),
    ]  # fmt: skip
    expected = {1: long, 16: data}
    written = write_struct(fields)
    values = {1: short, 2: [short] * len(texts), 3: texts, 9: expected, 20: [expected] * len(texts)}
    assert read_struct(written) == (values, len(written))
    assert read_struct(written, encoded=(20,))[0][20] == [inner] * len(texts)


@pytest.mark.parametrize("value", [b"x", 7, [1, 2], {1: 2}])
def test_encoded_elements_of_what_is_no_list_of_structs(value):
    with pytest.raises(ValueError, match="Thrift"):
        read_struct(struct({1: value}), encoded=(1,))
