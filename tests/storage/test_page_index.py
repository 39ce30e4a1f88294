"""The page index of files that pyarrow wrote: places and extremes of the pages as the rows have them."""

from __future__ import annotations

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.storage import page_index as module
from andes_spark.storage.page_index import footer_of, page_index, read_page_bounds, read_page_places
from andes_spark.storage.thrift import i32, i64, struct_list, write_struct

VALUES = st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=60)


def written(table: pa.Table, *, group: int = 25, page: int = 4, index: bool = True) -> bytes:
    sink = io.BytesIO()
    writer = pq.ParquetWriter(
        sink, table.schema, write_page_index=index, max_rows_per_page=page, write_batch_size=page, use_dictionary=False
    )
    writer.write_table(table, row_group_size=group)
    writer.close()
    return sink.getvalue()


@pytest.mark.slow
@given(VALUES)
def test_pages_hold_what_the_index_says(values):
    table = pa.table({"s": pa.array([{"a": str(value)} for value in values]), "k": pa.array(values, pa.int64())})
    data = written(table)
    chunks = [chunk for chunk in page_index(footer_of(data)) if chunk.path == ("k",)]
    assert [chunk.row_group for chunk in chunks] == list(range(len(chunks)))
    assert sum(chunk.rows for chunk in chunks) == len(values)
    start = 0
    for chunk in chunks:
        assert chunk.column_index
        assert chunk.offset_index
        bounds = read_page_bounds(data[chunk.column_index.offset : chunk.column_index.end])
        places = read_page_places(data[chunk.offset_index.offset : chunk.offset_index.end])
        edges = [*places.first_rows.tolist(), chunk.rows]
        assert edges[0] == 0
        for number in range(len(places)):
            rows = values[start + edges[number] : start + edges[number + 1]]
            kept = [value for value in rows if value is not None]
            assert bounds.null_pages[number] == (not kept)
            if kept:
                extremes = [struct.unpack("<q", extreme[number])[0] for extreme in (bounds.minima, bounds.maxima)]
                assert extremes == [min(kept), max(kept)]
            assert len(rows) <= 4
        # The pages lie one behind the other, the dictionary before them.
        edges = [*places.offsets.tolist(), chunk.pages.end]
        assert edges[0] == chunk.pages.offset + chunk.dictionary_bytes
        assert np.diff(edges).tolist() == places.sizes.tolist()
        start += chunk.rows
    assert ("s", "a") in [chunk.path for chunk in page_index(footer_of(data))]


def test_sorted_pages_ascend():
    data = written(pa.table({"k": list(range(40))}))
    spans = [chunk.column_index for chunk in page_index(footer_of(data))]
    assert all(span and read_page_bounds(data[span.offset : span.end]).ascending for span in spans)
    data = written(pa.table({"k": list(range(40, 0, -1))}))
    span = page_index(footer_of(data))[0].column_index
    assert span
    assert not read_page_bounds(data[span.offset : span.end]).ascending


def test_files_without_an_index():
    [chunk] = page_index(footer_of(written(pa.table({"k": [1]}), index=False)))
    assert (chunk.column_index, chunk.offset_index) == (None, None)


@pytest.mark.parametrize("read", [page_index, read_page_bounds, read_page_places])
@pytest.mark.parametrize("data", [b"", b"\x00", b"PAR1", b"\x15\x02\x00", b"\xff" * 30])
def test_other_bytes_are_an_error(read, data):
    with pytest.raises(ValueError):  # noqa: PT011 - each says in its own way what is missing
        read(data)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x09\0\0\0PAR1", b"\x00\0\0\0PARE"])
def test_what_does_not_end_as_a_file_does_is_an_error(data):
    with pytest.raises(ValueError, match=r"footer|Parquet"):
        footer_of(data)


@given(
    st.lists(st.tuples(st.integers(1, 2**20), st.integers(1, 2**40)), min_size=1, max_size=40), st.integers(0, 2**45)
)
def test_plain_places_are_those_of_the_general_reader(pages, start):
    """As most writers encode them: both ways of reading agree, and other encodings go the general way."""
    offsets = np.cumsum([start, *(size for size, _ in pages)])
    firsts = np.cumsum([0, *(rows for _, rows in pages)])
    structs = [
        write_struct([i64(1, int(offset)), i32(2, size), i64(3, int(first))])
        for offset, first, (size, _) in zip(offsets, firsts, pages, strict=False)
    ]
    data = write_struct([struct_list(1, structs)])
    with pytest.MonkeyPatch.context() as patch:
        fast = module._plain_places(data)
        patch.setattr(module, "_plain_places", lambda data: None)
        slow = read_page_places(data)
    assert fast is not None
    for one, two in zip(
        (fast.offsets, fast.sizes, fast.first_rows), (slow.offsets, slow.sizes, slow.first_rows), strict=True
    ):
        assert one.tolist() == two.tolist()
    other = write_struct([struct_list(1, [write_struct([i32(2, 5), i64(4, 1)])] * 3)])
    assert module._plain_places(other) is None


def test_pages_that_do_not_follow_each_other_are_an_error():
    def places(*pages):
        structs = [write_struct([i64(1, offset), i32(2, size), i64(3, first)]) for offset, size, first in pages]
        return write_struct([struct_list(1, structs)])

    assert len(read_page_places(places((4, 10, 0), (14, 3, 5)))) == 2
    for wrong in (((4, 10, 0), (13, 3, 5)), ((4, 10, 5), (14, 3, 5))):
        with pytest.raises(ValueError, match="follow"):
            read_page_places(places(*wrong))
