"""Keys as blocks of 64: which keys are in them, and that Spark leaves out those rows and no others."""

from __future__ import annotations

import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema
from andes_spark.spark.key_blocks import blocks, fits
from tests.spark.batches import shown, spark_rows

WHOLE = {"TINYINT": 8, "INT": 32, "BIGINT": 64}


def in_blocks(keys: list[int]) -> set[int]:
    """The keys that blocks name, read with integers of Python."""
    columns = blocks(pa.table({"k": pa.array(keys, pa.int64())})).to_pydict()
    assert len(set(columns["_andes_block"])) == len(columns["_andes_block"])
    pairs = zip(columns["_andes_block"], columns["_andes_mask"], strict=True)
    return {block * 64 + bit for block, mask in pairs for bit in range(64) if mask >> bit & 1}


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [0],
        [63, 64, -1, -64, -65, 127],
        [2**63 - 1, -(2**63), 0, 2**63 - 64],
        list(range(-200, 200, 3)),
        [number * 7919 * (-1) ** number for number in range(2000)],
    ],
)
def test_blocks_hold_their_keys_and_no_others(keys):
    assert in_blocks(keys) == set(keys)


def test_only_one_whole_number_is_a_key_for_blocks():
    def schema(*kinds: pa.DataType) -> pa.Schema:
        return pa.schema([pa.field(str(number), kind) for number, kind in enumerate(kinds)])

    assert all(fits(schema(kind)) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64()))
    for kinds in ([pa.int64(), pa.int64()], [pa.string()], [pa.date32()], [pa.decimal128(9, 0)], [pa.bool_()]):
        assert not fits(schema(*kinds))


@pytest.mark.parametrize("kind", [*WHOLE, "DATE"])
def test_fresh_reads_leave_out_exactly_the_replaced_rows(spark, tmp_path, kind):
    edge = 2 ** (WHOLE.get(kind, 8) - 1)
    keys = sorted({-edge, -edge + 1, -65, -64, -63, -1, 0, 1, 62, 63, 64, 65, 127, edge - 2, edge - 1})
    arrow = Schema.from_ddl(f"`k.``1` {kind}, s BIGINT, v STRING").to_arrow()

    def batch(some: list[int], seq: int, value: str) -> pa.Table:
        key = pa.array(some, pa.int64()).cast(pa.int32() if kind == "DATE" else arrow.field(0).type)
        return pa.table(
            [key.cast(arrow.field(0).type), pa.array([seq] * len(some)), pa.array([value] * len(some))], schema=arrow
        )

    name = arrow.names[0]
    table = ModTable.create(
        tmp_path / "t", arrow, primary_key=[name], sequence_by=["s"], data=batch(keys, 1, "base"), merge="manual"
    )
    before = shown(table)
    table.apply(batch(keys[::3], 2, "written"))
    table.apply(batch(keys[1::3], 3, "deleted").drop_columns("v"), apply_as_deletes="true")
    table.apply(batch(keys[2:4], 0, "late"))
    expected = shown(table)
    assert len(before) == len(keys)
    assert sorted(row["v"] for row in expected) == ["base"] * len(keys[2::3]) + ["written"] * len(keys[::3])
    assert spark_rows(table.read(), table) == expected
    assert table.read().columns == arrow.names
    assert spark_rows(table.read().where("v = 'base'"), table) == [row for row in expected if row["v"] == "base"]
