"""Columns of a Spark DataFrame as those of a batch: told apart, checked and quoted, by analysis alone.

Each analysis, and each expression built, is a call or more into the JVM, of a millisecond to tens: small batches
are made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from andes_spark.batch.columns import dropped_columns, listing_column, table_names
from andes_spark.batch.conditions import FLAGS
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.sql_text import check_sql
from andes_spark.batch.sql_types import check_types, types_of
from andes_spark.batch.ties import TIE
from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.model.options import ApplyOptions
from andes_spark.schema.differences import differences, refuse_repeated
from andes_spark.schema.names import refuse_reserved, resolve
from andes_spark.schema.schema import Schema

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ANALYSIS_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
"""Loggers of pyspark for analyses that fail, of SQL text and of Columns."""


def select_mods(frame: DataFrame, options: ApplyOptions, plan: BatchPlan) -> tuple[DataFrame, tuple[str, ...]]:
    """The columns of the table that the batch has, and the answers of the conditions, one of ``FLAGS`` each.

    Returns:
        The DataFrame, and which of its columns only the conditions used; they are text there, to be shown.

    Raises:
        SchemaMismatchError: missing, extra and wrong-type columns, before any job runs.
        OptionError: a condition that cannot be resolved or is none; a column with a reserved name.
    """
    names = frame.columns
    refuse_reserved(names, plan.table)
    refuse_repeated(names)
    given = {option: _condition(option, getattr(options, option), frame) for option in FLAGS}
    conditions = {option: condition for option, condition in given.items() if condition is not None}
    ties = _ties(frame, options)
    expressions = [*conditions.values(), *ties.values()]
    spelled = table_names(names, plan)
    known = {*spelled, listing_column(names, plan)}
    extra = [name for name in names if name not in known]
    used = tuple(name for name in extra if expressions and not _resolves(frame.drop(name), expressions))
    dropped = dropped_columns(names, spelled, plan, used=used)
    columns = [*_told_as_text(frame, used, dropped), *_resolved(frame, ties)]
    selected = frame
    if conditions:
        selected = _beside(frame, columns, conditions)
    elif ties or dropped:
        selected = frame.select(*columns)
    _check_columns(frame, plan, spelled, without={*used, *dropped}, may_lack=bool(conditions))
    return selected, used


def _ties(frame: DataFrame, options: ApplyOptions) -> dict[str, Column]:
    """The values that order mods of one key at one sequence, by the names of their columns."""
    ties = {}
    for number, each in enumerate(options.tie_break_by):
        name = resolve(each, frame.columns) if isinstance(each, str) else None
        tie = quoted(name) if name is not None else _condition("tie_break_by", each, frame)
        if tie is None:
            raise OptionError("tie_break_by: None is no column", option="tie_break_by")
        ties[f"{TIE}{number}"] = tie
    return ties


def _resolved(frame: DataFrame, ties: dict[str, Column]) -> list[Column]:
    """Values that order ties under their names, each looked at by itself first."""
    from pyspark.errors import AnalysisException, ParseException

    columns = [tie.alias(name) for name, tie in ties.items()]
    for column in columns:
        try:
            with _analysing():
                kind = frame.select(column).schema.fields[0].dataType.typeName()
        except (AnalysisException, ParseException) as error:
            raise _unresolved("tie_break_by", error) from error
        if kind in ("array", "map", "struct", "variant", "void") or "interval" in kind:
            raise OptionError(f"tie_break_by: {kind} has no order", option="tie_break_by")
    return columns


def quoted(name: str) -> Column:
    """A column by its exact name, whatever characters that has."""
    from pyspark.sql import functions as F

    return F.col(escaped(name))


def numbered(frame: DataFrame) -> DataFrame:
    """The same columns under names that ``mapInArrow`` can take: a dot or backtick is syntax to pyspark's."""
    names = frame.columns
    if all(name.isidentifier() for name in names):
        return frame
    return frame.toDF(*(f"c{i}" for i in range(len(names))))


def escaped(name: str) -> str:
    """A name as Spark's syntax for columns has it."""
    return "`" + name.replace("`", "``") + "`"


def _told_as_text(frame: DataFrame, used: tuple[str, ...], dropped: list[str]) -> list[Column | str]:
    """The columns that stay, those that only conditions use as text: their types need have no place in Arrow."""
    other = {each.name for each in frame.schema.fields if each.name in used and each.dataType.typeName() != "string"}
    if not other and not dropped:
        return ["*"]
    return [
        quoted(name).cast("string").alias(name) if name in other else escaped(name)
        for name in frame.columns
        if name not in dropped
    ]


def _condition(option: str, given: Any, frame: DataFrame) -> Column | None:
    from pyspark.errors import ParseException
    from pyspark.sql import Column
    from pyspark.sql import functions as F

    if given is None or isinstance(given, Column):
        return given
    if not isinstance(given, str):
        raise OptionError(
            f"{option}: give a SQL expression or a Spark Column with a Spark DataFrame, not {type(given).__name__}",
            option=option,
        )
    check_sql(option, given)
    _check_types(option, given, frame)
    try:
        with _analysing():
            return F.expr(given)
    except ParseException as error:
        raise _unresolved(option, error) from error


def _check_types(option: str, text: str, frame: DataFrame) -> None:
    """Refuse here what is refused of Arrow data; what polars cannot read is left to Spark."""
    try:
        expression = pl.sql_expr(text)
    except (pl.exceptions.SQLInterfaceError, pl.exceptions.SQLSyntaxError):
        return
    names = set(expression.meta.root_names())
    fields = [field for field in frame.schema.jsonValue()["fields"] if field["name"] in names]
    try:
        used = Schema.from_json(json.dumps({"type": "struct", "fields": fields})).to_arrow()
    except UnsupportedTableError:
        return
    check_types(option, expression, types_of(used))


def _beside(frame: DataFrame, columns: list[Column | str], conditions: dict[str, Column]) -> DataFrame:
    """Columns and the answers of conditions.

    Beside the rows an aggregate does not pass for a condition, nor does a generator within another expression.
    """
    from pyspark.errors import AnalysisException, ParseException
    from pyspark.sql import functions as F

    flags = {option: F.when(F.lit(True), each).alias(FLAGS[option]) for option, each in conditions.items()}
    try:
        with _analysing():
            selected = frame.select(*columns, *flags.values())
            answers = selected.schema.fields[-len(flags) :]
    except (AnalysisException, ParseException) as error:
        if len(flags) == 1:
            raise _unresolved(next(iter(flags)), error) from error
        for option, condition in conditions.items():
            _beside(frame, columns, {option: condition})
        raise _unresolved(" and ".join(flags), error) from error
    for option, answer in zip(flags, answers, strict=True):
        kind = answer.dataType.typeName()
        if kind != "boolean":
            raise OptionError(f"{option}: it gives {kind}, not a condition", option=option)
    return selected


def _resolves(frame: DataFrame, expressions: list[Column]) -> bool:
    from pyspark.errors import AnalysisException

    try:
        with _analysing():
            # Asking for the schema makes Spark analyse the plan; nothing runs.
            return bool(frame.select(*(each.alias(f"e{i}") for i, each in enumerate(expressions))).schema)
    except AnalysisException:
        return False


@contextmanager
def _analysing() -> Iterator[None]:
    """Keep Spark 4 from logging an analysis that fails as an error: inside, a failure is an answer.

    Which columns a condition uses can only be asked by leaving one out: a Column does not say.
    """
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:
        yield
        return
    # By pyspark's own function: a logger of such a name that is not of its class breaks its error handling.
    loggers = [PySparkLogger.getLogger(name) for name in _ANALYSIS_LOGGERS]
    disabled = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, before in zip(loggers, disabled, strict=True):
            logger.disabled = before


def _check_columns(
    frame: DataFrame, plan: BatchPlan, spelled: dict[str, str], *, without: set[str], may_lack: bool
) -> None:
    """Report all differences before a job runs; only a batch of deletes may lack columns, which tasks see."""
    left_out = {*without, listing_column(frame.columns, plan)}
    fields = [
        {**field, "name": spelled.get(field["name"], field["name"])}
        for field in frame.schema.jsonValue()["fields"]
        if field["name"] not in left_out
    ]
    given = arrow_schema(fields)
    found = differences(
        given,
        plan.schema,
        partial_ok=may_lack or plan.may_lack,
        required=plan.columns.narrow,
        rules=plan.rules,
    )
    found.raise_if_any()


def arrow_schema(fields: list[dict[str, Any]]) -> pa.Schema:
    """The Arrow schema of a frame's columns; one that is NULL throughout has a type that no table can have."""
    typed = [field for field in fields if field["type"] != "void"]
    arrow = Schema.from_json(json.dumps({"type": "struct", "fields": typed})).to_arrow()
    return pa.schema([arrow.field(f["name"]) if f in typed else pa.field(f["name"], pa.null()) for f in fields])


def _unresolved(option: str, error: BaseException) -> OptionError:
    # The first line of a syntax error is empty.
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return OptionError(f"{option}: it cannot be resolved: {reason}", option=option)
