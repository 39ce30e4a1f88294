"""A writer of Delta on S3 that overwrites commits of merges: it is noticed before more is built on it, and mended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.entries import read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.errors import ForeignWriteError
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Fault, FaultProxy
from tests.s3 import bucket_of_spark
from tests.spark.batches import SIMPLE, create, shown, simple_rows, spark_rows, table_of

pytestmark = pytest.mark.integration
LATEST = 2
"""Delta version that both writers commit."""


@pytest.fixture
def proxy(s3_server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server) as proxy:
        yield proxy


@pytest.mark.parametrize("merges", [1, 3])
def test_a_commit_of_delta_that_overwrites_merges(spark, s3_server, proxy, merges):
    with bucket_of_spark(spark, s3_server, proxy.endpoint) as bucket:
        url, options = f"s3a://{bucket}/t", s3_server.options
        table = create(
            url,
            data=table_of(simple_rows(0, 12, 0), SIMPLE),
            storage_options=options,
            settings=Settings(compact_bytes=0),
        )
        table.apply(table_of(simple_rows(0, 4, 100), SIMPLE), merge=True)
        stored = S3Storage(url, options)

        def merge_meanwhile() -> None:
            for number in range(merges):
                result = table.apply(table_of(simple_rows(2 * number, 3, 200 + 100 * number), SIMPLE), merge=True)
                assert result.merge is not None
                assert result.merge.status == "merged"

        # Delta has seen that version 2 is free, and puts it without a condition after the merges have.
        proxy.faults = [Fault("PUT", "pass", path=entry_path(LATEST), before=merge_meanwhile)]
        spark.sql(f"DELETE FROM delta.`{url}` WHERE id = 11")
        assert proxy.faults[0].times == 0
        entry = read_commit(stored, LATEST)
        assert entry is not None
        assert entry.txns == {}, "Delta did not overwrite the entry"
        expected = table_of(simple_rows(0, 4, 100), SIMPLE)
        oracle = {row["id"]: row for row in simple_rows(0, 12, 0) + expected.to_pylist()}
        for number in range(merges):
            oracle |= {row["id"]: row for row in simple_rows(2 * number, 3, 200 + 100 * number)}
        rows = [oracle[key] for key in sorted(oracle)]

        # Spark replays all entries, whatever the handle has in memory.
        with pytest.raises(ForeignWriteError, match=rf"Delta version {LATEST}\b.*repair"):
            table.read()
        # Who reads the entries anew, or the one that was merged last, does not build on it; appends go on.
        for handle in ([table] if merges == 1 else []) + [ModTable.open(url, storage_options=options)]:
            with pytest.raises(ForeignWriteError, match=rf"Delta version {LATEST}\b.*repair"):
                handle.to_arrow()
        late = ModTable.open(url, storage_options=options)
        late.apply(table_of(simple_rows(20, 1, 0), SIMPLE), merge=False)
        repaired = ModTable.repair_folder(url, foreign="undo", storage_options=options)
        assert repaired.left == ()
        mended = ModTable.open(url, storage_options=options)
        mended.merge()
        rows += simple_rows(20, 1, 0)
        assert shown(mended) == spark_rows(mended.read(), mended) == rows
        spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
        assert spark_rows(spark.read.format("delta").load(url), mended) == rows
        checked = mended.verify()
        assert checked.ok, checked.problems
