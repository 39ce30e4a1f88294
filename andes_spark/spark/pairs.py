"""Pairs of Spark and Delta that the tests run on, and the pair of a session.

A pair is named by minor releases: fleets patch both, as in ``3.5.6-amzn-1`` with ``3.3.2-amzn-2``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Minor releases of Spark and Delta that go together.

    Attributes:
        spark: such as ``3.5``.
        delta: such as ``3.3``.
        fleet: release of EMR that has them; empty if none has yet.
    """

    spark: str
    delta: str
    fleet: str = ""

    def __str__(self) -> str:
        return f"Spark {self.spark} with Delta {self.delta}"


PAIRS = (Pair("3.5", "3.3", "EMR 7"), Pair("4.0", "4.0", "EMR 8"), Pair("4.2", "4.4"))


def minor(version: str) -> str:
    """Return the minor release of a version, such as ``3.5`` of ``3.5.6-amzn-1``; the version if it has no numbers."""
    match = re.match(r"\d+\.\d+", version)
    return match.group() if match else version


def pair_for(spark_version: str) -> Pair | None:
    """Return the pair of a version of Spark; None if the tests run on none with it."""
    return next((pair for pair in PAIRS if pair.spark == minor(spark_version)), None)


def delta_version(session: SparkSession) -> str | None:
    """Return the version of Delta that a session runs; None without Delta, and with Spark Connect."""
    jvm: Any = getattr(session, "_jvm", None)
    if jvm is None:
        return None
    from py4j.protocol import Py4JError

    try:
        return str(jvm.io.delta.package.VERSION())
    except (Py4JError, TypeError):
        return None


def name_untested(session: SparkSession) -> None:
    """Log a warning, once, if the session is of a pair that the tests do not run on."""
    spark, delta = str(session.version), delta_version(session)
    pair = pair_for(spark)
    if pair is None or (delta is not None and minor(delta) != pair.delta):
        _warn(spark, delta)


@cache
def _warn(spark: str, delta: str | None) -> None:
    _LOGGER.warning(
        "Spark %s%s is a pair that this release was not tested with (tested: %s); `andes doctor` checks it",
        spark,
        "" if delta is None else f" with Delta {delta}",
        "; ".join(map(str, PAIRS)),
    )
