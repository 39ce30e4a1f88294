"""Z85 against the vectors of its specification and of the Delta protocol."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.delta import z85


def test_the_example_of_the_specification():
    assert z85.encode(bytes.fromhex("864FD26FB559F75B")) == "HelloWorld"
    assert z85.decode("HelloWorld") == bytes.fromhex("864FD26FB559F75B")


def test_the_uuid_of_the_delta_protocol():
    assert uuid.UUID(bytes=z85.decode("^-aqEH.-t@S}K{vb[*k^")) == uuid.UUID("d2c639aa-8816-431a-aaf6-d3fe2512ff61")


@given(st.binary(max_size=64))
def test_round_trip(data):
    text = z85.encode(data)
    assert len(text) == 5 * -(-len(data) // 4)
    assert set(text) <= set(z85.ALPHABET)
    assert z85.decode(text, len(data)) == data


@pytest.mark.parametrize("text", ["abcd", "abcd ", "abcdé", "#####"])
def test_what_is_not_z85_is_refused(text):
    with pytest.raises(ValueError, match=r"multiple|character"):
        z85.decode(text)


@pytest.mark.parametrize("size", [-1, 0, 4, 9])
def test_another_size_than_announced_is_refused(size):
    with pytest.raises(ValueError, match="announced"):
        z85.decode("HelloWorld", size)
