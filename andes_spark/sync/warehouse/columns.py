"""Columns of a target: what was delivered before against what the table has now, by a policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from andes_spark.errors import ForeignWriteError, SchemaMismatchError

SchemaPolicy = Literal["additive", "freeze", "ignore_new"]
"""``additive``: new columns are added, wider types widened; ``freeze``: any difference is an error; ``ignore_new``: as
``additive``, but new columns are left out."""

AsIs = Literal["text", "json", "binary"]


@dataclass(frozen=True)
class TargetColumn:
    """A column of a target.

    Attributes:
        name: name in the table and in the target.
        type: type in the target, as its catalog spells it.
        field_id: id of the column in the table, for all time.
        form: how its values are sent: as the text of their type, as JSON, or as hexadecimal digits.
    """

    name: str
    type: str
    field_id: int
    form: AsIs = "text"


@dataclass(frozen=True)
class ColumnPlan:
    """What a delivery does about columns.

    Attributes:
        delivered: columns that get values, in the table's order.
        added: columns among them that the target lacks.
        retyped: columns among them whose type in the target is narrower.
        recorded: columns of the target after the delivery; those that the table has no more are among them.
    """

    delivered: tuple[TargetColumn, ...]
    added: tuple[TargetColumn, ...] = ()
    retyped: tuple[TargetColumn, ...] = ()
    recorded: tuple[TargetColumn, ...] = ()


def first_plan(columns: Sequence[TargetColumn]) -> ColumnPlan:
    """Return the plan of a load of all columns."""
    return ColumnPlan(tuple(columns), recorded=tuple(columns))


def column_plan(
    target: str,
    before: Sequence[TargetColumn],
    columns: Sequence[TargetColumn],
    *,
    ids_before: Collection[int],
    policy: SchemaPolicy,
) -> ColumnPlan:
    """Plan the columns of an incremental delivery.

    Args:
        target: name of the target, for messages.
        before: columns that were delivered before.
        columns: columns of the table now.
        ids_before: field ids of the columns that the table had at the version delivered before.
        policy: what to do about differences.

    Raises:
        SchemaMismatchError: a difference that the policy does not allow, or that only a load of all rows can deliver.
    """
    known = {column.name: column for column in before}
    delivered, added, retyped = [], [], []
    problems = _dropped(before, columns) if policy == "freeze" else []
    for column in columns:
        old = known.get(column.name)
        if old is None and policy == "ignore_new":
            continue
        delivered.append(column)
        if old is None and column.field_id in ids_before:
            problems.append(f"{column.name} was left out before, so that rows delivered then lack its values")
        elif old is None:
            added.append(column)
        elif old.field_id != column.field_id:
            problems.append(f"{column.name} is another column than the one delivered before")
        elif old.type != column.type:
            retyped.append(column)
    if policy == "freeze":
        problems += [f"{column.name} is new" for column in added]
        problems += [f"{column.name} is {column.type} now" for column in retyped]
    if problems:
        raise SchemaMismatchError(
            f"{target}: the columns cannot be delivered with on_schema_change={policy!r}: {'; '.join(problems)}. "
            "Choose another policy, or load all rows anew with reload",
            extra=tuple(column.name for column in added),
        )
    now = {column.name: column for column in delivered}
    recorded = [now.pop(column.name, column) for column in before]
    return ColumnPlan(tuple(delivered), tuple(added), tuple(retyped), (*recorded, *now.values()))


def _dropped(before: Sequence[TargetColumn], columns: Sequence[TargetColumn]) -> list[str]:
    names = {column.name for column in columns}
    return [f"{column.name} was dropped" for column in before if column.name not in names]


def check_present(
    target: str, before: Sequence[TargetColumn], present: Mapping[str, str], folded: Callable[[str], str]
) -> None:
    """Check that the columns delivered before are there as they were; others may have added columns of their own.

    Args:
        target: name of the target, for messages.
        before: columns that were delivered before.
        present: types by name of the columns of the target; empty without such a table.
        folded: function that returns a name as the database stores it.

    Raises:
        ForeignWriteError: the table or a column is missing, or has another type; ``problems``.
    """
    problems = [] if present else ["the table is missing"]
    for column in before if present else ():
        kind = present.get(folded(column.name))
        if kind is None:
            problems.append(f"column {column.name} is missing")
        elif kind != column.type:
            problems.append(f"column {column.name} is {kind} and was delivered as {column.type}")
    if problems:
        raise changed_by_others(target, problems)


def changed_by_others(target: str, problems: Sequence[str]) -> ForeignWriteError:
    """Return the error for a target that is not as the last delivery left it."""
    return ForeignWriteError(
        f"{target} is not as the last delivery left it: {'; '.join(problems)}. Nothing was delivered: undo the change, "
        "or load all rows anew with reload, which replaces the table",
        problems=tuple(problems),
    )


def to_text(columns: Sequence[TargetColumn]) -> str:
    """Return columns as JSON, for the cursor."""
    return json.dumps([[column.name, column.type, column.field_id, column.form] for column in columns])


def from_text(text: str) -> tuple[TargetColumn, ...]:
    """Return the columns of :func:`to_text`.

    Raises:
        ValueError, TypeError: another text.
    """
    return tuple(TargetColumn(*values) for values in json.loads(text))
