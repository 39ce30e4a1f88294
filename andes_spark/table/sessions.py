"""The active Spark session and its access to S3, without importing pyspark where nobody has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from andes_spark.storage.interface import Storage


def active_session() -> Any:
    """The active Spark session of this process, or None; never imports pyspark, never starts a session."""
    module = sys.modules.get("pyspark.sql")
    if module is None:
        return None
    return module.SparkSession.getActiveSession()


def is_session(value: Any) -> bool:
    """Whether something is a Spark session, classic or Connect; imports nothing."""
    return any(
        kind.__module__.startswith("pyspark.sql") and kind.__name__ == "SparkSession" for kind in type(value).__mro__
    )


def input_options(storage: Storage) -> Mapping[str, str] | None:
    """Storage options for input files on S3: those of a table that is on S3 too, else those of the active session."""
    if storage.url.startswith("s3://"):
        options: Mapping[str, str] = getattr(storage, "access_options", {})
        return options
    session = active_session()
    return None if session is None else s3_options(session)


def s3_options(session: Any) -> dict[str, str]:
    """Storage options that say what a session's S3A settings (``spark.hadoop.fs.s3a.*``) say.

    Only settings with a fixed value are taken over; without keys the usual chain of boto3 is asked, which is
    the one that S3A's default providers ask.
    """

    def setting(name: str) -> str | None:
        value = session.conf.get(f"spark.hadoop.fs.s3a.{name}", None)
        return str(value) if value else None

    endpoint = setting("endpoint")
    if endpoint is not None and "://" not in endpoint:
        secure = (setting("connection.ssl.enabled") or "true").lower() == "true"
        endpoint = f"{'https' if secure else 'http'}://{endpoint}"
    options = {
        "aws_endpoint": endpoint,
        "aws_region": setting("endpoint.region"),
        "aws_access_key_id": setting("access.key"),
        "aws_secret_access_key": setting("secret.key"),
        "aws_session_token": setting("session.token"),
        "aws_allow_http": "true" if endpoint is not None and endpoint.startswith("http://") else None,
    }
    return {name: value for name, value in options.items() if value is not None}
