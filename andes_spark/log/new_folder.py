"""The store of a new table: its time, and whether a conditional put keeps the object that is there."""

from __future__ import annotations

import uuid

from andes_spark.errors import UnsupportedTableError
from andes_spark.storage.interface import ObjectInfo, PutOutcome, Storage

PROBE = "_andes_probe-"
"""Begin of the name of the object that a create puts, and deletes again."""


def probe(storage: Storage) -> ObjectInfo | None:
    """Put an object, and put it again on the condition that there is none; return what the store tells of it.

    Raises:
        UnsupportedTableError: the store ignored the condition, so that writers would overwrite each other's versions.
    """
    path = f"{PROBE}{uuid.uuid4().hex}"
    storage.put(path, b"{}", sync=False)
    try:
        second = storage.scheduler.start(storage.put_if_absent, path, b"{}")
        info = storage.info(path)
        if second.result() is PutOutcome.CREATED:
            raise UnsupportedTableError(
                f"{storage.url}: the store replaced an object that was to be created only if absent (If-None-Match), "
                "so that writers would overwrite each other's versions; nothing was created. Use Amazon S3, a service "
                "or a release of it that honours this condition on PUT, or a local disk",
                feature="conditional put",
                url=storage.url,
            )
        return info
    finally:
        storage.delete([path])
