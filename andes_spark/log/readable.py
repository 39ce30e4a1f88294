"""The versions of a log that can be read: those from the floor on, and older ones with a tag or a pin."""

from __future__ import annotations

from andes_spark.errors import VersionExpiredError
from andes_spark.log.log import Log
from andes_spark.log.pins import stored_pins
from andes_spark.log.tags import current_tags


def check_readable(log: Log, version: int) -> None:
    """Refuse a version that was never committed, or that was released, by a vacuum in most cases.

    Sends a request only for a version below the floor that has no tag.

    Raises:
        NoSuchVersionError, VersionExpiredError
    """
    log.manifest(version)
    floor = floor_of(log)
    if version >= floor or is_tagged(log, version) or any(pin.version == version for pin in stored_pins(log.storage)):
        return
    raise expired(log, version)


def expired(log: Log, version: int) -> VersionExpiredError:
    """Build the error for a version that was released."""
    floor = floor_of(log)
    return VersionExpiredError(
        f"{log.table}: version {version} can no longer be read: a vacuum, forget or repair released the versions "
        f"below {floor}, and this one has neither a tag nor a pin; the newest rows and all versions from there on can "
        "be read",
        table=log.table,
        version=version,
        floor=floor,
    )


def floor_of(log: Log) -> int:
    """Return the oldest readable version as of the head, without those that a tag or a pin keeps."""
    return log.manifest(log.head).floor


def is_tagged(log: Log, version: int) -> bool:
    """Return whether a tag stands for a version, as of the head."""
    return any(tag.event.version == version for tag in current_tags(log).values())


def check_released(log: Log, version: int) -> None:
    """Refuse a version whose own mods a vacuum may have deleted: at the floor, they are part of the base.

    Raises:
        NoSuchVersionError, VersionExpiredError
    """
    log.manifest(version)
    floor = floor_of(log)
    if floor and version <= floor:
        raise VersionExpiredError(
            f"{log.table}: the mods of version {version} are no longer kept: a vacuum, forget or repair released "
            f"those of the versions up to {floor}; ask for later ones",
            table=log.table,
            version=version,
            floor=floor,
        )
