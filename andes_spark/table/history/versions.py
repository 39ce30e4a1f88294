"""The version that a read is about: by number, by time, or by a tag."""

from __future__ import annotations

from andes_spark.log.times import version_at
from andes_spark.model.moments import milliseconds
from andes_spark.model.read_options import SnapshotOptions
from andes_spark.table.history.tags import tagged_version
from andes_spark.table.open_table import OpenTable


def chosen_version(open_table: OpenTable, options: SnapshotOptions, *, zone: str | None = None) -> int | None:
    """Find the version of a snapshot; None for the newest.

    Args:
        open_table: the table.
        options: which snapshot.
        zone: zone of a timestamp without one; None to refuse it.

    Raises:
        OptionError: a timestamp without a zone, or after the newest version; a tag that does not exist.
        NoSuchVersionError, VersionExpiredError: a timestamp before the oldest version.
    """
    if options.timestamp is not None:
        time = milliseconds(options.timestamp, "timestamp", zone=zone)
        return version_at(open_table.log, time, options.timestamp.isoformat())
    if options.tag is not None:
        return tagged_version(open_table.log, options.tag)
    return options.version
