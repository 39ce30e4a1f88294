"""Tables by their names in a catalog: that of a Spark session, or Glue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from andes_spark.errors import ForeignWriteError, NoSuchTableError
from andes_spark.sync.glue.client import glue_api
from andes_spark.sync.glue.entry import TABLE_ID
from andes_spark.sync.glue.names import GlueName
from andes_spark.sync.iceberg.files import FACE_FOLDER


@dataclass(frozen=True)
class Named:
    """What a catalog says of a table.

    Attributes:
        name: name of the table in the catalog.
        location: folder of the table: a path or a URL.
        table_id: id of the table, if the catalog has it.
    """

    name: str
    location: str
    table_id: str | None = None

    def check(self, table_id: str) -> None:
        """Check that the table in the folder is the one that the catalog shows.

        Raises:
            ForeignWriteError: it is another one.
        """
        if self.table_id not in (None, table_id):
            raise ForeignWriteError(
                f"{self.name} in Glue is of a table that was in {self.location} before: another one is there now. "
                "Delete the entry, or take it over by sync_glue with adopt",
                table=self.location,
                problems=("it is of another table of this library",),
            )


def find_named(
    session: Any, name: str, access: Mapping[str, str] | None, *, endpoint: str | None, region: str | None
) -> Named:
    """Find a table by its name; see ``ModTable.for_name``."""
    if session is not None:
        from andes_spark.spark.catalog import location_of

        location = location_of(session, name)
        if location is None:
            raise NoSuchTableError(f"the catalog of the session has no table {name} with a location", table=name)
        return Named(name, _folder(location))
    entry = glue_api(access or {}, endpoint=endpoint, region=region).table(GlueName.parse(name))
    location = None if entry is None else (entry.get("StorageDescriptor") or {}).get("Location")
    if entry is None or not location:
        raise NoSuchTableError(f"Glue has no table {name} with a location", table=name)
    return Named(name, _folder(location), (entry.get("Parameters") or {}).get(TABLE_ID))


def _folder(location: str) -> str:
    """The Iceberg form is located at the face, within the folder of the table."""
    return location.rstrip("/").removesuffix(f"/{FACE_FOLDER}")
