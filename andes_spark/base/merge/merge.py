"""Merging: pending versions of the log folded into the base, in one Delta commit.

The order of writing is what makes it safe: data files and tombstones, then the merge record by
put-if-absent, then the Delta entry by put-if-absent. Whoever loses the last one throws the plan away; nothing
of it was visible.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.evaluation import EvaluationInput, evaluation_input
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.base.merge.bucket import BucketJob, BucketResult, TruncateJob, fold_quarantined
from andes_spark.base.merge.plan import run_buckets
from andes_spark.base.merge.rewind import rewound
from andes_spark.base.merge.rewrite import RewriteJob
from andes_spark.base.rows import RowWriter
from andes_spark.base.snapshots import BaseSnapshot, read_record
from andes_spark.base.tombstones import fold_files
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.features import deletion_vectors_enabled
from andes_spark.delta.log import create_entry
from andes_spark.delta.state import Commit, DataFile
from andes_spark.delta.vectors import deserialize, load_vectors, write_vectors
from andes_spark.errors import CommitUnknownError
from andes_spark.log.pending import ModsInMemory, Pending
from andes_spark.model.documents import FORMAT, encode
from andes_spark.model.merge_record import MergeRecord, merge_record_path
from andes_spark.model.results import MergeCounts
from andes_spark.model.values import to_json
from andes_spark.run.executor import Executor, LocalExecutor
from andes_spark.run.steps import Steps
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.put_once import put_once

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseContext:
    """Context of the operations on a base.

    Attributes:
        storage: the table's folder.
        settings: settings of the process.
        executor: executor of parts.
        table_id: UUID of the table; also the application id of its Delta commits.
        shape: shape of the table.
        deletion_vectors: whether deleted rows are marked; otherwise their files are rewritten.
        keys: cache of the keys of base files.
    """

    storage: Storage
    settings: Settings
    executor: Executor
    table_id: str
    shape: TableShape
    deletion_vectors: bool
    keys: KeyCache

    def executor_for(self, files: Iterable[DataFile]) -> Executor:
        """Return the executor of work that reads whole files: this process while they fit the byte budget."""
        size = sum(file.arrow_bytes for file in files)
        if size <= self.settings.byte_budget:
            return LocalExecutor(self.settings.threads)
        return self.executor if self.executor.distributed else LocalExecutor(1)

    def writer(self, base: BaseSnapshot) -> RowWriter:
        """Return the writer of new rows."""
        return RowWriter(
            self.shape,
            dict(base.state.metadata.configuration),
            self.settings.target_file_bytes,
            self.settings.threads,
        )


@dataclass(frozen=True)
class Upto:
    """Last version of a merge, and the state of the base that it follows.

    Attributes:
        version: version of the log.
        commit_id: commit id of that version.
        newest: newest state of the base, which the Delta entry follows; mods may be evaluated on an older one.
    """

    version: int
    commit_id: str
    newest: BaseSnapshot


@dataclass(frozen=True)
class Merged:
    """A committed merge.

    Attributes:
        entry: entry of the Delta log.
        record: merge record of its last version.
        counts: number of mods by outcome.
    """

    entry: Commit
    record: MergeRecord
    counts: MergeCounts

    @property
    def applied(self) -> int:
        """Last merged version of the log."""
        return self.record.version


def merge_pending(
    context: BaseContext,
    base: BaseSnapshot,
    pending: Pending,
    upto: Upto,
    *,
    steps: Steps,
    in_memory: ModsInMemory | None,
) -> Merged | None:
    """Merge pending mods into a base, and commit.

    Returns:
        None if another commit took the Delta version: nothing of this merge is visible, and its files are deleted.

    Raises:
        CommitUnknownError: the outcome of the commit is unknown; no file was deleted.
        AndesError: reading or writing failed; nothing is visible.
    """
    inputs = evaluation_input(base, pending, context.shape)
    results, changes = _write(context, base, inputs, upto.version, steps, in_memory)
    with steps.step("write merge record"):
        record = _record(context, base, inputs, results, upto)
    with steps.step("commit to Delta"):
        return _commit(context, base, upto, changes, record, _counts(results, pending))


def rehearse(context: BaseContext, base: BaseSnapshot, pending: Pending, version: int, *, steps: Steps) -> None:
    """Run a merge up to its commit and delete the files that it wrote.

    Raises:
        Exception: error that the merge would raise.
    """
    results, changes = _write(context, base, evaluation_input(base, pending, context.shape), version, steps, None)
    drop_files(context, changes, base)
    side_files = [file for result in results for file in (result.tombstones, result.quarantined) if file is not None]
    context.storage.delete(file.path for file in side_files)


def _write(
    context: BaseContext,
    base: BaseSnapshot,
    inputs: EvaluationInput,
    version: int,
    steps: Steps,
    in_memory: ModsInMemory | None,
) -> tuple[list[BucketResult], list[Action]]:
    """Write the files of a merge; return the results of its buckets, and its changes to the files of the base."""
    writer = context.writer(base)
    with steps.step("merge rows"):
        job = BucketJob(context.storage, inputs, writer, version, context.settings.threads)
        results = run_buckets(job, context.executor, context.settings, in_memory=in_memory, cache=context.keys)
        gone = _gone(context, inputs, results)
    with steps.step("write deletion vectors"):
        # The property may have been switched off since the table was created.
        marks = context.deletion_vectors and deletion_vectors_enabled(base.state)
        changes = _mark(context, inputs, gone) if marks else _rewrite(context, inputs, gone, writer)
    return results, [*changes, *(action for result in results for action in result.adds)]


def _gone(context: BaseContext, inputs: EvaluationInput, results: Iterable[BucketResult]) -> dict[int, BitMap64]:
    """Collect deleted rows, by number of the file."""
    rows: dict[int, BitMap64] = {}
    for result in results:
        for number, data in result.deleted.items():
            rows[number] = rows.get(number, BitMap64()) | deserialize(data)
    if not inputs.pending.truncates or inputs.erased or inputs.new_watermark is None:
        return rows
    job = TruncateJob(context.storage, context.shape, inputs.new_watermark)
    executor = context.executor_for(file.file for file in inputs.files)
    for number, data in executor.map(job, inputs.files, step="find truncated rows"):
        if data:
            rows[number] = rows.get(number, BitMap64()) | deserialize(data)
    return rows


def _whole(inputs: EvaluationInput, gone: Mapping[int, BitMap64], dead: Mapping[str, BitMap64]) -> list[NumberedFile]:
    """Select files without remaining rows."""
    if inputs.erased:
        return list(inputs.files)
    return [
        file
        for file in inputs.files
        if file.number in gone and len(gone[file.number] | dead.get(file.path, BitMap64())) == file.file.num_records
    ]


def _touched(inputs: EvaluationInput, gone: Mapping[int, BitMap64]) -> list[NumberedFile]:
    """Select files with deleted rows."""
    return [file for file in inputs.files if file.number in gone]


def _dead(context: BaseContext, touched: Iterable[NumberedFile]) -> dict[str, BitMap64]:
    """Read the rows of touched files that were deleted before, by path."""
    vectors = {file.path: file.file.vector for file in touched if file.file.vector is not None}
    cached = {path: context.keys.find_vector(path, vector) for path, vector in vectors.items()}
    in_memory = {path: vector for path, vector in cached.items() if vector is not None}
    missing = {path: vector for path, vector in vectors.items() if path not in in_memory}
    return in_memory | load_vectors(context.storage, missing)


def _mark(context: BaseContext, inputs: EvaluationInput, gone: Mapping[int, BitMap64]) -> list[Action]:
    """Mark rows as deleted; return the ``remove`` and ``add`` actions."""
    touched = _touched(inputs, gone)
    dead = _dead(context, touched)
    removed = _whole(inputs, gone, dead)
    now = time.time_ns() // 1_000_000
    result = [actions.remove(file.file, timestamp_ms=now) for file in removed]
    whole = {file.number for file in removed}
    kept = {file.path: file for file in touched if file.number not in whole}
    marked = {path: gone[file.number] | dead.get(path, BitMap64()) for path, file in kept.items()}
    descriptors = write_vectors(context.storage, marked)
    for path, descriptor in descriptors.items():
        context.keys.put_vector(path, descriptor, marked[path])
        result.append(actions.remove(kept[path].file, timestamp_ms=now))
        result.append(actions.add_with_vector(kept[path].file, descriptor))
    return result


def _rewrite(
    context: BaseContext, inputs: EvaluationInput, gone: Mapping[int, BitMap64], writer: RowWriter
) -> list[Action]:
    """Rewrite touched files without their deleted rows; return the ``remove`` and ``add`` actions."""
    touched = _touched(inputs, gone)
    removed = _whole(inputs, gone, _dead(context, touched))
    whole = {file.number for file in removed}
    now = time.time_ns() // 1_000_000
    parts = [(file, gone[file.number]) for file in touched if file.number not in whole]
    job = RewriteJob(context.storage, context.shape, writer, data_change=True)
    executor = context.executor_for(file.file for file in touched)
    written = executor.map(job, [[part] for part in parts], step="rewrite files")
    return [
        *(actions.remove(file.file, timestamp_ms=now) for file in removed),
        *(actions.remove(file.file, timestamp_ms=now) for file, _ in parts),
        *(action for adds in written for action in adds),
    ]


def _record(
    context: BaseContext, base: BaseSnapshot, inputs: EvaluationInput, results: Iterable[BucketResult], upto: Upto
) -> MergeRecord:
    """Create the merge record of a version; return it, or the one of another merge if it exists."""
    watermark = inputs.new_watermark
    new_tombstones = [result.tombstones for result in results if result.tombstones is not None]
    tombstones = fold_files(
        context.storage,
        [*base.record.tombstones, *new_tombstones],
        context.shape,
        version=upto.version,
        watermark=watermark,
    )
    quarantined = [result.quarantined for result in results if result.quarantined is not None]
    set_aside = fold_quarantined(
        context.storage, [*base.record.quarantined, *quarantined], context.shape, version=upto.version
    )
    record = MergeRecord(
        format=FORMAT,
        table_id=context.table_id,
        version=upto.version,
        commit_id=upto.commit_id,
        truncates=_quoted(watermark, context.shape),
        tombstones=tombstones,
        quarantined=set_aside,
    )
    stored = _put_record(context, record)
    if stored is not record:
        used = {file.path for file in (*stored.tombstones, *stored.quarantined)}
        known = {file.path for file in (*base.record.tombstones, *base.record.quarantined)}
        written = {file.path for file in (*new_tombstones, *tombstones, *quarantined, *set_aside)}
        context.storage.delete(sorted(written - used - known))
    return stored


def _put_record(context: BaseContext, record: MergeRecord) -> MergeRecord:
    """Create a merge record unless it exists; return the stored one.

    Raises:
        CommitUnknownError: the outcome is unknown; no file was deleted.
    """
    path = merge_record_path(record.version, record.commit_id)
    data = encode(record)
    stored = put_once(context.storage, path, data, seconds=context.settings.commit_seconds)
    if stored is None:
        raise CommitUnknownError(
            f"{context.shape.table}: the store does not say whether {path} was written; merge again later",
            table=context.shape.table,
            version=record.version,
        )
    if stored == data:
        return record
    return read_record(context.storage, context.table_id, record.version, record.commit_id)


def _quoted(mark: tuple[object, ...] | None, shape: TableShape) -> list[list[object]]:
    if mark is None:
        return []
    names = shape.columns.sequence
    # Never shortened: without the watermark the removed rows would return.
    kinds = [shape.arrow.field(name).type for name in names]
    return [[to_json(pa.scalar(value, kind)) for kind, value in zip(kinds, mark, strict=True)]]


def _counts(results: Iterable[BucketResult], pending: Pending) -> MergeCounts:
    total = MergeCounts(truncated=pending.truncate_rows, discarded=pending.discarded)
    for result in results:
        total = total.plus(result.counts)
    return total


def _commit(
    context: BaseContext,
    base: BaseSnapshot,
    upto: Upto,
    changes: list[Action],
    record: MergeRecord,
    counts: MergeCounts,
) -> Merged | None:
    commit_id = str(uuid.uuid4())
    newest, version = upto.newest, upto.newest.version + 1
    now = time.time_ns() // 1_000_000
    files = changes
    if newest.version != base.version:
        files = rewound(newest.state.files, base.state.files, changes, timestamp_ms=now)
    metrics = {name: getattr(counts, name) for name in MergeCounts.__dataclass_fields__}
    info = actions.commit_info(
        "MERGE",
        timestamp_ms=now,
        commit_id=commit_id,
        parameters={"andes_from": base.applied, "andes_to": upto.version},
        metrics=metrics,
        read_version=newest.version,
        previous=newest.state.commit_id,
    )
    entry = [info, actions.txn(context.table_id, upto.version), *files]
    commit = commit_entry(context, version, entry, commit_id)
    if commit is None:
        drop_files(context, changes, base)
        return None
    return Merged(commit, record, counts)


def commit_entry(context: BaseContext, version: int, entry: list[Action], commit_id: str) -> Commit | None:
    """Create a Delta entry; None if another commit took the version.

    It is read back before anything later is built on it, see ``Base.advance``.

    Raises:
        CommitUnknownError: the outcome is unknown.
    """
    stored = create_entry(context.storage, version, entry, seconds=context.settings.commit_seconds)
    if stored is None:
        raise CommitUnknownError(
            f"{context.shape.table}: the store does not say whether Delta version {version} was committed; "
            "merge again later",
            table=context.shape.table,
            delta_version=version,
        )
    return stored if stored.commit_id == commit_id else None


def drop_files(context: BaseContext, changes: Iterable[Action], base: BaseSnapshot) -> None:
    """Delete files that a lost commit would have added; those of the base stay."""
    files = [DataFile.from_add(change["add"]) for change in changes if "add" in change]
    live = base.state.files.values()
    known = {file.location for file in live} | {file.vector.file_path for file in live if file.vector is not None}
    added = {file.location for file in files} | {file.vector.file_path for file in files if file.vector is not None}
    context.storage.delete(sorted(path for path in added - known if path is not None))
