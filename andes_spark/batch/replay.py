"""Comparison of a batch with one that was applied under an earlier schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import digest_of
from andes_spark.law.hashing.digest import Digest
from andes_spark.log.mod_files import adapt_rows
from andes_spark.model.mod import OP, PRESENT
from andes_spark.schema.versions import SchemaVersion, SchemaVersions


def digest_as(mods: Iterable[pa.Table], plan: BatchPlan, schemas: SchemaVersions, schema_id: int) -> Digest | None:
    """Compute the digest of a batch over the columns of an earlier schema.

    Args:
        mods: mods of the batch.
        plan: plan of the batch.
        schemas: schemas of the table.
        schema_id: the earlier schema.

    Returns:
        None if the batch has values that the earlier schema cannot hold.
    """
    written, earlier = plan.version, schemas.by_id.get(schema_id)
    if earlier is None:
        return None
    total = Digest()
    for rows in mods:
        if _has_more(rows, written, earlier):
            return None
        columns = [*earlier.schema.names, OP, *([PRESENT] if PRESENT in rows.column_names else [])]
        try:
            adapted = adapt_rows(rows, written, earlier, columns)
        except pa.ArrowInvalid:  # a value that only the wider type has
            return None
        total.merge(digest_of(adapted, replace(plan, version=earlier)))
    return total


def _has_more(rows: pa.Table, written: SchemaVersion, earlier: SchemaVersion) -> bool:
    """Whether a column that the earlier schema lacks has a value."""
    added = (node.field.name for node in written.nodes if earlier.counterpart(node) is None)
    return any(rows[name].null_count < rows.num_rows for name in added)
