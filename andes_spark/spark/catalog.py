"""Tables by their names in the catalogs of a Spark session."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from andes_spark.spark.session import require_running

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_DETAILS = "# Detailed Table Information"


def location_of(session: SparkSession, name: str) -> str | None:
    """Return the location of a table: a path or a URL; None if there is no such table, or it has no location.

    Runs a command of Spark, and no job.

    Args:
        session: the session.
        name: name of the table, with that of its database and of its catalog or without; parts have no dots.

    Raises:
        OptionError: the session was stopped.
    """
    require_running(session)
    quoted = ".".join(f"`{part.replace('`', '``')}`" for part in name.split("."))
    if not session.catalog.tableExists(quoted):
        return None
    rows = [(row[0], row[1]) for row in session.sql(f"DESCRIBE TABLE EXTENDED {quoted}").collect()]
    titles = [title for title, _ in rows]
    details = rows[titles.index(_DETAILS) :] if _DETAILS in titles else []
    location = next((text for title, text in details if title == "Location"), None)
    if location is None or not location.startswith("file:"):
        return location
    return unquote("/" + location.removeprefix("file:").lstrip("/"))
