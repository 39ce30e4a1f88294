"""Verification: everything stored compared with what the log says it must be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import evaluate, local_locator
from andes_spark.base.evaluation import Evaluation, EvaluationInput, case_of
from andes_spark.base.merge.plan import BUCKET_BYTES, estimate
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.tombstones import read_tombstones
from andes_spark.delta.log import load_state
from andes_spark.law.hashing.digest import Digest
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import above
from andes_spark.law.rows import content_hashes
from andes_spark.log.pending import Pending, pending_of
from andes_spark.log.sampling import bucket_bounds
from andes_spark.model.events import files_of
from andes_spark.model.manifest import Manifest
from andes_spark.model.merge_record import no_record
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.verify_past import check_past
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import alive_rows, gone_rows

_SHOWN = 10


@dataclass(frozen=True)
class VerifyResult:
    """What a verification found.

    Attributes:
        version: newest version of the log.
        applied: version that the base contains.
        files: files whose checksums were compared.
        rows: rows of the base that were compared with the law's evaluation.
        problems: what is wrong; empty if nothing is.
        missing: data files and deletion vectors of older states of the base that are gone, as after a VACUUM with
            a retention: versions that need them cannot be read. No problem of the newest version.
    """

    version: int
    applied: int
    files: int
    rows: int
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(open_table: OpenTable) -> VerifyResult:
    """Verify a table; see ``ModTable.verify``. Work above the byte budget is done a range of keys at a time."""
    found = Findings()
    # The base first: while others write, it must not contain more than the log that is read.
    snapshots: list[BaseSnapshot] = []
    found.check(lambda: snapshots.append(open_table.base.snapshot()))
    head = open_table.log.refresh()
    manifests: list[Manifest] = []
    found.check(lambda: manifests.extend(open_table.log.manifests(0, head)))
    if not snapshots or not manifests:
        return VerifyResult(head, -1, 0, 0, tuple(found.problems))
    base = snapshots[0]
    if base.foreign is not None:
        found.problems.append(base.foreign.error(open_table.table).message)
    for path, sha256 in _stored(manifests):
        found.check(lambda path=path, sha256=sha256: found.checksum(open_table.storage, path, sha256))  # type: ignore[misc]
    for path, file in base.state.files.items():
        if file.footer is not None:
            found.check(lambda path=path, mark=file.footer: found.page_index(open_table.storage, path, mark))  # type: ignore[misc]
    if base.applied > head:
        found.check(lambda: open_table.log.pending(base.applied, head))
    else:
        found.check(lambda: _compare(open_table, manifests, base, found))
    compared = base.state.files if base.applied <= head else ()
    check_past(open_table, base.version, compared, found)
    return VerifyResult(head, base.applied, found.files, found.rows, tuple(found.problems), tuple(found.missing))


def _stored(manifests: list[Manifest]) -> Iterator[tuple[str, str]]:
    for manifest in manifests:
        for entry in files_of(manifest.events):
            yield entry.path, entry.sha256
        for ledger in manifest.roll_up.ledger if manifest.roll_up else []:
            yield ledger.path, ledger.sha256


def _compare(open_table: OpenTable, manifests: list[Manifest], base: BaseSnapshot, found: Findings) -> None:
    """Compare the base with the law's evaluation of all mods from the origin on."""
    shape = open_table.shape()
    origin = manifests[0].origin
    start_state = load_state(open_table.storage, version=origin.delta_version if origin else 0)
    start = BaseSnapshot(start_state, 0, no_record(open_table.table_id))
    versions = [each.pending for each in manifests[1 : base.applied + 1]]
    expected = case_of(start, pending_of(versions, shape.versions, shape.columns), shape)
    actual = case_of(base, Pending((), ()), shape)
    for bounds in _bounds(open_table, expected, actual):
        _compare_bucket(open_table, expected, actual, bounds, found)


def _bounds(open_table: OpenTable, expected: EvaluationInput, actual: EvaluationInput) -> list[KeyRange | None]:
    sizes = estimate(expected)
    rows = sum(each.file.size for each in actual.files) * 8
    total = sizes.mods + sizes.narrow + sizes.scan + rows
    if total <= open_table.settings.byte_budget or expected.pending.rows == 0:
        return [None]
    shape = expected.shape
    return list(
        bucket_bounds(
            open_table.storage,
            expected.pending,
            shape.columns,
            shape.arrow,
            math.ceil(total / BUCKET_BYTES),
            table=shape.table,
        )
    )


def _compare_bucket(
    open_table: OpenTable, expected: EvaluationInput, actual: EvaluationInput, bounds: KeyRange | None, found: Findings
) -> None:
    shape = expected.shape
    storage, settings = open_table.storage, open_table.settings
    done: Evaluation | None = None
    if expected.pending.rows:
        locate = local_locator(storage, shape, settings.threads)
        done = evaluate(storage, expected, locate=locate, bounds=bounds)
    gone = gone_rows(storage, expected, done, settings)
    wanted, stored = Digest(), Digest()
    names = list(shape.schema.names)
    for file in () if expected.erased else expected.files:
        rows = _within(alive_rows(storage, file, shape, names, gone.get(file.number)), bounds)
        wanted.add(content_hashes(rows, shape.schema))
    if done is not None:
        wanted.add(content_hashes(done.rows, shape.schema))
    keys = []
    for file in actual.files:
        rows = _within(alive_rows(storage, file, shape, names, None), bounds)
        stored.add(content_hashes(rows, shape.schema))
        keys.append(rows.select(list(shape.columns.key)))
    found.rows += stored.rows
    _check_keys(keys, shape.columns.key, found)
    if (wanted.total, wanted.rows) != (stored.total, stored.rows):
        within = f" for keys {bounds.low} to {bounds.high}" if bounds else ""
        found.problems.append(
            f"{open_table.table}: the base has {stored.rows} rows{within}, the log gives {wanted.rows}, "
            "and they are not the same rows"
        )
    if shape.columns.sequence:
        _check_tombstones(open_table, expected, actual, done, bounds, found)


def _check_keys(parts: list[pa.Table], key: tuple[str, ...], found: Findings) -> None:
    if not parts:
        return
    frame = pl.from_arrow(pa.concat_tables(parts))
    assert isinstance(frame, pl.DataFrame)
    twice = frame.filter(frame.is_duplicated())
    if twice.height:
        found.problems.append(f"keys that the base has more than once: {twice.unique().head(_SHOWN).to_dicts()}")


def _check_tombstones(
    open_table: OpenTable,
    expected: EvaluationInput,
    actual: EvaluationInput,
    done: Evaluation | None,
    bounds: KeyRange | None,
    found: Findings,
) -> None:
    shape = expected.shape
    stored = read_tombstones(open_table.storage, actual.tombstones, shape, bounds=bounds)
    wanted = stored.clear()
    if done is not None:
        names = dict(zip(shape.columns.sequence, shape.columns.tombstone_sequence(), strict=True))
        wanted = done.deleted.select(*shape.columns.key, *(pl.col(a).alias(b) for a, b in names.items()))
    mark = actual.watermark
    if mark is not None:
        mine = [pl.col(name) for name in shape.columns.tombstone_sequence()]
        higher = above(mine, [pl.lit(value) for value in mark])
        stored, wanted = stored.filter(higher), wanted.filter(higher)
    if mark != expected.new_watermark:
        found.problems.append(
            f"{open_table.table}: the merge record's truncate watermark is {mark}, "
            f"the log gives {expected.new_watermark}"
        )
    if stored.height != wanted.height or stored.join(wanted, on=wanted.columns, how="anti").height:
        found.problems.append(
            f"{open_table.table}: the merge record has {stored.height} tombstones, the log gives {wanted.height}, "
            "and they are not the same"
        )


def _within(rows: pa.Table, bounds: KeyRange | None) -> pa.Table:
    if bounds is None:
        return rows
    frame = pl.from_arrow(rows.select(list(bounds.key)))
    assert isinstance(frame, pl.DataFrame)
    mask = frame.select(bounds.expression().alias("keep"))["keep"]
    if mask.len() == 1 and rows.num_rows != 1:
        return rows
    return rows.filter(mask.to_arrow())
