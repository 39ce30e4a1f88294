"""Merging: pending versions of the log folded into the base, in one Delta commit.

The order of writing makes it safe: data files and tombstones, which a plan writes and nothing refers to; then the merge
record and the Delta entry, see ``base.merge.finish``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pyroaring import BitMap64

from andes_spark.base.evaluation import EvaluationInput, evaluation_input, quoted
from andes_spark.base.expiring import after_expires
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.base.merge import bucket
from andes_spark.base.merge.bucket import BucketJob, BucketResult, TruncateJob, fold_quarantined
from andes_spark.base.merge.plan import run_buckets
from andes_spark.base.merge.rewrite import RewriteJob
from andes_spark.base.metadata import altered_configuration
from andes_spark.base.rows import RowWriter
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.tombstones import fold_files, forget_tombstones
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.features import deletion_vectors_enabled
from andes_spark.delta.log import create_entry
from andes_spark.delta.state import Commit
from andes_spark.delta.vectors import deserialize, load_vectors, write_vectors
from andes_spark.errors import AndesError, CommitUnknownError
from andes_spark.log.alterations import Alteration
from andes_spark.log.pending import ModsInMemory, Pending
from andes_spark.model.definition import Definition
from andes_spark.model.files import SideFile
from andes_spark.model.results import MergeCounts, WrittenBytes
from andes_spark.run.executor import Executor, LocalExecutor
from andes_spark.run.steps import Steps
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.recording import RecordingStorage

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
        definition: definition of the table.
        keys: cache of the keys of base files.
    """

    storage: Storage
    settings: Settings
    executor: Executor
    table_id: str
    shape: TableShape
    definition: Definition
    keys: KeyCache

    @property
    def deletion_vectors(self) -> bool:
        """Whether deleted rows are marked; otherwise their files are rewritten."""
        return self.definition.deletion_vectors

    def executor_for(self, files: Iterable[DataFile]) -> Executor:
        """Return the executor of work that reads whole files: this process while they fit the byte budget."""
        size = sum(file.arrow_bytes for file in files)
        if size <= self.settings.byte_budget:
            return LocalExecutor(self.settings.threads)
        return self.executor if self.executor.distributed else LocalExecutor(1)

    def writer(self, base: BaseSnapshot, alteration: Alteration | None = None) -> RowWriter:
        """Return the writer of new rows, after changes of the definition that the base lacks."""
        return RowWriter(
            self.shape,
            altered_configuration(self.definition, alteration, base.state),
            self.settings.target_file_bytes,
            self.settings.threads,
        )


@dataclass(frozen=True)
class Planned:
    """A merge whose files are written; nothing refers to them yet.

    Attributes:
        base: state that it was planned on.
        version: version of the log that it goes up to.
        changes: removes and adds of the Delta entry.
        alteration: changes of the definition that the base lacks; None for none.
        truncates: sequences of truncates in effect after it.
        cut: sequence at or below which later mods take no part; None for none.
        tombstones: complete set of tombstone files after it.
        quarantined: complete set of files of quarantined mods after it.
        side_files: tombstone and quarantine files that it wrote.
        counts: of mods, by what became of them.
        written: size of the files of the base that it wrote.
    """

    base: BaseSnapshot
    version: int
    changes: list[Action]
    alteration: Alteration | None
    truncates: list[list[object]]
    cut: list[object] | None
    tombstones: list[SideFile]
    quarantined: list[SideFile]
    side_files: frozenset[str]
    counts: MergeCounts
    written: WrittenBytes

    @property
    def files(self) -> set[str]:
        """The paths of all files that the plan wrote."""
        return _new_files(self.changes, self.base) | self.side_files


def plan_merge(
    context: BaseContext,
    base: BaseSnapshot,
    pending: Pending,
    version: int,
    *,
    steps: Steps,
    in_memory: ModsInMemory | None,
) -> Planned:
    """Evaluate a merge and write its files.

    Args:
        context: context of the operations on the base.
        base: state to merge into.
        pending: mods of the versions up to ``version``.
        version: of the log; it need not be committed yet.
        steps: of the operation.
        in_memory: mod files that are in memory.

    Raises:
        Exception: the merge failed; the files that this process wrote are deleted.
    """
    storage = RecordingStorage(context.storage)
    try:
        return _planned(replace(context, storage=storage), base, pending, version, steps, in_memory)
    except BaseException:
        discard(context.storage, storage.paths)
        raise


def discard(storage: Storage, paths: Iterable[str]) -> None:
    """Delete files that nothing refers to; if that fails they take up space, and no error is raised."""
    unused = sorted(paths)
    try:
        storage.delete(unused)
    except AndesError as error:
        _LOGGER.info("%s: unused files of a merge remain: %s: %s", storage.url, unused, error)


def drop_planned(storage: Storage, planned: Planned) -> None:
    """Delete the files of a merge that is given up before its record was written."""
    discard(storage, planned.files)


def drop_changes(storage: Storage, planned: Planned) -> None:
    """Delete the files of a merge that is given up after its record was written, which names the other files."""
    discard(storage, planned.files - planned.side_files)


def rehearse(context: BaseContext, base: BaseSnapshot, pending: Pending, version: int, *, steps: Steps) -> None:
    """Run a merge up to its commit and delete the files that it wrote.

    Raises:
        Exception: error that the merge would raise.
    """
    drop_planned(context.storage, plan_merge(context, base, pending, version, steps=steps, in_memory=None))


def _planned(
    context: BaseContext,
    base: BaseSnapshot,
    pending: Pending,
    version: int,
    steps: Steps,
    in_memory: ModsInMemory | None,
) -> Planned:
    inputs = evaluation_input(base, pending, context.shape)
    results, changes = _write(context, base, inputs, version, steps, in_memory)
    tombstones = [result.tombstones for result in results if result.tombstones is not None]
    quarantined = [result.quarantined for result in results if result.quarantined is not None]
    with steps.step("fold tombstones"):
        beside = after_expires(context.storage, inputs, base.record.tombstones, version=version)
        folded = fold_files(
            context.storage,
            [*beside.tombstones, *tombstones],
            context.shape,
            version=version,
            watermark=inputs.new_watermark,
        )
        all_tombstones = forget_tombstones(
            context.storage, folded, beside.tombstones, beside.forgotten, context.shape, version=version
        )
        quarantined += bucket.write_expired_truncates(context.storage, inputs, version, in_memory)
        all_quarantined = fold_quarantined(
            context.storage, [*base.record.quarantined, *quarantined], context.shape, version=version
        )
    known = {file.path for file in (*base.record.tombstones, *base.record.quarantined)}
    known |= {file.path for _, file in pending.forgotten}
    written = {file.path for file in (*tombstones, *quarantined, *folded, *all_tombstones, *all_quarantined)}
    written |= {file.path for file in (*beside.tombstones, *beside.forgotten)}
    return Planned(
        base=base,
        version=version,
        changes=changes,
        alteration=pending.alteration,
        truncates=[] if inputs.new_watermark is None else [quoted(inputs.new_watermark, context.shape)],
        cut=None if inputs.pending.expiry.new_cut is None else quoted(inputs.pending.expiry.new_cut, context.shape),
        tombstones=all_tombstones,
        quarantined=all_quarantined,
        side_files=frozenset(written - known),
        counts=_counts(results, inputs.pending),
        written=_written(results, changes),
    )


def _written(results: Iterable[BucketResult], changes: Iterable[Action]) -> WrittenBytes:
    """Return the size of the new files among the changes of a merge; a file with a new vector was not written."""
    new = sum(add["add"]["size"] for result in results for add in result.adds)
    adds = [change["add"] for change in changes if "add" in change]
    return WrittenBytes(new, sum(add["size"] for add in adds if "deletionVector" not in add) - new)


def _write(
    context: BaseContext,
    base: BaseSnapshot,
    inputs: EvaluationInput,
    version: int,
    steps: Steps,
    in_memory: ModsInMemory | None,
) -> tuple[list[BucketResult], list[Action]]:
    """Write the files of a merge; return the results of its buckets, and its changes to the files of the base."""
    writer = context.writer(base, inputs.pending.alteration)
    with steps.step("merge rows"):
        job = BucketJob(context.storage, inputs, writer, version, context.settings.threads)
        results = run_buckets(job, context.executor, context.settings, in_memory=in_memory, cache=context.keys)
        deleted = _deleted(context, inputs, results)
    with steps.step("write deletion vectors"):
        # The property may have been switched off since the table was created.
        rewrites = inputs.pending.rewrites
        marks = context.deletion_vectors and deletion_vectors_enabled(base.state) and not rewrites
        if rewrites:
            deleted = {number: BitMap64() for number in inputs.files.numbers.tolist()} | deleted
        changes = _delete(context, inputs, deleted, writer) if marks else _rewrite(context, inputs, deleted, writer)
    return results, [*changes, *(action for result in results for action in result.adds)]


def _deleted(context: BaseContext, inputs: EvaluationInput, results: Iterable[BucketResult]) -> dict[int, BitMap64]:
    """Collect deleted rows, by number of the file."""
    rows: dict[int, BitMap64] = {}
    for result in results:
        for number, data in result.deleted.items():
            rows[number] = rows.get(number, BitMap64()) | deserialize(data)
    if not inputs.pending.truncates or inputs.erased or inputs.swept is None:
        return rows
    job = TruncateJob(context.storage, context.shape, inputs.swept)
    executor = context.executor_for(file.file for file in inputs.files)
    for number, data in executor.map(job, inputs.files, step="find truncated rows"):
        if data:
            rows[number] = rows.get(number, BitMap64()) | deserialize(data)
    return rows


def _void(inputs: EvaluationInput, deleted: Mapping[int, BitMap64], dead: Mapping[str, BitMap64]) -> list[NumberedFile]:
    """Select files without remaining rows."""
    if inputs.erased:
        return list(inputs.files)
    return [
        file
        for file in _touched(inputs, deleted)
        if len(deleted[file.number] | dead.get(file.path, BitMap64())) == file.file.num_records
    ]


def _touched(inputs: EvaluationInput, deleted: Mapping[int, BitMap64]) -> list[NumberedFile]:
    """Select files with deleted rows."""
    return [inputs.files.numbered(number) for number in sorted(deleted)]


def _dead(context: BaseContext, touched: Iterable[NumberedFile]) -> dict[str, BitMap64]:
    """Read the rows of touched files that were deleted before, by path."""
    vectors = {file.path: file.file.vector for file in touched if file.file.vector is not None}
    cached = {path: context.keys.find_vector(path, vector) for path, vector in vectors.items()}
    in_memory = {path: vector for path, vector in cached.items() if vector is not None}
    missing = {path: vector for path, vector in vectors.items() if path not in in_memory}
    return in_memory | load_vectors(context.storage, missing)


def _delete(
    context: BaseContext, inputs: EvaluationInput, deleted: Mapping[int, BitMap64], writer: RowWriter
) -> list[Action]:
    """Mark rows as deleted; files with encoded paths, as converted tables have, are rewritten."""
    encoded = set() if inputs.erased else {file.number for file in _touched(inputs, deleted) if file.is_encoded}
    changes = _mark(context, inputs, {number: rows for number, rows in deleted.items() if number not in encoded})
    if encoded:
        changes += _rewrite(context, inputs, {number: deleted[number] for number in encoded}, writer)
    return changes


def _mark(context: BaseContext, inputs: EvaluationInput, deleted: Mapping[int, BitMap64]) -> list[Action]:
    """Mark rows as deleted; return the ``remove`` and ``add`` actions."""
    touched = _touched(inputs, deleted)
    dead = _dead(context, touched)
    removed = _void(inputs, deleted, dead)
    now = time.time_ns() // 1_000_000
    result = [actions.remove(file.file, timestamp_ms=now) for file in removed]
    whole = {file.number for file in removed}
    kept = {file.path: file for file in touched if file.number not in whole}
    marked = {path: deleted[file.number] | dead.get(path, BitMap64()) for path, file in kept.items()}
    descriptors = write_vectors(context.storage, marked)
    for path, descriptor in descriptors.items():
        context.keys.put_vector(path, descriptor, marked[path])
        result.append(actions.remove(kept[path].file, timestamp_ms=now))
        result.append(actions.add_with_vector(kept[path].file, descriptor))
    return result


def _rewrite(
    context: BaseContext, inputs: EvaluationInput, deleted: Mapping[int, BitMap64], writer: RowWriter
) -> list[Action]:
    """Rewrite touched files without their deleted rows; return the ``remove`` and ``add`` actions."""
    touched = _touched(inputs, deleted)
    removed = _void(inputs, deleted, _dead(context, touched))
    whole = {file.number for file in removed}
    now = time.time_ns() // 1_000_000
    parts = [(file, deleted[file.number]) for file in touched if file.number not in whole]
    job = RewriteJob(context.storage, context.shape, writer, data_change=True)
    executor = context.executor_for(file.file for file in touched)
    written = executor.map(job, [[part] for part in parts], step="rewrite files")
    return [
        *(actions.remove(file.file, timestamp_ms=now) for file in removed),
        *(actions.remove(file.file, timestamp_ms=now) for file, _ in parts),
        *(action for adds in written for action in adds),
    ]


def _counts(results: Iterable[BucketResult], pending: Pending) -> MergeCounts:
    expired = len(pending.expired_truncates)
    total = MergeCounts(truncated=pending.truncate_rows - expired, quarantined=expired, discarded=pending.discarded)
    for result in results:
        total = total.plus(result.counts)
    return total


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
    discard(context.storage, _new_files(changes, base))


def _new_files(changes: Iterable[Action], base: BaseSnapshot) -> set[str]:
    """Paths of the files that changes add, without those of the base."""
    added = [DataFile.from_add(change["add"]) for change in changes if "add" in change]
    return _paths(added) - _paths(base.state.files.values())


def _paths(files: Iterable[DataFile]) -> set[str]:
    paths: set[str] = set()
    for file in files:
        paths.add(file.location)
        if file.vector is not None and file.vector.file_path is not None:
            paths.add(file.vector.file_path)
    return paths
