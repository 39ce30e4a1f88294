"""Operation conditions for Arrow data: which row is an upsert, a delete or a truncate.

Spark evaluates the conditions of its DataFrames; the operations follow from the results by the same function for both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.batch.condition import Condition, condition_of, missing_from
from andes_spark.errors import SchemaMismatchError
from andes_spark.law.rows import UNKNOWN_OP
from andes_spark.model.mod import OP, OnNull, Op
from andes_spark.model.options import ApplyOptions

FLAGS = {
    "apply_as_upserts": "_andes_is_upsert",
    "apply_as_deletes": "_andes_is_delete",
    "apply_as_truncates": "_andes_is_truncate",
}
"""Columns with the results of the conditions, by option."""

_NULL = 2


@dataclass(frozen=True)
class Conditions:
    """Conditions by which an apply tells the operation of each row.

    Attributes:
        upserts, deletes, truncates: condition for rows of this operation; None if the option is not set.
        on_null: operation of a row for which a condition is NULL.
    """

    upserts: Condition | None
    deletes: Condition | None
    truncates: Condition | None
    on_null: OnNull

    @classmethod
    def of(cls, options: ApplyOptions) -> Conditions:
        """Read the conditions of an apply.

        Raises:
            OptionError: a text or an expression that cannot be used; another type.
        """
        return cls(
            condition_of("apply_as_upserts", options.apply_as_upserts),
            condition_of("apply_as_deletes", options.apply_as_deletes),
            condition_of("apply_as_truncates", options.apply_as_truncates),
            options.on_null_operation,
        )

    @property
    def present(self) -> tuple[Condition, ...]:
        """The conditions that are set: of upserts, deletes and truncates, in this order."""
        conditions = (self.upserts, self.deletes, self.truncates)
        return tuple(condition for condition in conditions if condition is not None)

    def columns(self, available: Collection[str]) -> set[str]:
        """Return the available columns that the conditions use."""
        return {name for condition in self.present for name in condition.columns(available).columns.values()}

    def evaluate(self, table: pa.Table) -> pa.Array:
        """Return the operation of each row, int8: one of ``Op``, or ``UNKNOWN_OP``.

        Raises:
            SchemaMismatchError: a condition uses a column that the batch lacks.
            OptionError: a condition cannot be evaluated on these types, or is no condition.
        """
        missing = missing_from(self.present, table.column_names)
        if missing:
            raise SchemaMismatchError(
                f"the conditions use columns that the batch lacks: {list(missing)}", missing=missing
            )
        codes = combine(
            _codes(self.upserts, table),
            _codes(self.deletes, table),
            _codes(self.truncates, table),
            on_null=self.on_null,
            rows=table.num_rows,
        )
        return pa.array(codes)


Codes = npt.NDArray[np.int8]


def combine(
    upserts: Codes | None,
    deletes: Codes | None,
    truncates: Codes | None,
    *,
    on_null: OnNull,
    rows: int,
) -> Codes:
    """Combine results of conditions (0 false, 1 true, 2 NULL; None for a condition that is not set) to operations.

    With ``upserts`` exactly one condition must be true. Without, a row that meets none is an upsert, and one
    that meets both others is unknown.
    """
    result = np.full(rows, Op.UPSERT if upserts is None else UNKNOWN_OP, np.int8)
    hits = np.zeros(rows, np.int8)
    null = np.zeros(rows, np.bool_)
    for op, codes in ((Op.UPSERT, upserts), (Op.DELETE, deletes), (Op.TRUNCATE, truncates)):
        if codes is not None:
            result[codes == 1] = op
            hits += codes == 1
            null |= codes == _NULL
    result[hits > 1] = UNKNOWN_OP
    result[null] = UNKNOWN_OP if on_null == "quarantine" else Op.UPSERT
    return result


def with_operations(rows: pa.Table, on_null: OnNull) -> pa.Table:
    """Replace the columns :data:`FLAGS` with results of conditions by ``_andes_op``."""
    flags = [name for name in FLAGS.values() if name in rows.column_names]
    codes = [_coded(rows[name]) if name in flags else None for name in FLAGS.values()]
    operations = combine(*codes, on_null=on_null, rows=rows.num_rows)
    return rows.drop_columns(flags).append_column(OP, pa.array(operations))


def _codes(condition: Condition | None, table: pa.Table) -> Codes | None:
    if condition is None:
        return None
    answers = condition.answers(table)
    return answers.to_numpy().astype(np.int8) if not answers.null_count() else _coded(answers.to_arrow())


def _coded(answers: pa.Array | pa.ChunkedArray) -> Codes:
    codes: Codes = answers.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int8)
    if answers.null_count:
        codes[answers.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return codes
