"""Copies of objects from one table's folder to another."""

from __future__ import annotations

from andes_spark.errors import FileDamagedError
from andes_spark.storage.interface import Storage

_BLOCK_BYTES = 8 * 1024 * 1024


def copy_object(source: Storage, path: str, target: Storage, new_path: str, *, size: int | None = None) -> int:
    """Copy an object; by the store itself where both folders are in one bucket.

    Args:
        source: folder of the object.
        path: its path there.
        target: folder of the copy.
        new_path: path of the copy there, a new name.
        size: size that the object must have; None for any.

    Returns:
        Number of bytes.

    Raises:
        NotFoundError: the object does not exist.
        FileDamagedError: it has another size.
    """
    stored = source.size(path) if size is None else size
    by_store = getattr(target, "copy_from", None)
    if by_store is not None and stored is not None and by_store(source, path, new_path, stored):
        copied = target.size(new_path) or 0
    else:
        with source.open_input(path) as data, target.open_output(new_path) as copy:
            while block := data.read_buffer(_BLOCK_BYTES):
                copy.write(memoryview(block))
        copied = copy.bytes_written
    if size is not None and copied != size:
        raise FileDamagedError(
            f"{source.url}: {path} has {copied} bytes, {size} were committed; restore it from a backup",
            table=source.url,
            path=path,
        )
    return copied
