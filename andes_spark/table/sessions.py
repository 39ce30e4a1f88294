"""The active Spark session and its access to S3; pyspark is never imported here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from andes_spark.storage.interface import Storage


def active_session() -> Any:
    """Active Spark session of this process, or None; no session is started."""
    module = sys.modules.get("pyspark.sql")
    if module is None:
        return None
    return module.SparkSession.getActiveSession()


def is_session(value: Any) -> bool:
    """Whether a value is a Spark session, classic or Connect."""
    return any(
        kind.__module__.startswith("pyspark.sql") and kind.__name__ == "SparkSession" for kind in type(value).__mro__
    )


def session_zone(session: Any) -> str:
    """Time zone of a session: a name or an offset."""
    return str(session.conf.get("spark.sql.session.timeZone"))


def input_options(storage: Storage) -> Mapping[str, str] | None:
    """Storage options for input files on S3: those of the table if it is on S3, else those of the active session."""
    if storage.url.startswith("s3://"):
        options: Mapping[str, str] = getattr(storage, "access_options", {})
        return options
    session = active_session()
    return None if session is None else s3_options(session)


def s3_options(session: Any) -> dict[str, str]:
    """Convert a session's S3A settings (``spark.hadoop.fs.s3a.*``) to storage options.

    Only settings with a fixed value are converted; without keys boto3's default chain is used, as S3A's default
    providers do.
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
