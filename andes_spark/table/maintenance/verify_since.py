"""Verification of what changed since a version: new manifests and Delta entries, the files that they name, and rows.

The state of the base with that version, or an earlier one, counts as right. The mods since then are evaluated on it,
and the result is compared with the rows of the newest base, without those of files that both states have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.evaluation import EvaluationInput, evaluation_input
from andes_spark.base.files import NumberedFile, NumberedFiles, TableShape
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.sorted_rows import SortedRows
from andes_spark.delta.vectors import load_vector
from andes_spark.errors import FileDamagedError, NotFoundError, VersionExpiredError
from andes_spark.law.rows import content_hashes
from andes_spark.log.pending import Pending, pending_of
from andes_spark.log.readable import check_readable, floor_of
from andes_spark.log.tags import tags_before
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.verify_log import check_log
from andes_spark.table.maintenance.verify_past import PastCheck
from andes_spark.table.maintenance.verify_rows import LEAST_BYTES, SHARE
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import (
    Selection,
    add_rows,
    base_parts,
    evaluated,
    gone_rows,
    pending_ranges,
    replaced_rows,
    truncated_rows,
)

_HASH = ("_andes_hash_0", "_andes_hash_1")
_SIDE = "_andes_side"
_SHOWN = 10


def check_since(open_table: OpenTable, base: BaseSnapshot, since: int, findings: Findings) -> None:
    """Check what was added after a version.

    Args:
        open_table: the table.
        base: newest state of the base.
        since: version at or above the floor.
        findings: collector of problems.

    Raises:
        NoSuchVersionError, VersionExpiredError: the version does not exist, or what was added after it is not kept.
    """
    _check_kept(open_table, since)
    storage, head = open_table.storage, open_table.log.head
    tags = findings.get(partial(tags_before, open_table.log, since))
    # With the manifest before, whose digest the first one names.
    check_log(storage, range(since, head + 1), findings, expects=lambda version, path: version > since, tags=tags)
    before = findings.get(partial(open_table.base.older, since))
    if before is None:
        return
    past = PastCheck(
        storage,
        open_table.table_id,
        open_table.shape(),
        compared=before.state.files,
        expects=lambda delta_version, path: True,
        batch_bytes=max(LEAST_BYTES, open_table.settings.byte_budget // SHARE),
        findings=findings,
    )
    past.run(range(before.version + 1, base.version + 1))
    for path, file in base.state.files.items():
        if file.footer is not None and path not in before.state.files:
            findings.check(partial(findings.page_index, storage, path, file.footer))
    if before.applied < base.applied:
        findings.check(partial(_compare_rows, open_table, before, base, findings))


def _check_kept(open_table: OpenTable, since: int) -> None:
    """Refuse a version after which mods may be gone: a tag or a pin keeps those of its version only.

    Raises:
        NoSuchVersionError, VersionExpiredError
    """
    log = open_table.log
    check_readable(log, since)
    floor = floor_of(log)
    if since < floor:
        raise VersionExpiredError(
            f"{log.table}: what was added after version {since} is no longer kept: a vacuum released the versions "
            f"below {floor}; verify from there on, or without a version",
            table=log.table,
            version=since,
            floor=floor,
        )


def _compare_rows(open_table: OpenTable, before: BaseSnapshot, base: BaseSnapshot, findings: Findings) -> None:
    """Compare from an earlier state, or from the oldest one that is needed if files of that state are gone.

    A rebuild of the base leaves states between the two without their files.
    """
    try:
        _compare(open_table, before, base, findings)
    except (FileDamagedError, NotFoundError) as error:
        path = error.path
        if path is None or path in base.state.files or open_table.storage.size(path) is not None:
            raise
        oldest = open_table.base.older(floor_of(open_table.log))
        if oldest.version >= before.version:
            raise
        _compare(open_table, oldest, base, findings)
        if path not in findings.missing:
            findings.missing.append(path)


def _compare(open_table: OpenTable, before: BaseSnapshot, base: BaseSnapshot, findings: Findings) -> None:
    """Compare the newest base with the evaluation of the mods since an earlier state."""
    shape = open_table.shape_at(base.applied)
    start, versions = open_table.evaluable(before, base.applied)
    pending = pending_of(versions, shape.versions, shape.columns)
    expected = evaluation_input(start, pending, shape)
    stored = evaluation_input(base, Pending((), ()), shape)
    check = _Comparison(open_table.storage, open_table.settings, expected, stored)
    problem = check.run()
    findings.rows += check.rows
    if problem:
        findings.problems.append(f"{open_table.table}: {problem}")


class _Comparison:
    """A comparison of rows.

    Args:
        storage: the table's folder.
        settings: settings of the process.
        expected: an earlier state, and the mods since.
        stored: the newest state.

    Attributes:
        rows: number of rows of the newest state that were compared.
    """

    def __init__(
        self, storage: Storage, settings: Settings, expected: EvaluationInput, stored: EvaluationInput
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._expected = expected
        self._stored = stored
        names = tuple(expected.shape.schema.names)
        self._all = Selection(names, names, None, None)
        self.rows = 0

    def run(self) -> str:
        """Return a description of the differences; an empty text if there are none."""
        shape = self._expected.shape
        fields = [shape.arrow.field(name).with_nullable(True) for name in shape.columns.key]
        added = [*(pa.field(name, pa.int64()) for name in _HASH), pa.field(_SIDE, pa.int8())]
        memory = max(LEAST_BYTES, self._settings.byte_budget // SHARE)
        examples: list[object] = []
        with SortedRows(pa.schema([*fields, *added]), shape.columns.key, memory) as collected:
            sides: tuple[Iterable[pa.Table], ...] = self._sides()
            for side, parts in enumerate(sides):
                for part in parts:
                    self.rows += side * part.num_rows
                    collected.add(_narrow(part, shape, side).cast(pa.schema([*fields, *added])))
            for piece in collected.pieces():
                examples += _differing(piece, shape)
        if not examples:
            return ""
        return (
            f"{len(examples)} keys of the base have other rows than the log gives, such as {examples[:_SHOWN]}; "
            "verify() without a version compares all of them"
        )

    def _common(self, replaced: Mapping[int, BitMap64]) -> set[str]:
        """Files of both states of which the mods leave the rows that are left.

        Args:
            replaced: rows that the mods replace or remove, by number of the file.
        """
        stored = {file.path: file for file in self._stored.files}
        common: set[str] = set()
        for file in self._expected.files:
            same, more = stored.get(file.path), replaced.get(file.number, BitMap64())
            if same is None:
                continue
            if (not more and same.file.vector == file.file.vector) or (
                _dead(self._storage, file) | more == _dead(self._storage, same)
            ):
                common.add(file.path)
        return common

    def _sides(self) -> tuple[Iterator[pa.Table], Iterator[pa.Table]]:
        """Rows by the law, and rows of the base, both without files of which the same rows are left."""
        storage, settings, expected = self._storage, self._settings, self._expected
        ranges = pending_ranges(storage, expected, settings)
        evaluation = evaluated(storage, expected, settings, columns=self._all.used) if ranges == [None] else None
        replaced = gone_rows(storage, expected, evaluation, settings) if ranges == [None] else {}
        if ranges != [None]:
            replaced = truncated_rows(storage, expected, settings)
            for bounds in ranges:
                keys = expected.shape.columns.key
                add_rows(replaced, replaced_rows(evaluated(storage, expected, settings, columns=keys, bounds=bounds)))
        common = self._common(replaced)

        def by_law() -> Iterator[pa.Table]:
            uncommon = replace(expected, files=_others(expected.files, common if not expected.erased else set()))
            yield from base_parts(storage, uncommon, settings, self._all, replaced)
            for bounds in ranges:
                part = evaluation or evaluated(storage, expected, settings, columns=self._all.used, bounds=bounds)
                if part is not None:
                    yield part.rows

        stored = replace(self._stored, files=_others(self._stored.files, common if not expected.erased else set()))
        return by_law(), base_parts(storage, stored, settings, self._all, {})


def _dead(storage: Storage, file: NumberedFile) -> BitMap64:
    """Rows of a file that its vector marks as deleted."""
    return BitMap64() if file.file.vector is None else load_vector(storage, file.file.vector)


def _others(files: NumberedFiles, common: set[str]) -> NumberedFiles:
    return files.pick([at for at, file in enumerate(files) if file.path not in common])


def _narrow(rows: pa.Table, shape: TableShape, side: int) -> pa.Table:
    hashes = content_hashes(rows, shape.schema).view(np.int64)
    columns = {name: rows[name] for name in shape.columns.key}
    added = {name: pa.array(hashes[:, number]) for number, name in enumerate(_HASH)}
    return pa.table({**columns, **added, _SIDE: pa.array(np.full(rows.num_rows, side, np.int8))})


def _differing(piece: pa.Table, shape: TableShape) -> list[object]:
    """Keys whose rows are not the same on both sides, each as often."""
    frame = pl.from_arrow(piece)
    assert isinstance(frame, pl.DataFrame)
    key = list(shape.columns.key)
    counts = frame.group_by([*key, *_HASH]).agg(pl.col(_SIDE).sum().alias("found"), pl.len().alias("both"))
    wrong = counts.filter((pl.col("found") != 1) | (pl.col("both") != 2))
    return list(wrong.select(key).unique(maintain_order=True).to_dicts())
