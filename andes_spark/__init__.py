"""Keyed tables on Delta Lake: a log of mods, a base merged from it, and reads that are always fresh.

Importing this package starts no JVM, imports no pyspark and reads no environment: each name below is
loaded from its module when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036  # a cluster may run the package by a Python that pip would refuse
    raise ImportError(
        f"andes_spark needs Python 3.11 or newer and this is Python {sys.version_info[0]}.{sys.version_info[1]}: start"
        " the job with --conf spark.pyspark.python=/usr/bin/python3.11 (EMR 7 has it), or set PYSPARK_PYTHON to such a"
        " Python on the driver and the executors"
    )

if TYPE_CHECKING:
    from andes_spark.errors import AndesError as AndesError
    from andes_spark.schema.schema import Schema as Schema
    from andes_spark.settings import Settings as Settings
    from andes_spark.spark.session import spark_session as spark_session
    from andes_spark.table.mod_table import ModTable as ModTable

__all__ = ["AndesError", "ModTable", "Schema", "Settings", "spark_session"]


def __getattr__(name: str) -> Any:
    homes = {
        "AndesError": "andes_spark.errors",
        "ModTable": "andes_spark.table.mod_table",
        "Schema": "andes_spark.schema.schema",
        "Settings": "andes_spark.settings",
        "spark_session": "andes_spark.spark.session",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(homes[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
