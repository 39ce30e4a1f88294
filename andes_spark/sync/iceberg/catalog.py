"""Names of the face in catalogs of Iceberg, by PyIceberg: any catalog that it knows, ``rest``, ``glue``, ``sql``...

A name begins with the face's own metadata file. From then on the catalog writes metadata files of its own beside those
of the face, over the same manifests: a commit names what the catalog lacks, and holds only if its table is as it was
read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from andes_spark.errors import (
    AndesError,
    CommitConflictError,
    CommitUnknownError,
    ForeignWriteError,
    MissingPackageError,
    StorageError,
    TableExistsError,
    UnsupportedTableError,
)
from andes_spark.sync.iceberg.metadata import APPLIED, TABLE_ID, TableMetadata

_MAIN = "main"
_REMEDY = "drop the table in the catalog, without its files, and synchronize again"


@dataclass(frozen=True)
class CatalogName:
    """Name of a table in a catalog.

    Attributes:
        name: dotted name with its namespace.
        catalog: name of the catalog in PyIceberg's configuration; None for the default one.
        properties: properties of the catalog, which precede that configuration.
    """

    name: str
    catalog: str | None
    properties: Mapping[str, str]

    def __str__(self) -> str:
        return self.name if self.catalog is None else f"{self.name} of catalog {self.catalog}"


class CatalogTable:
    """The face as a table of a catalog.

    Args:
        name: its name.
        table: URL of the table, for messages.

    Raises:
        MissingPackageError: PyIceberg is not installed.
        StorageError: the catalog is not configured, or cannot be reached.
    """

    def __init__(self, name: CatalogName, table: str) -> None:
        try:
            import pyiceberg.catalog
        except ImportError as error:
            raise MissingPackageError(
                "a name in a catalog needs PyIceberg, which is not installed: "
                "pip install 'andes_spark[iceberg-catalog]'",
                package="pyiceberg",
            ) from error
        self._name = name
        self._url = table
        with self._naming_catalog():
            self._catalog = pyiceberg.catalog.load_catalog(name.catalog, **name.properties)

    def publish(self, face: TableMetadata, location: str, *, attempts: int) -> bool:
        """Make the newest snapshot of the face that of the catalog's table; return whether something was committed.

        Args:
            face: newest metadata of the face.
            location: location of the metadata file.
            attempts: number of commits that other writers may win.

        Raises:
            TableExistsError: the name is that of another table, or of an earlier face.
            ForeignWriteError: another writer committed to the table in the catalog.
            UnsupportedTableError: the catalog cannot take the snapshot.
            CommitConflictError: other writers were first each time.
            CommitUnknownError: the catalog did not tell whether the commit succeeded.
            StorageError: the catalog cannot be reached, or refuses the commit.
        """
        from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, TableAlreadyExistsError
        from pyiceberg.table.metadata import TableMetadataUtil

        self._require_writable(face.format_version)
        shown = TableMetadataUtil.parse_obj(face.document)
        for _ in range(attempts):
            with self._naming_catalog():
                catalog_table = self._find()
                try:
                    if catalog_table is None:
                        self._register(location)
                        return True
                    updates = self._updates(shown, catalog_table.metadata)
                    if updates:
                        self._catalog.commit_table(catalog_table, _requirements(catalog_table.metadata), tuple(updates))
                    return bool(updates)
                except (CommitFailedException, TableAlreadyExistsError):
                    continue
                except CommitStateUnknownException as error:
                    raise CommitUnknownError(
                        f"{self._url}: the catalog did not tell whether {self._name} was changed; synchronize again",
                        table=self._url,
                    ) from error
        raise CommitConflictError(
            f"{self._url}: other writers were first {attempts} times to change {self._name}; synchronize again",
            table=self._url,
        )

    def _find(self) -> Any:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._catalog.load_table(self._name.name)
        except NoSuchTableError:
            return None
        except FileNotFoundError as error:
            raise TableExistsError(
                f"{self._url}: {self._name} names metadata that is missing, as of a face that was deleted; {_REMEDY}",
                table=self._url,
            ) from error

    def _register(self, location: str) -> None:
        namespace = self._catalog.namespace_from(self._name.name)
        self._catalog.create_namespace_if_not_exists(namespace)
        self._catalog.register_table(self._name.name, location)

    def _updates(self, shown: Any, stored: Any) -> list[Any]:
        """Return what the stored metadata of the catalog lacks of what the face shows, in PyIceberg's classes."""
        from pyiceberg.table import update

        self._refuse_others(shown, stored)
        if stored.last_sequence_number > shown.last_sequence_number:
            return []  # a later synchronization was here
        updates: list[Any] = []
        if stored.format_version < shown.format_version:
            updates.append(update.UpgradeFormatVersionUpdate(format_version=shown.format_version))
        known = {schema.schema_id for schema in stored.schemas}
        updates += [update.AddSchemaUpdate(schema=schema) for schema in shown.schemas if schema.schema_id not in known]
        if stored.current_schema_id != shown.current_schema_id:
            updates.append(update.SetCurrentSchemaUpdate(schema_id=shown.current_schema_id))
        lacking = [snapshot for snapshot in shown.snapshots if snapshot.sequence_number > stored.last_sequence_number]
        lacking.sort(key=lambda snapshot: snapshot.sequence_number)
        updates += [update.AddSnapshotUpdate(snapshot=snapshot) for snapshot in lacking]
        if stored.current_snapshot_id != shown.current_snapshot_id:
            main = {"ref_name": _MAIN, "type": "branch", "snapshot_id": shown.current_snapshot_id}
            updates.append(update.SetSnapshotRefUpdate(**main))
        readable = {snapshot.snapshot_id for snapshot in shown.snapshots}
        expired = [snapshot.snapshot_id for snapshot in stored.snapshots if snapshot.snapshot_id not in readable]
        if expired:
            updates.append(update.RemoveSnapshotsUpdate(snapshot_ids=expired))
        # The comment may be the owner's in the catalog.
        changed = {
            name: value
            for name, value in shown.properties.items()
            if stored.properties.get(name) != value and not (name == "comment" and name in stored.properties)
        }
        if changed:
            updates.append(update.SetPropertiesUpdate(updates=changed))
        return updates

    def _require_writable(self, format_version: int) -> None:
        """Refuse a format whose metadata PyIceberg does not write; in a REST catalog the server does."""
        from pyiceberg.catalog.rest import RestCatalog
        from pyiceberg.table.metadata import SUPPORTED_TABLE_FORMAT_VERSION

        if isinstance(self._catalog, RestCatalog) or format_version <= SUPPORTED_TABLE_FORMAT_VERSION:
            return
        raise UnsupportedTableError(
            f"{self._url}: the face has format {format_version}, and this PyIceberg writes metadata up to format "
            f"{SUPPORTED_TABLE_FORMAT_VERSION} into {self._name}; use a REST catalog, whose server writes it, or "
            "a face of format 2",
            table=self._url,
            feature=f"iceberg: format {format_version} in a catalog",
        )

    def _refuse_others(self, shown: Any, stored: Any) -> None:
        if stored.properties.get(TABLE_ID) != shown.properties[TABLE_ID]:
            raise TableExistsError(
                f"{self._url}: {self._name} is another table, at {stored.location}; choose another name, or drop it",
                table=self._url,
            )
        if stored.table_uuid != shown.table_uuid:
            raise TableExistsError(
                f"{self._url}: {self._name} is an earlier face of this table, and the face began anew since; {_REMEDY}",
                table=self._url,
            )
        foreign = _foreign_change(shown, stored)
        if foreign is not None:
            raise ForeignWriteError(
                f"{self._url}: another writer changed {self._name}: {foreign}; the Iceberg face is for reading only, "
                f"and the change is not part of the table. To keep its rows, apply them first; then {_REMEDY}",
                table=self._url,
            )

    @contextmanager
    def _naming_catalog(self) -> Iterator[None]:
        """Name the catalog in errors of PyIceberg and of the packages that it uses."""
        try:
            yield
        except AndesError:
            raise
        except Exception as error:
            raise StorageError(
                f"{self._url}: {self._name} cannot be reached, or refuses: {type(error).__name__}: {error}; the face "
                "itself does not depend on it; mend it and synchronize again",
                table=self._url,
            ) from error


def _foreign_change(shown: Any, stored: Any) -> str | None:
    """Say what another writer changed in the catalog's table; None if nothing that counts."""
    for snapshot in stored.snapshots:
        summary = {} if snapshot.summary is None else snapshot.summary.additional_properties
        if APPLIED not in summary:
            return f"snapshot {snapshot.snapshot_id} is none of this library"
    if stored.current_snapshot_id is None:
        return "it has no snapshot any more"
    if stored.format_version > shown.format_version and stored.last_sequence_number <= shown.last_sequence_number:
        return f"it is of format {stored.format_version}"
    schemas = {schema.schema_id: schema for schema in shown.schemas}
    is_older = stored.last_sequence_number <= shown.last_sequence_number
    for schema in stored.schemas:
        if is_older and schemas.get(schema.schema_id) != schema:
            return f"schema {schema.schema_id} is none of the face"
    if stored.default_spec_id != shown.default_spec_id:
        return "its partition spec"
    return None


def _requirements(stored: Any) -> tuple[Any, ...]:
    """What must not have changed when a commit arrives."""
    from pyiceberg.table import update

    return (
        update.AssertTableUUID(uuid=stored.table_uuid),
        update.AssertRefSnapshotId(ref=_MAIN, snapshot_id=stored.current_snapshot_id),
        update.AssertCurrentSchemaId(current_schema_id=stored.current_schema_id),
        update.AssertDefaultSpecId(default_spec_id=stored.default_spec_id),
    )
