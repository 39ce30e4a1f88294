"""The raw log: every mod of some versions, as it was committed."""

from __future__ import annotations

import pyarrow as pa

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.errors import OptionError
from andes_spark.law.presence import present_matrix
from andes_spark.log.mod_files import open_entry, read_as
from andes_spark.log.readable import check_readable, check_released, floor_of
from andes_spark.model.events import mods_of
from andes_spark.model.files import Entry
from andes_spark.model.mod import OP, PRESENT
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import pin

_VERSION = "_andes_version"


def mods_schema(inputs: EvaluationInput) -> pa.Schema:
    """Return the columns of the raw log: version, operation, columns that a partial mod carries, then the table's."""
    return pa.schema(
        [
            pa.field(_VERSION, pa.int64(), nullable=False),
            pa.field("_andes_operation", pa.string(), nullable=False),
            pa.field("_andes_columns", pa.list_(pa.string())),
            *(field.with_nullable(True) for field in inputs.shape.arrow),
        ]
    )


def mods(open_table: OpenTable, from_version: int | None, to_version: int | None) -> pa.Table:
    """Return the raw log; see ``ModTable.mods``."""
    head = open_table.log.refresh() if to_version is None else to_version
    open_table.log.refresh()
    floor = floor_of(open_table.log)
    first = min(floor + 1 if floor else 0, head) if from_version is None else from_version
    check_released(open_table.log, first)
    check_readable(open_table.log, head)
    if head < first:
        raise OptionError(f"{open_table.table}: from_version {first} is above to_version {head}", option="from_version")
    snapshot = pin(open_table, None)
    schema = mods_schema(snapshot.inputs)
    tables = [schema.empty_table()]
    for manifest in open_table.log.manifests(first, head):
        for entry in mods_of(manifest.events):
            tables.append(_raw(open_table, entry, manifest.version, snapshot.inputs).cast(schema))
    return pa.concat_tables(tables)


def _raw(open_table: OpenTable, entry: Entry, version: int, inputs: EvaluationInput) -> pa.Table:
    names = inputs.shape.schema.names
    columns = [*names, OP, *([PRESENT] if entry.partial else [])]
    file = open_entry(open_table.storage, entry, table=open_table.table)
    rows = read_as(file, entry, table=open_table.table, schemas=inputs.shape.versions, columns=columns)
    present = present_matrix(rows, len(names))
    carried: list[list[str] | None] = [None] * rows.num_rows
    if present is not None:
        carried = [
            None if row.all() else [name for name, is_present in zip(names, row, strict=True) if is_present]
            for row in present
        ]
    operations = pa.array(["upsert", "delete", "truncate"])
    return pa.table(
        [
            pa.repeat(pa.scalar(version, pa.int64()), rows.num_rows),
            operations.take(rows[OP].combine_chunks()),
            pa.array(carried, pa.list_(pa.string())),
            *(rows[name] for name in names),
        ],
        names=[_VERSION, "_andes_operation", "_andes_columns", *names],
    )
