"""Changes of the schema that a batch needs: columns that the table lacks, and types that are wider than its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from andes_spark.batch.write import ArrowRows, PartWriter, Source
from andes_spark.errors import SchemaMismatchError
from andes_spark.model.definition import Definition
from andes_spark.model.options import ApplyOptions
from andes_spark.schema import casts
from andes_spark.schema.evolution import Path
from andes_spark.schema.names import resolve
from andes_spark.schema.schema import Array, DataType, Map, Schema, Struct
from andes_spark.table.evolution.definitions import Defined
from andes_spark.table.open_table import OpenTable, shape_of
from andes_spark.table.verbs.batch_plan import plan_batch

if TYPE_CHECKING:
    from andes_spark.spark.frames import FrameRows

Difference: TypeAlias = tuple[Path, DataType, bool]
"""Path, type, and whether the column is there, with a narrower type."""


@dataclass(frozen=True)
class _Checked:
    """A source of rows whose columns are known before its rows are read.

    Attributes:
        source: the rows.
        schema: their columns.
        empty: no rows, with the columns of Arrow tables; None for a DataFrame.
    """

    source: Source
    schema: Schema
    empty: pa.Table | None = None

    @classmethod
    def of(cls, source: Source) -> _Checked:
        if not isinstance(source, ArrowRows):
            frame = source.frame  # type: ignore[attr-defined]
            return cls(source, Schema.from_json(frame.schema.json()))
        tables = iter(source.tables)
        first = next(tables)
        return cls(replace(source, tables=chain([first], tables)), Schema.from_arrow(first.schema), first.slice(0, 0))

    def difference(self, open_table: OpenTable, defined: Defined, options: ApplyOptions) -> SchemaMismatchError | None:
        """Compare the columns with those of a definition. Runs no Spark job."""
        plan = plan_batch(open_table.table, shape_of(defined.definition, open_table.table), options)
        try:
            if isinstance(self.source, ArrowRows):
                # It writes nothing.
                writer = PartWriter(open_table.storage, plan, 0, open_table.settings.target_file_bytes, 1, 0)
                self.source.prepared(self.empty, writer)
            else:
                from andes_spark.spark.columns import select_mods

                rows: FrameRows = self.source  # type: ignore[assignment]
                select_mods(rows.frame, options, plan)
        except SchemaMismatchError as error:
            return error
        return None


def evolve(open_table: OpenTable, source: Source, options: ApplyOptions) -> tuple[Source, Definition]:
    """Find the definition that a batch needs; return the rows of the batch, and the definition, the table's if it fits.

    Columns that only conditions use, and those that are left out, are not added.

    Raises:
        SchemaMismatchError: differences that ``evolve_schema`` does not allow.
    """
    checked, defined = _Checked.of(source), Defined.of(open_table.definition, open_table.table)
    error = checked.difference(open_table, defined, options)
    if error is None:
        return checked.source, defined.definition
    # Another writer may have changed the columns.
    open_table.log.refresh()
    defined = Defined.of(open_table.definition, open_table.table)
    error = checked.difference(open_table, defined, options)
    if error is not None:
        widens = options.evolve_schema == "add_and_widen"
        for path, type_, is_there in _differences(error, checked.schema, defined.schema.schema, widens):
            definition = defined.widened(path, type_) if is_there else defined.with_column(path, type_, None)
            defined = Defined.of(definition, open_table.table)
        left = checked.difference(open_table, defined, options)
        if left is not None:
            raise left
    return checked.source, defined.definition


def _differences(error: SchemaMismatchError, batch: Schema, table: Schema, widens: bool) -> list[Difference]:
    """Return the changes that a table needs for a batch.

    Raises:
        SchemaMismatchError: ``error``, if any of its differences is not one that may be changed.
    """
    changes: list[Difference] = [((name,), batch.field(name).type, False) for name in error.extra or ()]
    for name in error.wrong_type or {}:
        column = resolve(name, batch.names) or name
        differences = list(_nested((name,), batch.field(column).type, table.field(name).type, widens))
        if not differences or any(change is None for change in differences):
            raise error
        changes += [change for change in differences if change is not None]
    if error.missing or error.duplicate or not changes:
        raise error
    return changes


def _nested(path: Path, new: DataType, old: DataType, widens: bool) -> Iterator[Difference | None]:
    """Yield the changes that make a type hold values of another one; None for what cannot be changed."""
    if new == old or casts.widens(new, old):
        return
    match new, old:
        case Struct(), Struct():
            old_fields = {field.name: field for field in old.fields}
            for field in new.fields:
                if field.name in old_fields:
                    yield from _nested((*path, field.name), field.type, old_fields[field.name].type, widens)
                else:
                    yield (*path, field.name), field.type, False
        case Array(), Array():
            yield from _nested((*path, "element"), new.element, old.element, widens)
        case Map(), Map():
            yield from _nested((*path, "key"), new.key, old.key, widens)
            yield from _nested((*path, "value"), new.value, old.value, widens)
        case _:
            yield (path, new, True) if widens and casts.widens(old, new) else None
