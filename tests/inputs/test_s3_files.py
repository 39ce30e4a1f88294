"""Input files on S3: objects, globs and folders, with the access that the table has."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pyarrow.parquet
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import NotFoundError, OptionError, ThrottledError
from andes_spark.storage.open import open_storage
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server
from tests.s3 import s3_server

__all__ = ["s3_server"]

pytestmark = pytest.mark.integration


def lines(*ids: int) -> bytes:
    return "".join(json.dumps({"id": number, "seq": number}) + "\n" for number in ids).encode()


def test_objects_globs_and_folders(s3_server: S3Server):
    bucket = f"s3://{s3_server.make_bucket()}"
    folder = open_storage(f"{bucket}/in", options=s3_server.options)
    folder.put("a.jsonl", lines(1, 2))
    folder.put("b.csv", b"id,seq\n3,3\n")
    folder.put("sub/c.jsonl", lines(4))
    folder.put("_tmp/d.jsonl", lines(5))
    with (
        folder.open_output("sub/e.parquet") as sink,
        pa.parquet.ParquetWriter(
            pa.PythonFile(sink, "w"), pa.schema([("id", pa.int64()), ("seq", pa.int64())])
        ) as writer,
    ):
        writer.write_table(pa.table({"id": [6], "seq": [6]}))
    for number, (source, ids) in enumerate(
        [
            (f"{bucket}/in/a.jsonl", [1, 2]),
            (f"{bucket}/in", [1, 2, 3, 4, 6]),
            (f"{bucket}/in/", [1, 2, 3, 4, 6]),
            (f"{bucket}/in/*.jsonl", [1, 2]),
            (f"{bucket}/in/**/*.jsonl", [1, 2, 4, 5]),
            ([f"{bucket}/in/b.csv", f"{bucket}/in/sub"], [3, 4, 6]),
        ]
    ):
        table = ModTable.create(
            f"{bucket}/t{number}", "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"], merge="manual",
            storage_options=s3_server.options,
        )  # fmt: skip
        table.apply(source)
        assert sorted(table.to_arrow()["id"].to_pylist()) == ids, source
    for nothing in (f"{bucket}/in/none.csv", f"{bucket}/in/*.orc", f"{bucket}/none"):
        with pytest.raises(NotFoundError) as caught:
            table.apply(nothing)
        assert caught.value.path == nothing
    with pytest.raises(OptionError):
        table.apply(f"{bucket}/t0")


def test_a_store_that_asks_for_fewer_requests_is_waited_for_as_long_as_the_settings_say(s3_server: S3Server) -> None:
    bucket = f"s3://{s3_server.make_bucket()}"
    open_storage(f"{bucket}/in", options=s3_server.options).put("a.jsonl", lines(1))
    with FaultProxy(s3_server) as proxy:
        table = ModTable.create(
            f"{bucket}/t", "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"],
            storage_options=proxy.options, settings=Settings(store_seconds=0.5),
        )  # fmt: skip
        proxy.faults = [
            Fault(method, "503", forward=False, code="SlowDown", times=1_000, path="/in/") for method in ("GET", "HEAD")
        ]
        begun = time.monotonic()
        with pytest.raises(ThrottledError):
            table.apply(f"{bucket}/in/a.jsonl")
        assert time.monotonic() - begun < 60, "the default is 120 seconds"
    assert table.version == 0
