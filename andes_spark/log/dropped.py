"""Tables that are dropped: no version follows the one that says so."""

from __future__ import annotations

from andes_spark.errors import NoSuchTableError
from andes_spark.model.events import Drop
from andes_spark.model.manifest import Manifest


def drops(manifest: Manifest) -> bool:
    """Whether a version drops the table."""
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
