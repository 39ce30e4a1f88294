"""The active Spark session and its access to S3; pyspark is never imported here."""

from __future__ import annotations

import sys
from typing import Any

from andes_spark.storage.interface import Storage
from andes_spark.storage.s3_options import Access


def active_session() -> Any:
    """Return the active Spark session of this process, or None; no session is started."""
    module = sys.modules.get("pyspark.sql")
    if module is None:
        return None
    return module.SparkSession.getActiveSession()


def is_session(value: Any) -> bool:
    """Return whether a value is a Spark session, classic or Connect."""
    return any(
        kind.__module__.startswith("pyspark.sql") and kind.__name__ == "SparkSession" for kind in type(value).__mro__
    )


def session_zone(session: Any) -> str:
    """Return the time zone of a session: a name or an offset."""
    return str(session.conf.get("spark.sql.session.timeZone"))


def input_options(storage: Storage) -> Access | None:
    """Return the access to input files on S3: as to the table if it is on S3, else as the active session has it."""
    if storage.url.startswith("s3://"):
        return access_of(storage)
    return session_access(active_session())


def access_of(storage: Storage) -> Access | None:
    """Return the access with which a table on S3 was opened; None for another one."""
    access: Access | None = getattr(storage, "access_options", None)
    return access


def session_access(session: Any) -> Access | None:
    """Return the access to S3 as a session has it; None without a session."""
    if session is None:
        return None
    from andes_spark.spark.s3a import SessionAccess

    return SessionAccess(session)
