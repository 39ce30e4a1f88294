"""Whether a written batch is one that was applied before the table got its present schema."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from andes_spark.batch.parts import Part
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import digest_of
from andes_spark.law.hashing.digest import Digest
from andes_spark.log.mod_files import adapt_rows, read_entry
from andes_spark.model.mod import OP, PRESENT
from andes_spark.schema.versions import SchemaVersion, SchemaVersions
from andes_spark.storage.interface import Storage


def digest_as(storage: Storage, batch: Part, plan: BatchPlan, schemas: SchemaVersions, schema_id: int) -> Digest | None:
    """The digest that a batch has over the columns of an earlier schema.

    Args:
        storage: the table's folder.
        batch: as it was written.
        plan: that it was prepared by.
        schemas: of the table.
        schema_id: the earlier schema.

    Returns:
        None where the batch holds what that schema cannot hold.
    """
    written, wanted = schemas.wanted, schemas.by_id.get(schema_id)
    if wanted is None:
        return None
    total = Digest()
    for entry in batch.mods:
        rows = read_entry(storage, entry, table=plan.table)
        if _has_more(rows, written, wanted):
            return None
        columns = [*wanted.schema.names, OP, *([PRESENT] if entry.partial else [])]
        try:
            rows = adapt_rows(rows, written, wanted, columns)
        except pa.ArrowInvalid:  # a value that only the wider type has
            return None
        total.merge(digest_of(rows, replace(plan, version=wanted)))
    return total


def _has_more(rows: pa.Table, written: SchemaVersion, wanted: SchemaVersion) -> bool:
    """Whether a column that the earlier schema lacks has a value."""
    added = (node.field.name for node in written.nodes if wanted.counterpart(node) is None)
    return any(rows[name].null_count < rows.num_rows for name in added)
