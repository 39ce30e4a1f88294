"""Verification: comparison of all stored files with the log."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import evaluate, local_locator
from andes_spark.base.evaluation import Evaluation, EvaluationInput, evaluation_input
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
from andes_spark.model.display import Displayed, count_text
from andes_spark.model.manifest import Manifest
from andes_spark.model.merge_record import no_record
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.verify_log import check_log
from andes_spark.table.maintenance.verify_past import check_past, newest_entry
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import alive_rows, gone_rows

_SHOWN = 10


@dataclass(frozen=True, repr=False)
class VerifyResult(Displayed):
    """Result of a verification.

    Attributes:
        version: newest version of the log.
        applied: version that the base contains.
        files: number of files whose checksums were compared.
        rows: number of rows of the base compared with the law's evaluation.
        problems: messages of the problems; empty if there are none.
        missing: data files and deletion vectors of older states of the base that no longer exist, as after a VACUUM
            with a retention. They do not affect the newest version.
    """

    version: int
    applied: int
    files: int
    rows: int
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def summary(self) -> str:
        """See ``Displayed``."""
        result = "nothing is wrong" if self.ok else count_text(len(self.problems), "problems")
        return f"{result}; version {self.version}, {count_text(self.files, 'files')}, {count_text(self.rows, 'rows')}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        fields = {
            "problems": "\n".join(self.problems) or "none",
            "version": f"{self.version}; the base contains version {self.applied}",
            "checked": f"{count_text(self.files, 'files')}, {count_text(self.rows, 'rows')} of the base",
        }
        return fields | ({"missing": "\n".join(self.missing)} if self.missing else {})


def verify(open_table: OpenTable) -> VerifyResult:
    """Verify a table, above the byte budget one range of keys after the other; see ``ModTable.verify``."""
    findings = Findings()
    # The base is read first: with concurrent writers, it must not contain more than the log that is read.
    base = findings.get(open_table.base.snapshot)
    findings.check(open_table.log.refresh)
    head = open_table.log.head
    manifests = check_log(open_table, head, findings)
    if base is None:
        check_past(open_table, newest_entry(open_table.storage), (), findings)
        return VerifyResult(head, -1, findings.files, findings.rows, tuple(findings.problems), tuple(findings.missing))
    if base.foreign is not None:
        findings.problems.append(base.foreign.error(open_table.table).message)
    for path, file in base.state.files.items():
        if file.footer is not None:
            findings.check(lambda path=path, mark=file.footer: findings.page_index(open_table.storage, path, mark))  # type: ignore[misc]
    if base.applied > head:
        findings.check(lambda: open_table.log.pending(base.applied, head))
    elif manifests is not None:
        findings.check(lambda: _compare(open_table, manifests, base, findings))
    compared = base.state.files if base.applied <= head and manifests is not None else ()
    check_past(open_table, base.version, compared, findings)
    return VerifyResult(
        head, base.applied, findings.files, findings.rows, tuple(findings.problems), tuple(findings.missing)
    )


def _compare(open_table: OpenTable, manifests: list[Manifest], base: BaseSnapshot, findings: Findings) -> None:
    """Compare the base with the law's evaluation of all mods from the origin on."""
    shape = open_table.shape()
    origin = manifests[0].origin
    start_state = load_state(open_table.storage, version=origin.delta_version if origin else 0)
    start = BaseSnapshot(start_state, 0, no_record(open_table.table_id))
    versions = [manifest.pending for manifest in manifests[1 : base.applied + 1]]
    expected = evaluation_input(start, pending_of(versions, shape.versions, shape.columns), shape)
    actual = evaluation_input(base, Pending((), ()), shape)
    for bounds in _bounds(open_table, expected, actual):
        _compare_bucket(open_table, expected, actual, bounds, findings)


def _bounds(open_table: OpenTable, expected: EvaluationInput, actual: EvaluationInput) -> list[KeyRange | None]:
    sizes = estimate(expected)
    rows = sum(numbered.file.size for numbered in actual.files) * 8
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
    open_table: OpenTable,
    expected: EvaluationInput,
    actual: EvaluationInput,
    bounds: KeyRange | None,
    findings: Findings,
) -> None:
    shape = expected.shape
    storage, settings = open_table.storage, open_table.settings
    done: Evaluation | None = None
    if expected.pending.rows:
        locate = local_locator(storage, shape, settings.threads)
        done = findings.get(lambda: evaluate(storage, expected, locate=locate, bounds=bounds))
    evaluated = done is not None or not expected.pending.rows
    logged = findings.get(lambda: _expected_rows(open_table, expected, done, bounds)) if evaluated else None
    stored = Digest()
    keys: list[pa.Table] = []
    for file in actual.files:
        rows = findings.get(lambda file=file: alive_rows(storage, file, shape, shape.schema.names, None))  # type: ignore[misc]
        if rows is None:
            logged = None
            continue
        rows = _within(rows, bounds)
        stored.add(content_hashes(rows, shape.schema))
        keys.append(rows.select(list(shape.columns.key)))
    findings.rows += stored.rows
    _check_keys(keys, shape.columns.key, findings)
    if logged is not None and (logged.total, logged.rows) != (
        stored.total,
        stored.rows,
    ):
        within = f" for keys {bounds.low} to {bounds.high}" if bounds else ""
        findings.problems.append(
            f"{open_table.table}: the base has {stored.rows} rows{within}, the log gives {logged.rows}, "
            "and they are not the same rows"
        )
    if shape.columns.sequence and evaluated:
        findings.check(lambda: _check_tombstones(open_table, expected, actual, done, bounds, findings))


def _expected_rows(
    open_table: OpenTable, expected: EvaluationInput, done: Evaluation | None, bounds: KeyRange | None
) -> Digest:
    """Digest of the rows evaluated from the log: remaining rows of the origin, and rows of mods."""
    shape, storage = expected.shape, open_table.storage
    gone = gone_rows(storage, expected, done, open_table.settings)
    digest = Digest()
    for file in () if expected.erased else expected.files:
        rows = _within(alive_rows(storage, file, shape, shape.schema.names, gone.get(file.number)), bounds)
        digest.add(content_hashes(rows, shape.schema))
    if done is not None:
        digest.add(content_hashes(done.rows, shape.schema))
    return digest


def _check_keys(parts: list[pa.Table], key: tuple[str, ...], findings: Findings) -> None:
    if not parts:
        return
    frame = pl.from_arrow(pa.concat_tables(parts))
    assert isinstance(frame, pl.DataFrame)
    twice = frame.filter(frame.is_duplicated())
    if twice.height:
        findings.problems.append(f"keys that the base has more than once: {twice.unique().head(_SHOWN).to_dicts()}")


def _check_tombstones(
    open_table: OpenTable,
    expected: EvaluationInput,
    actual: EvaluationInput,
    done: Evaluation | None,
    bounds: KeyRange | None,
    findings: Findings,
) -> None:
    shape = expected.shape
    stored = read_tombstones(open_table.storage, actual.tombstones, shape, bounds=bounds)
    logged = stored.clear()
    if done is not None:
        names = dict(zip(shape.columns.sequence, shape.columns.tombstone_sequence(), strict=True))
        logged = done.deleted.select(*shape.columns.key, *(pl.col(a).alias(b) for a, b in names.items()))
    mark = actual.watermark
    if mark is not None:
        sequence = [pl.col(name) for name in shape.columns.tombstone_sequence()]
        higher = above(sequence, [pl.lit(value) for value in mark])
        stored, logged = stored.filter(higher), logged.filter(higher)
    if mark != expected.new_watermark:
        findings.problems.append(
            f"{open_table.table}: the merge record's truncate watermark is {mark}, "
            f"the log gives {expected.new_watermark}"
        )
    if stored.height != logged.height or stored.join(logged, on=logged.columns, how="anti").height:
        findings.problems.append(
            f"{open_table.table}: the merge record has {stored.height} tombstones, the log gives {logged.height}, "
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
