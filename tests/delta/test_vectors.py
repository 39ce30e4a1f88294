"""Deletion vectors: bytes as Delta's own, files packed, damage noticed."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from andes_spark.delta import vectors, z85
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import FileDamagedError, LogDamagedError, UnsupportedTableError
from andes_spark.storage.memory import MemoryStorage

# RoaringBitmapArray of Delta, portable format.
GOLDEN = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"
GOLDEN_ROWS = [3, 4, 7, 11, 18, 29]

positions = st.lists(
    st.one_of(st.integers(0, 300), st.integers(0, 2**20), st.integers(2**31, 2**34)), min_size=1, max_size=200
)


def load_all(storage: MemoryStorage, descriptors: dict[str, VectorDescriptor], together: bool) -> None:
    if together:
        vectors.load_vectors(storage, descriptors)
    else:
        for descriptor in descriptors.values():
            vectors.load_vector(storage, descriptor)


def file_path(descriptor: VectorDescriptor) -> str:
    assert descriptor.file_path is not None
    return descriptor.file_path


def test_our_bytes_are_deltas():
    assert z85.encode(vectors.serialize(BitMap64(GOLDEN_ROWS))) == GOLDEN
    assert list(vectors.deserialize(z85.decode(GOLDEN, 44))) == GOLDEN_ROWS


def test_the_example_in_the_protocols_text_is_of_an_older_format():
    # Its magic number is 1681511376, big-endian; Delta's own reader refuses it. The bitmap in it is the same.
    old = z85.decode("wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 40)
    assert struct.unpack_from(">i", old)[0] == vectors.MAGIC - 1
    assert old[12:] == vectors.serialize(BitMap64(GOLDEN_ROWS))[16:]
    with pytest.raises(ValueError, match="magic"):
        vectors.deserialize(old)


def test_the_path_of_the_protocols_example():
    assert (
        VectorDescriptor("u", "ab^-aqEH.-t@S}K{vb[*k^", 4, 40, 6).file_path
        == "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    )


@given(positions)
def test_positions_round_trip(row_numbers):
    bitmap = vectors.from_positions(np.array(row_numbers))
    assert vectors.to_positions(bitmap).tolist() == sorted(set(row_numbers))
    assert vectors.deserialize(vectors.serialize(bitmap)) == bitmap


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=5), positions, max_size=6))
def test_written_vectors_are_read_again(rows_by_file):
    storage = MemoryStorage()
    bitmaps = {key: BitMap64(rows) for key, rows in rows_by_file.items()}
    descriptors = vectors.write_vectors(storage, bitmaps)
    assert descriptors.keys() == bitmaps.keys()
    assert vectors.load_vectors(storage, descriptors) == bitmaps
    for key, descriptor in descriptors.items():
        parsed = VectorDescriptor.from_json(descriptor.to_json())
        assert parsed == descriptor
        assert vectors.load_vector(storage, parsed) == bitmaps[key]
        assert parsed.unique_id == vectors.unique_id(descriptor.to_json())
    assert {descriptor.storage_type for descriptor in descriptors.values()} <= {"u"}
    assert len(list(storage.list())) == bool(descriptors)


@given(positions)
def test_vectors_that_others_wrote_inline_are_read(row_numbers):
    bitmap = BitMap64(row_numbers)
    data = vectors.serialize(bitmap)
    inline = VectorDescriptor("i", z85.encode(data), None, len(data), len(bitmap))
    assert vectors.load_vectors(MemoryStorage(), {"f": inline}) == {"f": bitmap}


def test_the_layout_of_a_file():
    storage = MemoryStorage()
    a, b = BitMap64([1]), BitMap64(range(10, 2000, 3))
    descriptors = vectors.write_vectors(storage, {"a": a, "b": b})
    path = file_path(descriptors["a"])
    assert path == descriptors["b"].file_path
    data_a, data_b = vectors.serialize(a), vectors.serialize(b)
    assert storage.get(path) == b"".join(
        [b"\x01"]
        + [struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data)) for data in (data_a, data_b)]
    )
    assert descriptors["a"].to_json() == {
        "storageType": "u",
        "pathOrInlineDv": descriptors["b"].path_or_inline,
        "sizeInBytes": len(data_a),
        "cardinality": 1,
        "offset": 1,
    }
    assert descriptors["b"].offset == 1 + 4 + len(data_a) + 4


def test_dense_vectors_are_run_length_encoded():
    assert len(vectors.serialize(BitMap64(range(1_000_000)))) < 300


def test_an_empty_vector_is_refused():
    with pytest.raises(ValueError, match="empty"):
        vectors.write_vectors(MemoryStorage(), {"f": BitMap64()})


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:3],
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:1] + b"\xff" + data[2:],
    ],
)
def test_a_damaged_file_is_noticed(damage, together):
    storage = MemoryStorage()
    whole = {"a": BitMap64([1, 5]), "b": BitMap64([7])}
    descriptors = vectors.write_vectors(storage, whole)
    path = file_path(descriptors["a"])
    storage.put(path, damage(storage.get(path)))
    with pytest.raises(FileDamagedError) as failure:
        load_all(storage, descriptors, together)
    assert failure.value.path == path


@pytest.mark.parametrize("together", [False, True])
def test_a_missing_file_is_noticed(together):
    storage = MemoryStorage()
    descriptors = vectors.write_vectors(storage, {"a": BitMap64([1]), "b": BitMap64([2])})
    storage.delete([file_path(descriptors["a"])])
    with pytest.raises(FileDamagedError, match="missing"):
        load_all(storage, descriptors, together)


@pytest.mark.parametrize(
    ("text", "size", "cardinality"),
    [
        (GOLDEN, 44, 5),
        (GOLDEN, 40, 6),
        (GOLDEN[:-5], 40, 6),
        (GOLDEN[:-1] + " ", 44, 6),
        ("00000" * 11, 44, 6),
    ],
)
def test_a_damaged_inline_vector_is_noticed(text, size, cardinality):
    with pytest.raises(FileDamagedError):
        vectors.load_vector(MemoryStorage(), VectorDescriptor("i", text, None, size, cardinality))


@given(st.data())
def test_no_bytes_do_more_than_fail(data):
    seed = vectors.serialize(BitMap64(data.draw(positions)))
    damaged = bytearray(seed)
    for at in data.draw(st.lists(st.integers(4, len(seed) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        bitmap = vectors.deserialize(bytes(damaged[: data.draw(st.integers(0, len(seed)))]))
    except ValueError:
        return
    assert len(bitmap) == len(vectors.to_positions(bitmap))


@pytest.mark.parametrize(("kind", "feature"), [("p", "absolutePaths"), ("r", "deletion vector storage type 'r'")])
def test_other_kinds_are_refused_by_name(kind, feature):
    value = {"storageType": kind, "pathOrInlineDv": "s3://b/x.bin", "sizeInBytes": 1, "cardinality": 1}
    with pytest.raises(UnsupportedTableError) as failure:
        VectorDescriptor.from_json(value)
    assert failure.value.feature == feature


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"pathOrInlineDv": "short", "sizeInBytes": 1, "cardinality": 1},
        {"pathOrInlineDv": "^-aqEH.-t@S}K{vb[*k^", "sizeInBytes": -1, "cardinality": 1},
        {"pathOrInlineDv": "^-aqEH.-t@S}K{vb[*k^", "sizeInBytes": None, "cardinality": 1},
    ],
)
def test_a_malformed_descriptor_is_damage(value):
    with pytest.raises(LogDamagedError):
        VectorDescriptor.from_json({"storageType": "u", **value})


def test_an_absent_offset_is_zero_but_another_identity():
    value = {"storageType": "u", "pathOrInlineDv": "^-aqEH.-t@S}K{vb[*k^", "sizeInBytes": 1, "cardinality": 1}
    assert VectorDescriptor.from_json(value).offset == 0
    assert vectors.unique_id(value) == "u^-aqEH.-t@S}K{vb[*k^"
    assert vectors.unique_id({**value, "offset": 1}) == "u^-aqEH.-t@S}K{vb[*k^@1"
    assert vectors.unique_id(None) is None
