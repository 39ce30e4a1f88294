"""Errors of Spark tasks, as the driver raises them.

A task hands an error of the library back as a row, so that the error arrives as it is. An error of the store is raised
in the task instead, since Spark's next attempt may not meet it. Of the last attempt the driver has only Spark's text: a
note in it holds class, message and fields.
"""

from __future__ import annotations

import json
import re

from andes_spark import errors
from andes_spark.errors import AndesError, MissingPackageError, TaskError

_NOTE = "raised by andes_spark: "
# The closing line of a traceback of Python, or the first of one of the JVM.
_RAISED = re.compile(r"\s*(?:Caused by: )?(?:\w+\.)*\w*(?:Error|Exception)\w*: ")


def note(error: AndesError) -> None:
    """Add a note to an error that is about to leave a task, from which :func:`task_error` makes it again."""
    error.add_note(_NOTE + json.dumps([type(error).__name__, error.message, error.fields], default=str))


def task_error(error: Exception, step: str, table: str) -> AndesError:
    """Convert an error of a Spark job to the library's error: that of the store which the task raised, or another."""
    text = str(error)
    for line in reversed(text.splitlines()):
        if "ModuleNotFoundError: No module named" in line:
            return missing_package(line.rsplit("named", 1)[1].strip(" '\""), table)
        if "ImportError" in line and "must be installed" in line:
            return missing_package(line.split("ImportError:", 1)[-1].strip(), table)
    noted = _noted(text)
    if noted is None:
        traced = text.rpartition("Traceback (most recent call last)")[2]
        reason = next((line.strip() for line in traced.splitlines() if _RAISED.match(line)), text[:300])
        noted = TaskError(reason, step=step)
    return type(noted)(
        f"{table}: {step} failed in a Spark task, after Spark's own retries: {noted.message}; nothing was committed",
        **{**noted.fields, "table": noted.table or table},
    )


def _noted(text: str) -> AndesError | None:
    """Make the error of the last note again; None without one, or if this release does not know the error."""
    _, is_noted, content = text.rpartition(_NOTE)
    if not is_noted:
        return None
    try:
        (name, message, fields), _ = json.JSONDecoder().raw_decode(content)
        kind = getattr(errors, name)
        return kind(message, **fields) if issubclass(kind, AndesError) else None
    except (AttributeError, TypeError, ValueError):
        return None


def missing_package(name: str, table: str) -> MissingPackageError:
    """Build the error for executors that lack a package."""
    return MissingPackageError(
        f"{table}: the Python of Spark's executors lacks {name}; give executors the packages of this library, for "
        "example by spark.archives with an environment that was packed where andes_spark is installed",
        table=table,
        package=name,
    )
