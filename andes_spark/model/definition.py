"""The definition of a table: its schemas, keys and policies."""

from __future__ import annotations

from typing import Any

from andes_spark.errors import LogDamagedError, UnsupportedTableError
from andes_spark.model.documents import Document


class TableSchema(Document, frozen=True):
    """A current or earlier schema of the table; files refer to it by id.

    Attributes:
        id: id of the schema, ascending with each change.
        struct: Spark's StructType JSON.
        field_ids: field ids of the columns and of all parts of nested types, depth first: the id of a column is
            followed by those of its fields, its element, or its key and value. The id of a column never changes and
            is never used again.
    """

    id: int
    struct: str
    field_ids: tuple[int, ...]


class Definition(Document, frozen=True):
    """Definition of a table; each change of it is a version of the log.

    Attributes:
        schemas: schemas of the table's files, by ascending id.
        schema_id: id of the current schema.
        last_field_id: greatest field id used so far.
        primary_key: names of the key columns, in order.
        sequence_by: names of the sequence columns, in order; empty: the version is the sequence.
        partition_by: names of the partition columns of the base.
        merge: ``"always"``, ``"manual"`` or a staleness such as ``"15 minutes"``.
        lateness: minimum retention of tombstones.
        batch_retention: minimum retention of batch ids.
        deletion_vectors: whether merges mark rows as deleted instead of rewriting their files.
        comment: free text.
        properties: user-defined names and values.
        faces: formats other than Delta whose readers are shown each merge: ``"iceberg"``; releases that do not know the
            member leave their metadata as it is.
        row_needs: reserved (feature ``columnSequences``): condition for the visibility of a row of partial mods.
        stored_as_scd_type: reserved (feature ``scd2``): 2 keeps the history of rows.
        tracked: reserved (feature ``scd2``): field ids of the columns whose changes start a new row.
        merge_kind: reserved (features ``firstRow``, ``aggregates``): rule for combining the mods of one key.
    """

    schemas: tuple[TableSchema, ...]
    schema_id: int
    last_field_id: int
    primary_key: tuple[str, ...]
    sequence_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    merge: str = "always"
    lateness: str = "30 days"
    batch_retention: str = "30 days"
    deletion_vectors: bool = True
    comment: str | None = None
    properties: dict[str, str] = {}
    faces: tuple[str, ...] = ()
    row_needs: str = "required"
    stored_as_scd_type: int = 1
    tracked: list[int] | None = None
    merge_kind: str = "mods"

    @property
    def schema(self) -> str:
        """The current schema, as Spark's StructType JSON."""
        return next(schema.struct for schema in self.schemas if schema.id == self.schema_id)


def check_definition(definition: Definition, **fields: Any) -> None:
    """Refuse unsupported or inconsistent definitions.

    Raises:
        UnsupportedTableError: a reserved field is in use; ``feature``.
        LogDamagedError: the current schema is not among the schemas.
    """
    if definition.schema_id not in {schema.id for schema in definition.schemas}:
        raise LogDamagedError(
            f"{fields['table']}: the definition in version {fields['version']} lacks its schema "
            f"{definition.schema_id}; restore the manifest",
            **fields,
        )
    reserved = {
        "columnSequences": definition.row_needs != "required",
        "scd2": definition.stored_as_scd_type != 1 or definition.tracked is not None,
        definition.merge_kind: definition.merge_kind != "mods",
    }
    for feature, used in reserved.items():
        if used:
            raise UnsupportedTableError(
                f"{fields['table']}: the table's definition asks for {feature}, which this release does not know; "
                "install a newer andes_spark",
                feature=feature,
                **fields,
            )
