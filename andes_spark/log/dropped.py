"""Tables that are dropped: no version follows the one that says so."""

from __future__ import annotations

from andes_spark.errors import DamagedError, NoSuchTableError
from andes_spark.model.events import Drop
from andes_spark.model.manifest import Manifest, decode_manifest, manifest_path
from andes_spark.storage.interface import Storage


def drops(manifest: Manifest) -> bool:
    """Return whether a version drops the table."""
    return any(isinstance(event, Drop) for event in manifest.events)


def refuse_dropped(table: str, manifest: Manifest) -> None:
    """Refuse a table that was dropped.

    Raises:
        NoSuchTableError: the version says so.
    """
    if drops(manifest):
        raise NoSuchTableError(
            f"{table}: version {manifest.version} dropped the table; ModTable.drop_folder() removes what is left of it",
            table=table,
        )


def refuse_gone(storage: Storage, table_id: str) -> None:
    """Refuse a table that was in a folder before; one request, and a listing if manifest 0 is missing.

    A log that has lost some of its files is damaged, not gone.

    Raises:
        NoSuchTableError: the folder has no log any more, or that of another table.
    """
    data = storage.find(manifest_path(0))
    if data is None:
        if next(storage.list("_andes"), None) is None:
            raise NoSuchTableError(
                f"{storage.url}: the table is gone: it was dropped, or its folder deleted, after it was opened",
                table=storage.url,
            )
        return
    try:
        first = decode_manifest(data, table=storage.url, version=0)
    except DamagedError:
        return  # which of the tables it was is not known
    if first.table_id != table_id:
        raise NoSuchTableError(
            f"{storage.url}: the table is gone, and another one was made here after it was opened; open that one",
            table=storage.url,
        )
