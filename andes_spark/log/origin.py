"""The origin of a log: the state of the base before its first version."""

from __future__ import annotations

from andes_spark.errors import LogDamagedError
from andes_spark.log.log import Log
from andes_spark.model.manifest import Origin, manifest_path


def origin_of(log: Log) -> Origin:
    """Return the base snapshot at the start of a log; from memory, since the last roll-up has it.

    Raises:
        LogDamagedError: a manifest does not say it.
    """
    manifest = log.manifest(log.last_roll_up)
    origin = manifest.origin or (manifest.roll_up.origin if manifest.roll_up is not None else None)
    if origin is None:
        raise LogDamagedError(
            f"{log.table}: version {manifest.version} does not say where the base began; restore "
            f"{manifest_path(manifest.version)}",
            table=log.table,
            version=manifest.version,
        )
    return origin
