"""Summary of a snapshot: counts of its files and rows by the names of Iceberg's specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from andes_spark.sync.iceberg.avro import DATA, DELETED
from andes_spark.sync.iceberg.files import Stamp
from andes_spark.sync.iceberg.manifests import Manifest

_COUNTS = (
    "added-data-files",
    "deleted-data-files",
    "added-records",
    "deleted-records",
    "added-files-size",
    "removed-files-size",
    "added-delete-files",
    "removed-delete-files",
    "added-position-deletes",
    "removed-position-deletes",
    "total-data-files",
    "total-records",
    "total-files-size",
    "total-delete-files",
    "total-position-deletes",
    "total-equality-deletes",
)


def summary_of(manifests: Sequence[Manifest], stamp: Stamp) -> dict[str, str]:
    """Return the counts of a snapshot by the names of Iceberg's specification, and its operation."""
    counts = dict.fromkeys(_COUNTS, 0)
    for manifest in manifests:
        for entry in manifest.entries:
            data_file, is_data = entry["data_file"], entry["data_file"]["content"] == DATA
            rows, files = ("records", "data-files") if is_data else ("position-deletes", "delete-files")
            is_new = entry["snapshot_id"] == stamp.snapshot_id
            if entry["status"] == DELETED and not is_new:
                continue
            verbs = []
            if entry["status"] == DELETED:
                verbs.append(("removed" if not is_data else "deleted", "removed"))
            else:
                verbs.append(("total", "total"))
                if is_new:
                    verbs.append(("added", "added"))
            is_vector = not is_data and data_file["file_format"].upper() == "PUFFIN"
            for verb, size_verb in verbs:
                counts[f"{verb}-{files}"] += 1
                if is_vector and verb != "total":
                    counts[f"{verb}-dvs"] = counts.get(f"{verb}-dvs", 0) + 1
                counts[f"{verb}-{rows}"] += data_file["record_count"]
                counts[f"{size_verb}-files-size"] += data_file["file_size_in_bytes"]
    return {"operation": _operation(counts), **{name: str(count) for name, count in counts.items()}}


def _operation(counts: Mapping[str, int]) -> str:
    adds, deletes = counts["added-data-files"], counts["deleted-data-files"] + counts["added-delete-files"]
    if counts["removed-delete-files"] and not counts["deleted-data-files"]:
        return "overwrite"
    if adds and not deletes:
        return "append"
    return "delete" if deletes and not adds else "overwrite"
