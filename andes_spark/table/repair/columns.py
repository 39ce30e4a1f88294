"""Columns that another writer added to the base: the only change of columns that can be taken in."""

from __future__ import annotations

from andes_spark.base.foreign import same_columns
from andes_spark.delta.state import DeltaState
from andes_spark.errors import AndesError, OptionError
from andes_spark.log.alterations import alteration_of
from andes_spark.model.definition import Definition
from andes_spark.schema.schema import Schema
from andes_spark.schema.types import Field
from andes_spark.table.evolution.definitions import Defined
from andes_spark.table.open_table import OpenTable


def definition_with(open_table: OpenTable, before: DeltaState, newest: DeltaState, applied: int) -> Definition:
    """Return the definition of the table with the columns of a state.

    Args:
        open_table: the table.
        before: state before the changes.
        newest: state after them.
        applied: version of the log that the base contains.

    Raises:
        OptionError: columns were changed in another way than by adding nullable ones at the end.
    """
    definition = open_table.definition
    if same_columns(before, newest):
        return definition
    if alteration_of(open_table.log.pending(applied, open_table.log.head)) is not None:
        raise OptionError("the columns were changed, and a change of columns in the log is not merged yet")
    added = _added(before, newest)
    try:
        for field in added:
            defined = Defined.of(definition, open_table.table)
            definition = defined.with_column([field.name], field.type, field.comment)
    except AndesError as error:
        raise OptionError(f"a column was added that the table cannot have: {error.message}") from error
    return definition


def _added(before: DeltaState, newest: DeltaState) -> list[Field]:
    old, new = (list(Schema.from_json(state.metadata.schema_json)) for state in (before, newest))
    plain = [[(field.name, field.type, field.nullable) for field in fields] for fields in (old, new)]
    added = new[len(old) :]
    parts = before.metadata.partition_columns == newest.metadata.partition_columns
    if not parts or plain[1][: len(old)] != plain[0] or not all(field.nullable for field in added):
        raise OptionError(
            "the columns were changed, and not only new ones added that may be NULL: take that back, and change them "
            "by alter"
        )
    return added
