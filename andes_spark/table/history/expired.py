"""Reads that a vacuum overtakes: their files are gone because their version was released, not because of damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from andes_spark.errors import DamagedError, NotFoundError, VersionExpiredError
from andes_spark.log.readable import expired, floor_of, is_tagged
from andes_spark.table.open_table import OpenTable


@contextmanager
def or_expired(
    open_table: OpenTable, version: int, *, floor: int | None = None, is_replaced: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Turn an error about missing files into one that says that they are no longer kept, if so.

    Args:
        open_table: the table; its log may be older than the vacuum.
        version: version that is read.
        floor: floor when its files were chosen; by default now.
        is_replaced: function that tells whether another state of the base would be chosen for the version now: after a
            compaction, a vacuum deletes the files of the one before without a higher floor. None if that cannot be.

    Raises:
        VersionExpiredError: a vacuum released the version, or the state of the base that it was to be evaluated on.
    """
    before = floor_of(open_table.log) if floor is None else floor
    try:
        yield
    except (DamagedError, NotFoundError) as error:
        log = open_table.log
        log.refresh()
        if 0 <= version < floor_of(log) and not is_tagged(log, version):
            raise expired(log, version) from error
        if isinstance(error, VersionExpiredError):
            raise
        if floor_of(log) == before and (is_replaced is None or not is_replaced()):
            raise
        raise VersionExpiredError(
            f"{log.table}: a vacuum or forget deleted files of this read of version {version}, which was begun before "
            "it; the version can still be read: read it again",
            table=log.table,
            floor=floor_of(log),
        ) from error
