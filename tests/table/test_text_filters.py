"""Filters as text over a table of several files: what the statistics of files leave out was never to be found."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.batch.condition import condition_of
from andes_spark.delta.skipping import may_hold
from andes_spark.errors import OptionError
from andes_spark.schema.schema import Schema
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from tests.sql import random_texts

NUMBERED = Schema.from_ddl(f"id bigint, {random_texts.SCHEMA.to_ddl()}")


def batches(rnd: random.Random) -> list[pa.Table]:
    tables = [
        random_texts.rows(rnd, count, tame=tame) for count, tame in ((1, False), (2, True), (2, False), (3, True))
    ]
    starts = [sum(table.num_rows for table in tables[:number]) for number in range(len(tables))]
    return [
        table.add_column(0, "id", pa.array(range(start, start + table.num_rows), pa.int64()))
        for start, table in zip(starts, tables, strict=True)
    ]


@pytest.mark.slow
def test_random_filters_find_what_a_look_at_every_row_finds() -> None:
    rnd = random.Random(77)
    table = ModTable.create(MemoryStorage(), NUMBERED.to_ddl(), primary_key=["id"], settings=Settings(compact_bytes=0))
    for number, batch in enumerate(batches(rnd)):
        table.apply(batch, batch_id=("b", number))
    everything = table.to_arrow()
    author, files = random_texts.Texts(rnd), table._open_table.base.snapshot().state.files.values()
    left_out = row_count = 0
    for _ in range(300):
        text = author.condition(rnd.randint(0, 1))
        try:
            condition = condition_of("filter", text)
            assert condition is not None
            expected = everything.filter(condition.answers(everything).fill_null(False).to_arrow())
        except OptionError:
            continue
        assert sorted(table.to_arrow(filter=text)["id"].to_pylist()) == sorted(expected["id"].to_pylist()), text
        row_count += expected.num_rows
        form = condition.form(everything.schema)
        left_out += int((~may_hold(list(files), table.schema, (), form)).sum())
    assert len(files) > 3
    assert left_out > 20
    assert row_count > 100
