"""Row lineage, from format 3 on: each row of a snapshot has an id, by the first one of its data file.

New data files are written without a first row id, and inherit one from their manifest when it is read; the manifest
gets its own in the manifest list. Ids are never used again: ``next-row-id`` of the table metadata counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from andes_spark.sync.iceberg.avro import DATA, DELETED
from andes_spark.sync.iceberg.schemas import Json


def inherited(row: Json, entries: Sequence[Json]) -> Sequence[Json]:
    """Return the entries of a manifest with the first row ids that they inherit from its row in a manifest list."""
    first = row.get("first_row_id")
    if first is None or row["content"] != DATA:
        return entries
    result = []
    for entry in entries:
        if _is_unassigned(entry):
            result.append({**entry, "data_file": {**entry["data_file"], "first_row_id": first}})
            first += entry["data_file"]["record_count"]
        else:
            result.append(entry)
    return result


def unassigned_rows(entries: Iterable[Json]) -> int:
    """Return the number of rows of data files that inherit their ids."""
    return sum(entry["data_file"]["record_count"] for entry in entries if _is_unassigned(entry))


def _is_unassigned(entry: Json) -> bool:
    return entry["status"] != DELETED and entry["data_file"].get("first_row_id") is None
