"""DataFrames in the columns of a later schema: what they lack is NULL, and what is wider there is cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from andes_spark.spark.columns import escaped

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType


def fitted(frame: DataFrame, schema: StructType) -> DataFrame:
    """Select the columns of a schema from a DataFrame, by name at any depth. Runs no Spark job.

    Spark casts no struct to one of other fields, so that nested columns are built of their parts.
    """
    from pyspark.sql import functions as F

    frame_types = {field.name: field.dataType for field in frame.schema}
    columns = []
    for field in schema:
        if field.name in frame_types:
            column = _fitted(frame[escaped(field.name)], frame_types[field.name], field.dataType)
        else:
            column = F.lit(None).cast(field.dataType)
        metadata = {"metadata": field.metadata} if field.metadata else {}
        columns.append(column.alias(field.name, **metadata))
    return frame.select(columns)


def _fitted(column: Column, old: DataType, new: DataType) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, MapType, StructType

    if old.simpleString() == new.simpleString():
        return column
    if isinstance(old, StructType) and isinstance(new, StructType):
        old_types = {field.name: field.dataType for field in old}
        parts = [
            (
                _fitted(column.getField(field.name), old_types[field.name], field.dataType)
                if field.name in old_types
                else F.lit(None).cast(field.dataType)
            ).alias(field.name)
            for field in new
        ]
        return F.when(column.isNotNull(), F.struct(*parts))
    if isinstance(old, ArrayType) and isinstance(new, ArrayType):
        return F.transform(column, _of(old.elementType, new.elementType))
    if isinstance(old, MapType) and isinstance(new, MapType):
        keys = F.transform(F.map_keys(column), _of(old.keyType, new.keyType))
        values = F.transform(F.map_values(column), _of(old.valueType, new.valueType))
        return F.map_from_arrays(keys, values)
    return column.cast(new)


def _of(old: DataType, new: DataType) -> Callable[[Column], Column]:
    return lambda part: _fitted(part, old, new)
