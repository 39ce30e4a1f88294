"""Hadoop's configuration of a session, where the settings of S3A are.

Settings that Spark gets at its start are arguments of its JVM, which every list of processes shows. Secrets are set
here instead, when it runs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

S3A_CLASS = "org.apache.hadoop.fs.s3a.S3AFileSystem"
_PREFIX = "spark.hadoop."
_SECRET = re.compile(r"spark\.hadoop\.fs\.s3a\.(bucket\..+\.)?(access\.key|secret\.key|session\.token)")
_S3_CLASS = "fs.s3.impl"


def without_secrets(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split settings of Spark into those that may be seen, and Hadoop's settings with credentials."""
    secret = {name for name in settings if _SECRET.fullmatch(name)}
    visible_settings = {name: value for name, value in settings.items() if name not in secret}
    return visible_settings, {name.removeprefix(_PREFIX): settings[name] for name in secret}


def set_credentials(session: SparkSession, credentials: Mapping[str, str]) -> None:
    """Set Hadoop's settings with credentials."""
    with unlogged():
        for name, value in credentials.items():
            _configuration(session).set(name, value)


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep py4j, which logs at DEBUG what goes between Python and the JVM, from logging credentials."""
    logger = logging.getLogger("py4j")
    level = logger.level
    logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(level)


def serve_s3(session: SparkSession) -> None:
    """Let S3A serve ``s3://`` too, unless the cluster says what does."""
    configuration = _configuration(session)
    if configuration.get(_S3_CLASS) is None:
        configuration.set(_S3_CLASS, S3A_CLASS)


def _configuration(session: Any) -> Any:
    return session.sparkContext._jsc.hadoopConfiguration()
