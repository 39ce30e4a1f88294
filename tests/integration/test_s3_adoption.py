"""Tables on S3 are taken in where they are, and dropped."""

from __future__ import annotations

import random

import deltalake
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import DuplicateKeyError, NoSuchTableError
from andes_spark.schema.schema import Schema
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import FaultProxy, S3Server
from tests.foreign_tables import write_folder

pytestmark = pytest.mark.integration
ROWS = pa.table({"id": [1, 2, 3], "seq": [1, 1, 1], "p": ["x", "y", None]})


def test_a_delta_table_is_converted_and_dropped(s3_server: S3Server) -> None:
    url, options = f"s3://{s3_server.make_bucket()}/lake/t", s3_server.options
    deltalake.write_deltalake(url, ROWS, storage_options={**options, "conditional_put": "etag"}, partition_by=["p"])
    with pytest.raises(DuplicateKeyError):
        ModTable.convert(url, primary_key="seq", storage_options=options)
    table = ModTable.convert(url, primary_key="id", sequence_by="seq", storage_options=options)
    table.apply(pa.table({"id": [2, 4], "seq": [2, 1], "p": ["z", "x"]}))
    opened = ModTable.open(url, storage_options=options)
    assert opened.to_arrow().num_rows == 4
    assert opened.to_arrow(version=0).num_rows == 3
    checked = opened.verify()
    assert checked.ok, checked.problems
    assert (checked.unused, checked.missing) == ((), ())
    opened.drop(confirm="t")
    assert list(S3Storage(url, options).list()) == []
    with pytest.raises(NoSuchTableError):
        ModTable.open(url, storage_options=options)


def test_a_folder_of_parquet_files_is_converted(s3_server: S3Server) -> None:
    url, options = f"s3://{s3_server.make_bucket()}/lake/t", s3_server.options
    write_folder(S3Storage(url, options), ROWS, Schema.from_arrow(ROWS.schema), ("p",), random.Random(1))
    table = ModTable.convert(url, primary_key="id", partitions="p STRING", storage_options=options)
    assert table.to_arrow(filter="p IS NULL")["id"].to_pylist() == [3]
    assert table.verify().ok


@pytest.mark.parametrize("same_bucket", [True, False])
def test_a_table_is_cloned(s3_server: S3Server, same_bucket: bool) -> None:
    bucket = s3_server.make_bucket()
    options = s3_server.options
    other = bucket if same_bucket else s3_server.make_bucket()
    url, target = f"s3://{bucket}/a b/t", f"s3://{other}/copies/t"
    table = ModTable.create(url, data=ROWS, primary_key="id", sequence_by="seq", storage_options=options)
    table.apply(pa.table({"id": [2, 4], "seq": [2, 1], "p": ["z", "x"]}))
    with FaultProxy(s3_server) as proxy:
        source = ModTable.open(url, storage_options=proxy.options)
        copy = source.clone(target)
        # Within a bucket the store itself copies files.
        assert (len(proxy.copies) >= 1) == same_bucket
    assert copy.to_arrow().sort_by("id").equals(table.to_arrow().sort_by("id"))
    opened = ModTable.open(target, storage_options=options)
    assert opened.verify().ok
    opened.drop(confirm=target)
    assert table.verify().ok
