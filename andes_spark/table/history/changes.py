"""Changes: the rows by which two versions differ."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.errors import OptionError
from andes_spark.log.line import difference
from andes_spark.log.log import Log
from andes_spark.log.pending import Pending, PendingFile
from andes_spark.log.readable import check_readable, floor_of
from andes_spark.model.events import PendingVersion, TakeIn, Truncate, mods_of
from andes_spark.model.read_options import ChangesOptions
from andes_spark.table.history.comparison import Comparison
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.get import cache_for
from andes_spark.table.verbs.read import pin, resolved, while_pinned


def changes(open_table: OpenTable, options: ChangesOptions) -> pa.RecordBatchReader:
    """Return the changes between two versions as a stream; see ``ModTable.changes``."""
    floor = floor_of(open_table.log)
    comparison = compare(open_table, options)
    return pa.RecordBatchReader.from_batches(comparison.schema, _batches(open_table, comparison, floor))


def _batches(open_table: OpenTable, comparison: Comparison, floor: int) -> Iterator[pa.RecordBatch]:
    cache = cache_for(open_table, comparison.after.shape)
    with (
        while_pinned(open_table, comparison.earlier, comparison.before, floor=floor),
        while_pinned(open_table, comparison.later, comparison.after, floor=floor),
    ):
        yield from comparison.batches(comparison.ranges(), cache)


def compare(
    open_table: OpenTable, options: ChangesOptions, *, zone: str | None = None, columns_of: int = 0
) -> Comparison:
    """Pin the two versions of a comparison.

    Args:
        open_table: the table.
        options: which versions, and what to return.
        zone: zone of timestamps without one; None to refuse them.
        columns_of: version whose columns the rows have, if it is later than both.

    Raises:
        OptionError: the second version is below the first, or a column does not exist.
        NoSuchVersionError, VersionExpiredError: a version does not exist, or is not kept any more.
    """
    log = open_table.log
    earlier = chosen_version(open_table, options.start, zone=zone)
    assert earlier is not None
    chosen = chosen_version(open_table, options.end, zone=zone)
    shape = open_table.shape_at(columns_of) if chosen is not None and chosen < columns_of else None
    after = pin(open_table, chosen, shape=shape)
    later, shape = after.version, after.inputs.shape
    names = resolved(shape, options.columns)
    if earlier > later:
        _refuse(open_table, earlier, later)
    before = pin(open_table, earlier, shape=shape, refresh=False)
    return Comparison(
        storage=open_table.storage,
        settings=open_table.settings,
        before=before.inputs,
        after=after.inputs,
        touched=touched_mods(log, earlier, later, shape),
        earlier=earlier,
        later=later,
        time=log.manifest(later).time,
        names=names,
        before_images=options.before_images,
    )


def _refuse(open_table: OpenTable, earlier: int, later: int) -> None:
    check_readable(open_table.log, earlier)
    raise OptionError(
        f"{open_table.table}: the changes would begin with version {earlier} and end with version {later}, which is "
        "before it; exchange the two",
        table=open_table.table,
        option="to_version",
        value=later,
    )


def touched_mods(log: Log, earlier: int, later: int, shape: TableShape) -> Pending | None:
    """Return the mods that belong to one of two versions only; None if they do not tell the keys that may differ."""

    def read(version: int) -> list[PendingVersion]:
        return [manifest.pending for manifest in log.manifests(version + 1, later)] if version < later else []

    versions = difference(read, earlier, later)
    if any(isinstance(event, Truncate | TakeIn) for version in versions.values() for event in version.events):
        return None
    files = [PendingFile(number, entry) for number, version in versions.items() for entry in mods_of(version.events)]
    if any(file.version <= floor_of(log) for file in files):
        return None  # a vacuum may have deleted them
    return Pending(tuple(files), (), schemas=shape.versions)
