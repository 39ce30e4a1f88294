"""Columns of a Spark DataFrame as those of a batch: told apart, checked and quoted, by analysis alone.

Each analysis and each expression costs calls into the JVM, which dominate the time of small batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.batch.columns import dropped_columns, listing_column, table_names
from andes_spark.batch.conditions import FLAGS
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.ties import TIE
from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.model.options import TEXT, ApplyOptions, require
from andes_spark.schema import types as dt
from andes_spark.schema.differences import differences, refuse_repeated
from andes_spark.schema.names import refuse_reserved, resolve
from andes_spark.schema.schema import Schema
from andes_spark.sql.text import Bound, SqlText

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
    texts, columns = _texts(options, frame), _columns(options)
    ties, tie_names = _ties(frame, options)
    spelled = table_names(names, plan)
    known = {*spelled, listing_column(names, plan)}
    in_texts = {*tie_names, *(name for bound in texts.values() for name in bound.columns)}
    expressions = [*columns.values(), *ties.values()]
    used = tuple(
        name
        for name in names
        if name not in known and (name in in_texts or (expressions and not _resolves(frame.drop(name), expressions)))
    )
    dropped = dropped_columns(names, spelled, plan, used=used)
    conditions = {**{option: _expression(option, bound.spark) for option, bound in texts.items()}, **columns}
    kept = [*_told_as_text(frame, used, dropped), *_resolved(frame, ties)]
    selected = frame
    if conditions:
        selected = _beside(frame, kept, conditions)
    elif ties or dropped:
        selected = frame.select(*kept)
    _check_columns(frame, plan, spelled, without={*used, *dropped}, may_lack=bool(conditions))
    return selected, used


def _ties(frame: DataFrame, options: ApplyOptions) -> tuple[dict[str, Column], set[str]]:
    """The values that order mods of one key at one sequence, by the names of their columns; columns in their texts."""
    ties: dict[str, Column] = {}
    used: set[str] = set()
    for number, value in enumerate(options.tie_break_by):
        name = resolve(value, frame.columns) if isinstance(value, str) else None
        if name is not None:
            ties[f"{TIE}{number}"] = quoted(name)
        elif isinstance(value, str):
            bound = _bound("tie_break_by", value, _fields(frame), is_condition=False)
            ties[f"{TIE}{number}"] = _expression("tie_break_by", bound.spark)
            used |= bound.columns
        else:
            ties[f"{TIE}{number}"] = _column("tie_break_by", value)
    return ties, used


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
    other = {
        field.name for field in frame.schema.fields if field.name in used and field.dataType.typeName() != "string"
    }
    if not other and not dropped:
        return ["*"]
    return [
        quoted(name).cast("string").alias(name) if name in other else escaped(name)
        for name in frame.columns
        if name not in dropped
    ]


def _texts(options: ApplyOptions, frame: DataFrame) -> dict[str, Bound]:
    """Conditions that are SQL text, judged by the types of the DataFrame's columns."""
    texts = {option: text for option in FLAGS if isinstance(text := getattr(options, option), str)}
    fields = _fields(frame) if texts else {}
    return {option: _bound(option, text, fields) for option, text in texts.items()}


def _fields(frame: DataFrame) -> dict[str, Any]:
    """Types of the columns as Spark's JSON has them."""
    return {field["name"]: field["type"] for field in frame.schema.jsonValue()["fields"]}


def _bound(option: str, condition: str, fields: Mapping[str, Any], *, is_condition: bool = True) -> Bound:
    require(option, condition, TEXT)
    text = SqlText.read(option, condition, instead="a Spark Column")
    names = text.resolve(fields)
    if names.missing:
        raise OptionError(
            f"{option}: it cannot be resolved: the batch has no columns {sorted(names.missing)}",
            option=option,
            column=min(names.missing),
        )
    types = {name: _type_of(option, name, fields[name]) for name in names.columns.values()}
    return text.bind(names, types, is_condition=is_condition)


def _type_of(option: str, name: str, json_type: Any) -> dt.DataType | None:
    if json_type == "void":
        return None
    try:
        return dt.type_from_json(json_type, column=name)
    except UnsupportedTableError as error:
        raise OptionError(
            f"{option}: it uses {name!r}, which a text cannot: {error.message}", option=option, column=name
        ) from error


def _columns(options: ApplyOptions) -> dict[str, Column]:
    """Conditions that are Columns of Spark."""
    conditions = {option: getattr(options, option) for option in FLAGS}
    return {option: _column(option, value) for option, value in conditions.items() if not isinstance(value, str | None)}


def _column(option: str, given: Any) -> Column:
    from pyspark.sql import Column

    if not isinstance(given, Column):
        raise OptionError(
            f"{option}: give a SQL expression or a Spark Column with a Spark DataFrame, not {type(given).__name__}",
            option=option,
        )
    return given


def _expression(option: str, text: str) -> Column:
    from pyspark.errors import ParseException
    from pyspark.sql import functions as F

    try:
        with _analysing():
            return F.expr(text)
    except ParseException as error:
        raise _unresolved(option, error) from error


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
    schema = arrow_schema(fields)
    result = differences(
        schema,
        plan.schema,
        partial_ok=may_lack or plan.may_lack,
        required=plan.columns.narrow,
        rules=plan.rules,
    )
    result.raise_if_any()


def arrow_schema(fields: list[dict[str, Any]]) -> pa.Schema:
    """The Arrow schema of a frame's columns; one that is NULL throughout has a type that no table can have."""
    typed = [field for field in fields if field["type"] != "void"]
    arrow = Schema.from_json(json.dumps({"type": "struct", "fields": typed})).to_arrow()
    return pa.schema([arrow.field(f["name"]) if f in typed else pa.field(f["name"], pa.null()) for f in fields])


def _unresolved(option: str, error: BaseException) -> OptionError:
    # The first line of a syntax error is empty.
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return OptionError(f"{option}: it cannot be resolved: {reason}", option=option)
