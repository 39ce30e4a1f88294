"""The layout of the Parquet files that are written, and what their footer marks notice."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.schema.versions import numbered
from andes_spark.storage import parquet
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.page_index import ChunkIndex, footer_of, page_index, read_page_bounds, read_page_places
from andes_spark.storage.parquet import (
    Written,
    check_page_index,
    footer_length,
    index_ranges,
    open_parquet,
    write_parquet,
)

TABLE = pa.table(
    {
        "id": pa.array(range(5000), pa.int64()),
        "at": pa.array(range(5000), pa.timestamp("us", "UTC")),
        "local": pa.array(range(5000), pa.timestamp("us")),
        "text": [f"text {n % 7}" for n in range(5000)],
        "st": pa.array([{"x": n, "l": [n]} for n in range(5000)]),
        "seq": pa.array(range(5000, 10000), pa.int64()),
    }
)


def written(table: pa.Table = TABLE, **options: Any) -> tuple[MemoryStorage, Written]:
    storage = MemoryStorage()
    return storage, write_parquet(storage, "f", table, numbered(table.schema), **options)


def chunks(storage: MemoryStorage, column: str) -> list[ChunkIndex]:
    return [chunk for chunk in page_index(footer_of(storage.get("f"))) if chunk.path == (column,)]


def test_every_column_has_short_pages_with_an_index():
    storage, file = written()
    data = storage.get("f")
    for chunk in page_index(footer_of(data)):
        assert chunk.offset_index
        places = read_page_places(data[chunk.offset_index.offset : chunk.offset_index.end])
        edges = [*places.first_rows.tolist(), chunk.rows]
        assert max(two - one for one, two in itertools.pairwise(edges)) <= parquet.PAGE_ROWS
        assert len(places) == 2
        assert chunk.column_index or "list" in chunk.path
    assert file.metadata.num_rows == 5000


def test_row_groups_hold_so_many_rows_or_bytes(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2000)
    assert group_sizes() == [2000, 2000, 1000]
    monkeypatch.setattr(parquet, "GROUP_BYTES", TABLE.nbytes // 4)
    assert group_sizes() == [1250] * 4
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1)
    assert group_sizes(TABLE.slice(0, 3)) == [1, 1, 1]
    assert sum(group_sizes(TABLE.slice(0, 0))) == 0


def group_sizes(table: pa.Table = TABLE) -> list[int]:
    metadata = written(table)[1].metadata
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def test_times_are_integers_of_microseconds():
    columns = {column.path: column for column in map(written()[1].metadata.schema.column, range(7))}
    for name, zoned in (("at", True), ("local", False)):
        assert columns[name].physical_type == "INT64"
        kind = str(columns[name].logical_type)
        assert f"isAdjustedToUTC={str(zoned).lower()}, timeUnit=microseconds" in kind


def test_the_footer_tells_the_order_of_the_rows():
    groups = written(sorted_by=["id", "seq"])[1].metadata.row_group(0)
    assert groups.sorting_columns == (
        pq.SortingColumn(0, descending=False, nulls_first=True),
        pq.SortingColumn(6, descending=False, nulls_first=True),
    )
    assert written()[1].metadata.row_group(0).sorting_columns == ()


@pytest.mark.parametrize("marked", [("id",), ("id", "seq"), ("seq", "at")])
def test_the_mark_covers_the_index_of_the_marked_columns(monkeypatch, marked):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2000)
    monkeypatch.setattr(parquet, "_INDEX_BYTES", 0)
    storage, file = written(marked=marked)
    parts = [
        (span.offset, span.end)
        for name in marked
        for chunk in chunks(storage, name)
        for span in (chunk.column_index, chunk.offset_index)
        if span
    ]
    covered = [(span.offset, span.end) for span, _ in index_ranges(file.footer)]
    assert len(parts) == 6 * len(marked)
    assert sum(end - begin for begin, end in covered) == sum(end - begin for begin, end in parts)
    assert all(any(begin <= one and two <= end for begin, end in covered) for one, two in parts)
    check_page_index(storage, "f", footer=file.footer)
    assert open_parquet(storage, "f", footer=file.footer).read() == TABLE


def test_the_mark_of_a_small_index_covers_all_of_it():
    storage, file = written(marked=("id",))
    ((span, _),) = index_ranges(file.footer)
    footer = footer_of(storage.get("f"))
    parts = [part for chunk in page_index(footer) for part in (chunk.column_index, chunk.offset_index) if part]
    assert len(parts) >= 2 * len(TABLE.column_names)
    assert (span.offset, span.end) == (min(part.offset for part in parts), max(part.end for part in parts))
    assert span.end == file.bytes - footer_length(file.footer)
    check_page_index(storage, "f", footer=file.footer)


def test_one_wrong_bit_in_the_index_is_noticed():
    storage, file = written(TABLE.slice(0, 4200), marked=("id", "seq"))
    data = storage.get("f")
    for span, _ in index_ranges(file.footer):
        for position in range(span.offset, span.end):
            flipped = bytearray(data)
            flipped[position] ^= 1 << position % 8
            storage.put("f", bytes(flipped))
            with pytest.raises(pa.ArrowInvalid, match="page index"):
                check_page_index(storage, "f", footer=file.footer)


def test_a_wrong_page_minimum_passes_all_other_checks():
    storage, file = written(marked=("id",))
    data = bytearray(storage.get("f"))
    span = chunks(storage, "id")[0].column_index
    assert span
    minimum = read_page_bounds(bytes(data[span.offset : span.end])).minima[1]
    place = data.index(minimum, span.offset)
    data[place] ^= 0x80
    storage.put("f", bytes(data))
    assert open_parquet(storage, "f", footer=file.footer).read() == TABLE
    with pytest.raises(pa.ArrowInvalid, match="page index"):
        check_page_index(storage, "f", footer=file.footer)


@pytest.mark.parametrize("mark", ["", "12", "12-zz", "12-00000000/", "12-00000000/1-2", "12-00000000/1-2-0000000g"])
def test_what_is_no_mark_is_an_error(mark):
    with pytest.raises(pa.ArrowInvalid, match="footer mark"):
        index_ranges(mark)


def test_the_mark_as_text():
    assert re.fullmatch(r"\d+-[0-9a-f]{8}/\d+-\d+-[0-9a-f]{8}", written(marked=("id",))[1].footer)
    assert re.fullmatch(r"\d+-[0-9a-f]{8}", written()[1].footer)
