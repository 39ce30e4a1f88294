"""Schemas of one column ``v``, and a nested type for it."""

from __future__ import annotations

from andes_spark.schema import types as dt
from andes_spark.schema.casts import CastRules
from andes_spark.schema.schema import Schema

CAST = CastRules(cast=True)
POINT = dt.Struct((dt.Field("x", dt.LONG), dt.Field("y", dt.DOUBLE)))


def one(type_: dt.DataType, *, nullable: bool = True) -> Schema:
    return Schema((dt.Field("v", type_, nullable),))
