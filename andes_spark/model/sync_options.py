"""Options of the verbs that show a table to other systems; see ``model.options``."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.model.options import COUNT, Kind, Options, option

ICEBERG_FORMATS = (2,)
"""Versions of Iceberg's specification that can be written."""
_FORMAT = Kind(
    "a version of Iceberg's specification: 2",
    lambda value: COUNT.fits(value) and value in ICEBERG_FORMATS,
    int,
    "count",
)


@dataclass(frozen=True)
class SyncIcebergOptions(Options):
    """Options of ``sync_iceberg``."""

    format: int = option(_FORMAT, 2, help="Version of Iceberg's specification; 2 has position deletes.")
