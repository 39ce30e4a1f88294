"""Hashes of forgotten keys."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import polars as pl
import pytest

from andes_spark.base.forgotten import hashes, new_salt
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import one_version

SALT = "00" * 16


def hashed(keys: pl.DataFrame, ddl: str, salt: str = SALT) -> list[bytes | None]:
    schema = Schema.from_ddl(ddl)
    return hashes(keys, one_version(schema).current, schema.names, salt).to_list()


def test_hashes_are_those_of_the_format() -> None:
    keys = pl.DataFrame({"region": ["uk", "uk"], "id": [1, 7]}, schema={"region": pl.String, "id": pl.Int64})
    one, other = hashed(keys, "region STRING, id BIGINT")
    assert one is not None
    assert other is not None
    assert one == hashlib.blake2b(b'["uk","1"]', digest_size=16, key=bytes.fromhex(SALT)).digest()
    assert (len(one), one != other, hashed(keys, "region STRING, id INT")) == (16, True, [one, other])
    assert hashed(keys, "region STRING, id BIGINT", new_salt()) != [one, other]


@pytest.mark.parametrize(
    ("values", "kind", "ddl"),
    [
        ([Decimal("1.230"), Decimal("1.234")], pl.Decimal(13, 3), "id DECIMAL(10,2)"),
        ([7, 7 + 2**32], pl.Int64, "id INT"),
    ],
)
def test_a_value_that_the_type_of_the_file_lacks_was_not_forgotten(
    values: list[object], kind: pl.DataType, ddl: str
) -> None:
    first, second = hashed(pl.DataFrame({"id": values}, schema={"id": kind}), ddl)
    assert first is not None
    assert second is None
