"""Table metadata of the face: ``v<number>.metadata.json``, whose creation is the commit, and a hint to the newest."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from andes_spark.delta.state import DeltaState
from andes_spark.errors import ForeignWriteError, LogDamagedError, OptionError
from andes_spark.schema.versions import SchemaVersion
from andes_spark.storage.interface import Storage
from andes_spark.sync.iceberg.avro import FORMATS, LINEAGE_FORMAT
from andes_spark.sync.iceberg.files import FACE_FOLDER, file_url
from andes_spark.sync.iceberg.forms import damaged, require_form
from andes_spark.sync.iceberg.manifests import METADATA_FOLDER
from andes_spark.sync.iceberg.names import NO_NAMES, Names, stored_names
from andes_spark.sync.iceberg.schemas import (
    FIRST_PARTITION_ID,
    SPEC_ID,
    Json,
    iceberg_schema,
    partition_spec,
)

HINT = f"{METADATA_FOLDER}/version-hint.text"
APPLIED, VERSION, DELTA_VERSION = "andes.applied", "andes.version", "andes.delta_version"
"""Members of a snapshot's summary."""
TABLE_ID = "andes.table_id"
"""Property of the table metadata."""
_NAME = re.compile(rf"{METADATA_FOLDER}/v(\d{{1,18}})\.metadata\.json")
_MOST_LOGGED = 100
"""Number of earlier metadata files that the newest one names."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_FORM: Json = {
    "format-version": int,
    "location": str,
    "last-sequence-number": int,
    "last-updated-ms": int,
    "current-schema-id": int,
    "schemas": [{"schema-id": int}],
    "partition-specs": [{"fields": [{"name": str, "source-id": int}]}],
    "properties": {},
    "snapshots": [
        {
            "snapshot-id": int,
            "timestamp-ms": int,
            "manifest-list": str,
            "summary": {APPLIED: _NUMBER, DELTA_VERSION: _NUMBER},
        }
    ],
    "snapshot-log": [{"snapshot-id": int}],
    "metadata-log": [{"timestamp-ms": int, "metadata-file": str}],
}
"""Members of a metadata file that the next one is made from."""


@dataclass(frozen=True)
class Shown:
    """What the face is to show: a state of the base, and the table's definition as of it.

    Attributes:
        table_id: id of the table.
        state: state of the base.
        applied: version of the log that the state contains.
        head: newest version of the log.
        floor: oldest version that can be read.
        version: schema with its field ids.
        schemas: all schemas of the table, that one first, later ones before earlier ones.
        last_field_id: greatest field id that any schema used.
        keys: names of the key columns.
        partition_by: names of the partition columns.
        comment: comment of the table.
    """

    table_id: str
    state: DeltaState
    applied: int
    head: int
    floor: int
    version: SchemaVersion
    schemas: tuple[SchemaVersion, ...]
    last_field_id: int
    keys: tuple[str, ...]
    partition_by: tuple[str, ...]
    comment: str | None = None


@dataclass(frozen=True)
class TableMetadata:
    """A metadata file of the face.

    Attributes:
        number: its number.
        document: its content.
    """

    number: int
    document: Json

    @property
    def path(self) -> str:
        """Path of the file in the table's folder."""
        return metadata_path(self.number)

    @property
    def format_version(self) -> int:
        """Version of Iceberg's specification."""
        version: int = self.document["format-version"]
        return version

    @property
    def applied(self) -> int:
        """Version of the log whose rows the newest snapshot has."""
        return int(self.current["summary"][APPLIED])

    @property
    def delta_version(self) -> int:
        """Version of the base that the newest snapshot shows."""
        return int(self.current["summary"][DELTA_VERSION])

    @property
    def next_row_id(self) -> int:
        """Id of the next row that gets one; 0 before format 3."""
        row_id: int = self.document.get("next-row-id", 0)
        return row_id

    @property
    def snapshots(self) -> list[Json]:
        """The snapshots that can be read."""
        snapshots: list[Json] = self.document["snapshots"]
        return snapshots

    @property
    def current(self) -> Json:
        """The newest snapshot."""
        number = self.document["current-snapshot-id"]
        return next(snapshot for snapshot in self.snapshots if snapshot["snapshot-id"] == number)

    def schema(self) -> Json:
        """Return the schema of the newest snapshot."""
        number = self.document["current-schema-id"]
        schemas: list[Json] = self.document["schemas"]
        return next(schema for schema in schemas if schema["schema-id"] == number)


def metadata_path(number: int) -> str:
    """Return the path of a metadata file in the table's folder."""
    return f"{METADATA_FOLDER}/v{number}.metadata.json"


def is_of_catalog(path: str) -> bool:
    """Return whether a file of the face is a metadata file that a catalog wrote."""
    return path.endswith(".metadata.json") and _NAME.fullmatch(path) is None


def has_face(storage: Storage) -> bool:
    """Return whether the table has an Iceberg face; one request."""
    return next(iter(storage.list(METADATA_FOLDER)), None) is not None


def newest_metadata(storage: Storage, table_id: str, known: int | None = None) -> TableMetadata | None:
    """Read the newest metadata file of the face; None if there is none.

    The hint leads to it, or to one before it; without a hint, metadata files are listed.

    Args:
        storage: the table's folder.
        table_id: id of the table.
        known: number of a metadata file that was the newest before, in the place of the hint.

    Raises:
        ForeignWriteError: another writer committed to the face.
        LogDamagedError: the file cannot be decoded; ``path``.
    """
    number = _hinted(storage) if known is None else known
    data, following = _pair(storage, number)
    if data is None:
        matches = (_NAME.fullmatch(info.path) for info in storage.list(METADATA_FOLDER))
        number = max((int(match[1]) for match in matches if match is not None), default=0)
        data, following = _pair(storage, number)
    while data is not None and following is not None:
        number, data = number + 1, following
        following = storage.find(metadata_path(number + 1))
    return None if data is None else _checked(storage, TableMetadata(number, _decoded(data, number)), table_id)


def _hinted(storage: Storage) -> int:
    hint = (storage.find(HINT) or b"").strip()
    return int(hint) if re.fullmatch(rb"\d{1,18}", hint) else 0


def _pair(storage: Storage, number: int) -> tuple[bytes | None, bytes | None]:
    """Read a metadata file and the one after it, beside each other; there is none with the number 0."""
    if not number:
        return None, None
    answers = [storage.scheduler.ask(storage.find, metadata_path(number + later)) for later in (0, 1)]
    return answers[0].result(), answers[1].result()


def continued(storage: Storage, newest: TableMetadata | None, shown: Shown) -> TableMetadata | None:
    """Return the metadata if new snapshots can follow its own; None if the face has to begin anew.

    All locations are absolute, so those of a table that was moved lead nowhere; and there is one name mapping for the
    files of all snapshots, so that a name cannot stand for another column later.
    """
    if newest is None or newest.document["location"] != file_url(storage, FACE_FOLDER):
        return None
    spec = newest.document["partition-specs"][0]["fields"]
    sources = [field["source-id"] for field in partition_spec(shown.version, shown.partition_by)]
    if [field["source-id"] for field in spec] != sources:
        return None
    names = stored_names(newest.document["properties"])
    return None if names is None or names.is_moved(shown.schemas) else newest


def chosen_format(storage: Storage, newest: TableMetadata | None, asked_format: int | None) -> int:
    """Return the format of the next snapshot: at least that of the face, since none leads back.

    Args:
        storage: the table's folder.
        newest: newest metadata of the face; None if there is none.
        asked_format: format that was asked for; None for that of the face, or the first one that can be written.

    Raises:
        OptionError: the face has a later format; ``option``, ``value``.
    """
    least = FORMATS[0] if newest is None else newest.format_version
    if asked_format is not None and asked_format < least:
        raise OptionError(
            f"{storage.url}: the Iceberg face is of format {least}, and none of format {asked_format} can follow; "
            f"leave the format out, or delete the folder {FACE_FOLDER} and synchronize again for a new face",
            option="format",
            value=asked_format,
        )
    return least if asked_format is None else asked_format


def schema_for(before: TableMetadata | None, shown: Shown) -> Json:
    """Return the schema of a snapshot: one of those before if it is the same, else a new one."""
    schemas: list[Json] = [] if before is None else before.document["schemas"]
    for known in schemas:
        if known == iceberg_schema(shown.version, shown.keys, known["schema-id"]):
            return known
    return iceberg_schema(shown.version, shown.keys, max((known["schema-id"] for known in schemas), default=-1) + 1)


def spec_for(before: TableMetadata | None, shown: Shown) -> list[Json]:
    """Return the fields of the partition spec, which never change."""
    if before is None:
        return partition_spec(shown.version, shown.partition_by)
    fields: list[Json] = before.document["partition-specs"][0]["fields"]
    return fields


def names_of(before: TableMetadata | None) -> Names:
    """Return the names by which columns are found in files without field ids."""
    return NO_NAMES if before is None else stored_names(before.document["properties"]) or NO_NAMES


def unexpired(snapshots: Sequence[Json], floor: int) -> list[Json]:
    """Return the snapshots of versions that can still be read. A vacuum keeps their files, and those of the newest."""
    return [snapshot for snapshot in snapshots if int(snapshot["summary"][APPLIED]) >= floor]


def next_document(
    storage: Storage,
    before: TableMetadata | None,
    shown: Shown,
    schema: Json,
    names: Names,
    snapshot: Json,
    *,
    number: int,
    format_version: int,
) -> Json:
    """Return the metadata with one more snapshot, without those that expired.

    Args:
        storage: the table's folder.
        before: metadata that it follows; None for a new face.
        shown: what the snapshot shows.
        schema: its schema.
        names: names of columns in files without field ids.
        snapshot: the snapshot.
        number: number of the new metadata file.
        format_version: version of Iceberg's specification.
    """
    old: Json = {} if before is None else before.document
    schemas = [known for known in old.get("schemas", ()) if known["schema-id"] != schema["schema-id"]]
    snapshots = [*unexpired(old.get("snapshots", ()), shown.floor), snapshot]
    known = {known["snapshot-id"] for known in snapshots}
    now, spec = snapshot["timestamp-ms"], spec_for(before, shown)
    oldest = min(known["timestamp-ms"] for known in snapshots)
    logged = [] if before is None else [*old["metadata-log"], _logged(storage, before)]
    document = {
        "format-version": format_version,
        "table-uuid": old.get("table-uuid", str(uuid.uuid4())),
        "location": file_url(storage, FACE_FOLDER),
        "last-sequence-number": snapshot["sequence-number"],
        "last-updated-ms": now,
        "last-column-id": max(shown.last_field_id, old.get("last-column-id", 0)),
        "current-schema-id": schema["schema-id"],
        "schemas": sorted([*schemas, schema], key=lambda known: known["schema-id"]),
        "default-spec-id": SPEC_ID,
        "partition-specs": [{"spec-id": SPEC_ID, "fields": spec}],
        "last-partition-id": FIRST_PARTITION_ID - 1 + len(spec),
        "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": _properties(shown, names),
        "current-snapshot-id": snapshot["snapshot-id"],
        "refs": {"main": {"snapshot-id": snapshot["snapshot-id"], "type": "branch"}},
        "snapshots": snapshots,
        "snapshot-log": [
            *(entry for entry in old.get("snapshot-log", ()) if entry["snapshot-id"] in known),
            {"timestamp-ms": now, "snapshot-id": snapshot["snapshot-id"]},
        ],
        "metadata-log": [entry for entry in logged if entry["timestamp-ms"] >= oldest][-_MOST_LOGGED:],
    }
    if format_version >= LINEAGE_FORMAT:
        document["next-row-id"] = snapshot["first-row-id"] + snapshot["added-rows"]
    return document


def _logged(storage: Storage, before: TableMetadata) -> Json:
    return {"timestamp-ms": before.document["last-updated-ms"], "metadata-file": file_url(storage, before.path)}


def _properties(shown: Shown, names: Names) -> dict[str, str]:
    properties = {
        **names.properties(),
        # The files are the base's: DROP TABLE PURGE and expiry of other writers must not delete them.
        "gc.enabled": "false",
        TABLE_ID: shown.table_id,
    }
    return properties if shown.comment is None else {**properties, "comment": shown.comment}


def _decoded(data: bytes, number: int) -> Json:
    try:
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
    except (ValueError, RecursionError) as error:
        path = metadata_path(number)
        raise LogDamagedError(
            f"{path} cannot be decoded: {error}; delete the folder {FACE_FOLDER} and synchronize again", path=path
        ) from error
    return document


def _checked(storage: Storage, metadata: TableMetadata, table_id: str) -> TableMetadata:
    """Refuse a commit of another writer, whose rows are not the table's, and metadata that is damaged."""
    document, path = metadata.document, metadata.path
    properties = document.get("properties")
    if isinstance(properties, dict) and properties.get(TABLE_ID) == table_id:
        snapshots, number = document.get("snapshots") or [], document.get("current-snapshot-id")
        require_form(snapshots, [{"snapshot-id": int}], path)
        current = [snapshot for snapshot in snapshots if snapshot["snapshot-id"] == number]
        is_known = document.get("format-version") in FORMATS
        if is_known and len(current) == 1 and APPLIED in (current[0].get("summary") or ()):
            _require_whole(metadata)
            return metadata
    raise ForeignWriteError(
        f"{storage.url}: another writer committed {metadata.path} to the Iceberg face, which is for reading only; its "
        f"changes are not part of the table. Delete the folder {FACE_FOLDER} and synchronize again",
        table=storage.url,
    )


def _require_whole(metadata: TableMetadata) -> None:
    document, path = metadata.document, metadata.path
    require_form(document, _FORM, path)
    if not document["partition-specs"]:
        raise damaged(path, "partition-specs is empty")
    if document["current-schema-id"] not in [schema["schema-id"] for schema in document["schemas"]]:
        raise damaged(path, "the current schema is missing")
    try:
        stored_names(document["properties"])
    except ValueError as error:
        raise damaged(path, f"the name mapping cannot be decoded: {error}") from error
