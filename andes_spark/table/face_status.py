"""What readers of other formats see of a table, for its status."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.errors import AndesError
from andes_spark.model.options import ICEBERG
from andes_spark.sync.iceberg.files import file_url
from andes_spark.sync.iceberg.metadata import newest_metadata
from andes_spark.table.open_table import OpenTable


@dataclass(frozen=True)
class FaceStatus:
    """A face that a table's definition asks for.

    Attributes:
        name: format of its readers.
        applied: version of the table that they see; None if there is no face, or it cannot be read.
        behind: number of later versions that the base contains; None without ``applied``.
        metadata: location of the newest metadata file.
        failure: description of what keeps it from following; None if nothing is known.
    """

    name: str
    applied: int | None = None
    behind: int | None = None
    metadata: str | None = None
    failure: str | None = None

    def __str__(self) -> str:
        if self.applied is None:
            text = "nothing is shown yet"
        else:
            text = f"shows version {self.applied}" + (f", {self.behind} behind the base" if self.behind else "")
        return text if self.failure is None else f"{text}; the last synchronization failed: {self.failure}"


def face_statuses(open_table: OpenTable, applied: int) -> tuple[FaceStatus, ...]:
    """Return the status of the faces of a table; three requests in two rounds for one, none without.

    Args:
        open_table: the table.
        applied: version that the base contains.
    """
    if ICEBERG not in open_table.definition.faces:
        return ()
    failure = open_table.face_after_merges.failure
    try:
        newest = newest_metadata(open_table.storage, open_table.table_id)
    except AndesError as error:
        return (FaceStatus(ICEBERG, failure=str(error)),)
    if newest is None:
        return (FaceStatus(ICEBERG, failure=failure),)
    metadata = file_url(open_table.storage, newest.path)
    return (FaceStatus(ICEBERG, newest.applied, max(0, applied - newest.applied), metadata, failure),)
