"""Columns of a Spark DataFrame as columns of a batch: resolved, checked and quoted, by analysis without a job.

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
    """Select the columns of the table in a batch, and add a column of ``FLAGS`` for each condition. Runs no Spark job.

    Returns:
        The DataFrame, and the names of columns that only conditions use; these are cast to text, for quarantined rows.

    Raises:
        SchemaMismatchError: missing, extra and wrong-type columns, all at once.
        OptionError: a condition that cannot be resolved or is not boolean; a column with a reserved name.
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
    """Return the values of ``tie_break_by`` by column name, and the columns used by SQL texts among them."""
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
    """Alias the values of ``tie_break_by``, after an analysis of each value alone."""
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
    """Return the column with exactly this name."""
    from pyspark.sql import functions as F

    return F.col(escaped(name))


def numbered(frame: DataFrame) -> DataFrame:
    """Rename columns for ``mapInArrow``, which takes a dot or backtick in a name as syntax."""
    names = frame.columns
    if all(name.isidentifier() for name in names):
        return frame
    return frame.toDF(*(f"c{i}" for i in range(len(names))))


def escaped(name: str) -> str:
    """Quote a name for Spark's column syntax."""
    return "`" + name.replace("`", "``") + "`"


def _told_as_text(frame: DataFrame, used: tuple[str, ...], dropped: list[str]) -> list[Column | str]:
    """Select the columns to keep; those that only conditions use are cast to text, since Arrow may lack their type."""
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
    """Bind conditions that are SQL text to the types of the DataFrame's columns."""
    texts = {option: text for option in FLAGS if isinstance(text := getattr(options, option), str)}
    fields = _fields(frame) if texts else {}
    return {option: _bound(option, text, fields) for option, text in texts.items()}


def _fields(frame: DataFrame) -> dict[str, Any]:
    """Return the types of the columns as Spark's JSON."""
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
    """Return the conditions that are Spark Columns."""
    conditions = {option: getattr(options, option) for option in FLAGS}
    return {option: _column(option, value) for option, value in conditions.items() if not isinstance(value, str | None)}


def _column(option: str, value: Any) -> Column:
    from pyspark.sql import Column

    if not isinstance(value, Column):
        raise OptionError(
            f"{option}: give a SQL expression or a Spark Column with a Spark DataFrame, not {type(value).__name__}",
            option=option,
        )
    return value


def _expression(option: str, text: str) -> Column:
    from pyspark.errors import ParseException
    from pyspark.sql import functions as F

    try:
        with _analysing():
            return F.expr(text)
    except ParseException as error:
        raise _unresolved(option, error) from error


def _beside(frame: DataFrame, columns: list[Column | str], conditions: dict[str, Column]) -> DataFrame:
    """Select columns together with the conditions, one analysis for all.

    Analysed together with columns, an aggregate is refused as a condition, and so is a nested generator.
    """
    from pyspark.errors import AnalysisException, ParseException
    from pyspark.sql import functions as F

    flags = {option: F.when(F.lit(True), condition).alias(FLAGS[option]) for option, condition in conditions.items()}
    try:
        with _analysing():
            selected = frame.select(*columns, *flags.values())
            types = selected.schema.fields[-len(flags) :]
    except (AnalysisException, ParseException) as error:
        if len(flags) == 1:
            raise _unresolved(next(iter(flags)), error) from error
        for option, condition in conditions.items():
            _beside(frame, columns, {option: condition})
        raise _unresolved(" and ".join(flags), error) from error
    for option, field in zip(flags, types, strict=True):
        kind = field.dataType.typeName()
        if kind != "boolean":
            raise OptionError(f"{option}: it gives {kind}, not a condition", option=option)
    return selected


def _resolves(frame: DataFrame, expressions: list[Column]) -> bool:
    from pyspark.errors import AnalysisException

    try:
        with _analysing():
            # Access to the schema makes Spark analyse the plan, without a job.
            return bool(frame.select(*(column.alias(f"e{i}") for i, column in enumerate(expressions))).schema)
    except AnalysisException:
        return False


@contextmanager
def _analysing() -> Iterator[None]:
    """Suppress Spark 4's error log for analyses that are expected to fail.

    A Column does not list the columns that it uses, so that each is found by an analysis without it.
    """
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:
        yield
        return
    # pyspark's error handling requires loggers of its own class.
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
    """Report all differences before a job runs; tasks check missing columns if the batch may be all deletes."""
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
    """Return the Arrow schema of a DataFrame's columns; columns of Spark's type void have Arrow's type null."""
    typed = [field for field in fields if field["type"] != "void"]
    arrow = Schema.from_json(json.dumps({"type": "struct", "fields": typed})).to_arrow()
    return pa.schema([arrow.field(f["name"]) if f in typed else pa.field(f["name"], pa.null()) for f in fields])


def _unresolved(option: str, error: BaseException) -> OptionError:
    # The first line of a syntax error is empty.
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return OptionError(f"{option}: it cannot be resolved: {reason}", option=option)
