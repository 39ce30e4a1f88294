"""Deletion vectors: the deleted rows of a data file.

Format: the Delta protocol, "Deletion Vectors" and "Deletion Vector Format". A vector is a 64-bit Roaring
bitmap of row positions in the portable form, after a magic number (both little-endian), inline in the
log or, with its size and CRC-32 (big-endian), in a file that several vectors share.
"""

from __future__ import annotations

import array
import struct
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from andes_spark.delta import z85
from andes_spark.errors import FileDamagedError, LogDamagedError, NotFoundError, UnsupportedTableError

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage

MAGIC = 1681511377
FILE_VERSION = b"\x01"

_ENCODED_UUID = 20
_MAX_POSITION = (1 << 63) - 1


@dataclass(frozen=True)
class VectorDescriptor:
    """Place of a vector (``deletionVector`` of ``add`` and ``remove``).

    Attributes:
        storage_type: ``u``, a file beside the data named by a UUID, or ``i``, inline.
        path_or_inline: Z85 of that UUID after an optional folder, or Z85 of the vector itself.
        offset: position of the vector in its file; None if inline.
        size: bytes of the vector, without its checksum.
        cardinality: number of deleted rows.
    """

    storage_type: str
    path_or_inline: str
    offset: int | None
    size: int
    cardinality: int

    @property
    def unique_id(self) -> str:
        """Identifier of the vector within its data file (protocol: ``uniqueId``)."""
        return _unique_id(self.storage_type, self.path_or_inline, self.offset)

    @property
    def file_path(self) -> str | None:
        """Path of the file within the table, None if inline."""
        if self.storage_type == "i":
            return None
        folder, encoded = self.path_or_inline[:-_ENCODED_UUID], self.path_or_inline[-_ENCODED_UUID:]
        name = f"deletion_vector_{uuid.UUID(bytes=z85.decode(encoded, 16))}.bin"
        return f"{folder}/{name}" if folder else name

    def to_json(self) -> dict[str, Any]:
        """Convert the descriptor to its form in the log."""
        value: dict[str, Any] = {
            "storageType": self.storage_type,
            "pathOrInlineDv": self.path_or_inline,
            "sizeInBytes": self.size,
            "cardinality": self.cardinality,
        }
        if self.offset is not None:
            value["offset"] = self.offset
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VectorDescriptor:
        """Read a descriptor of the log.

        Raises:
            LogDamagedError: a field is missing or malformed.
            UnsupportedTableError: a vector at an absolute path, or of an unknown kind; ``feature``.
        """
        kind = value.get("storageType")
        if kind not in ("u", "i"):
            raise UnsupportedTableError(
                f"a deletion vector of storage type {kind!r}: only vectors inline or beside the data are "
                "supported; rewrite the table's files with REORG TABLE ... APPLY (PURGE)",
                feature="absolutePaths" if kind == "p" else f"deletion vector storage type {kind!r}",
            )
        try:
            offset = value.get("offset")
            descriptor = cls(
                kind,
                str(value["pathOrInlineDv"]),
                None if kind == "i" else int(offset or 0),
                int(value["sizeInBytes"]),
                int(value["cardinality"]),
            )
            descriptor.file_path  # noqa: B018 - decodes the name
        except (KeyError, TypeError, ValueError) as error:
            raise LogDamagedError(f"a deletion vector that cannot be read: {error}") from error
        if descriptor.size < 0 or descriptor.cardinality < 0 or (descriptor.offset or 0) < 0:
            raise LogDamagedError(f"a deletion vector with a negative size: {descriptor}")
        return descriptor


def unique_id(value: Mapping[str, Any] | None) -> str | None:
    """Return ``uniqueId`` of a raw descriptor of any storage type, None for no vector."""
    if value is None:
        return None
    return _unique_id(str(value.get("storageType")), str(value.get("pathOrInlineDv")), value.get("offset"))


def _unique_id(storage_type: str, path_or_inline: str, offset: int | None) -> str:
    return f"{storage_type}{path_or_inline}" + ("" if offset is None else f"@{offset}")


def from_positions(positions: npt.NDArray[np.integer[Any]]) -> BitMap64:
    """Build a bitmap of row positions (any order, duplicates allowed, none negative)."""
    # An array.array is read through the buffer protocol, which is faster than iteration.
    return BitMap64(array.array("Q", np.ascontiguousarray(positions, dtype=np.uint64).tobytes()))


def to_positions(bitmap: BitMap64) -> npt.NDArray[np.int64]:
    """Return the row positions of a bitmap, ascending."""
    return np.frombuffer(bitmap.to_array(), dtype=np.uint64).astype(np.int64)


def serialize(bitmap: BitMap64) -> bytes:
    """Serialize to magic number and portable form; ``bitmap`` is run-length encoded in place if that is smaller."""
    bitmap.run_optimize()
    return struct.pack("<i", MAGIC) + bitmap.serialize()


def deserialize(data: bytes) -> BitMap64:
    """Read the result of ``serialize``.

    Raises:
        ValueError: another format, or bytes that are no bitmap.
    """
    if len(data) < 12 or struct.unpack_from("<i", data)[0] != MAGIC:
        raise ValueError("the magic number of a deletion vector is missing")
    if struct.unpack_from("<q", data, 4)[0] < 0:
        raise ValueError("a negative number of bitmaps")
    bitmap: BitMap64 = BitMap64.deserialize(data[4:])
    if bitmap and bitmap.max() > _MAX_POSITION:
        raise ValueError("a position above 63 bits")
    return bitmap


def load_vector(storage: Storage, descriptor: VectorDescriptor) -> BitMap64:
    """Read one vector and verify size, checksum and cardinality.

    Raises:
        FileDamagedError: the vector is missing or does not match the log; ``path``.
    """
    with _of_table(storage):
        path = descriptor.file_path
        if path is None:
            return _decode(_inline_bytes(descriptor), descriptor, "inline")
        begin = descriptor.offset or 0
        try:
            with storage.open_input(path) as source:
                if begin > source.size():
                    raise _damaged(path, f"it ends before the vector at {begin} begins")
                source.seek(begin)
                block = source.read(descriptor.size + 8)
        except NotFoundError as error:
            raise _damaged(path, "the file is missing") from error
        return _decode(_checked(block, descriptor, path), descriptor, path)


def load_vectors(storage: Storage, descriptors: Mapping[str, VectorDescriptor]) -> dict[str, BitMap64]:
    """Read many vectors; a file shared by several is read once.

    Args:
        storage: the table's folder.
        descriptors: by data file (any key serves).

    Raises:
        FileDamagedError: as ``load_vector``.
    """
    by_file: defaultdict[str | None, list[str]] = defaultdict(list)
    for key, descriptor in descriptors.items():
        by_file[descriptor.file_path].append(key)
    bitmaps: dict[str, BitMap64] = {}
    for path, keys in by_file.items():
        if path is None or len(keys) == 1:
            bitmaps.update((key, load_vector(storage, descriptors[key])) for key in keys)
            continue
        with _of_table(storage):
            content = storage.find(path)
            if content is None:
                raise _damaged(path, "the file is missing")
            for key in keys:
                descriptor = descriptors[key]
                begin = descriptor.offset or 0
                block = content[begin : begin + descriptor.size + 8]
                bitmaps[key] = _decode(_checked(block, descriptor, path), descriptor, path)
    return bitmaps


@contextmanager
def _of_table(storage: Storage) -> Iterator[None]:
    """Add the table to an error about a vector."""
    try:
        yield
    except FileDamagedError as error:
        fields = {**error.fields, "table": storage.url}
        raise FileDamagedError(f"{storage.url}: {error.message}", **fields) from error


def write_vectors(storage: Storage, vectors: Mapping[str, BitMap64]) -> dict[str, VectorDescriptor]:
    """Store vectors, packed into one new file; none inline, since Delta's VACUUM fails on those.

    Args:
        storage: the table's folder.
        vectors: by data file (any key serves); none empty.

    Returns:
        A descriptor for every key. The file is durable.
    """
    descriptors: dict[str, VectorDescriptor] = {}
    name = uuid.uuid4()
    encoded = z85.encode(name.bytes)
    parts: list[bytes] = [FILE_VERSION]
    offset = len(FILE_VERSION)
    for key, bitmap in vectors.items():
        if not bitmap:
            raise ValueError(f"an empty deletion vector for {key!r}")
        data = serialize(bitmap)
        descriptors[key] = VectorDescriptor("u", encoded, offset, len(data), len(bitmap))
        parts += [struct.pack(">I", len(data)), data, struct.pack(">I", zlib.crc32(data))]
        offset += len(data) + 8
    if len(parts) > 1:
        _write_file(storage, f"deletion_vector_{name}.bin", parts)
    return descriptors


def _write_file(storage: Storage, path: str, parts: Iterable[bytes]) -> None:
    with storage.open_output(path) as sink:
        sink.write(b"".join(parts))


def _inline_bytes(descriptor: VectorDescriptor) -> bytes:
    try:
        return z85.decode(descriptor.path_or_inline, descriptor.size)
    except ValueError as error:
        raise _damaged("inline", str(error)) from error


def _checked(block: bytes, descriptor: VectorDescriptor, path: str) -> bytes:
    if len(block) != descriptor.size + 8:
        raise _damaged(path, f"it ends before the vector at {descriptor.offset} does")
    if struct.unpack_from(">I", block)[0] != descriptor.size:
        raise _damaged(path, f"the vector at {descriptor.offset} has another size than the log says")
    data = block[4:-4]
    if struct.unpack(">I", block[-4:])[0] != zlib.crc32(data):
        raise _damaged(path, f"the checksum of the vector at {descriptor.offset} is wrong")
    return data


def _decode(data: bytes, descriptor: VectorDescriptor, path: str) -> BitMap64:
    try:
        bitmap = deserialize(data)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if len(bitmap) != descriptor.cardinality:
        raise _damaged(path, f"the vector has {len(bitmap)} rows, the log says {descriptor.cardinality}")
    return bitmap


def _damaged(path: str, problem: str) -> FileDamagedError:
    return FileDamagedError(
        f"deletion vector {path}: {problem}; restore the file from a backup, or rebuild the table from its log",
        path=path,
    )
