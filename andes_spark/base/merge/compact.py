"""Compaction: files of the base written anew so that reads and look-ups stay fast.

A compaction is a Delta commit of its own that changes no rows; losing its race costs nothing but the work.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.files import NumberedFile, numbered_files
from andes_spark.base.merge.layout import Group, Partition, Pull, choose_groups, choose_pulls, partitions
from andes_spark.base.merge.merge import BaseContext, commit_entry, drop_files
from andes_spark.base.merge.rewrite import MovedRows, RewriteJob, alive_rows, cut, rows_within
from andes_spark.base.rows import RowWriter
from andes_spark.base.runs import ordered
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.features import deletion_vectors_enabled
from andes_spark.delta.state import Commit
from andes_spark.delta.vectors import write_vectors
from andes_spark.model.results import CompactResult
from andes_spark.run.executor import LocalExecutor
from andes_spark.run.steps import Steps

_LOGGER = logging.getLogger(__name__)


@dataclass
class _Work:
    """Files written so far, and what they replace.

    Attributes:
        adds: new files.
        old: files that leave the base.
        deleted: rows that are deleted in files which stay, by number of the file.
    """

    adds: list[Action] = field(default_factory=list)
    old: list[NumberedFile] = field(default_factory=list)
    deleted: dict[int, BitMap64] = field(default_factory=dict)

    def without(self, file: NumberedFile) -> BitMap64:
        """Remove a file that is written anew from those that stay; return the rows that it has lost."""
        self.old.append(file)
        return self.deleted.pop(file.number, BitMap64())


def compact(
    context: BaseContext, base: BaseSnapshot, *, steps: Steps, committed: Callable[[Commit], None]
) -> CompactResult:
    """Rewrite what slows reads, within ``settings.compact_bytes``; nothing to do costs no request.

    Args:
        context: context of the operation.
        base: newest state of the base.
        steps: collector of steps.
        committed: called with the Delta entry if one is committed.

    Raises:
        AndesError: reading or writing failed; the base is as it was.
    """
    budget = context.settings.compact_bytes
    if budget == 0 or base.foreign is not None or base.unwritable is not None:
        return CompactResult()
    parts = partitions(numbered_files(base.state.files), context.shape)
    pulls = choose_pulls(parts, context.settings, budget=budget)
    begun = time.perf_counter()
    work = _Work()
    if pulls:
        with steps.step("compact files"):
            marks = context.deletion_vectors and deletion_vectors_enabled(base.state)
            pulls = [
                pull if marks and not any(file.is_encoded for file in pull.sources) else pull.alone() for pull in pulls
            ]
            for part in _within_budget(pulls, context.settings.byte_budget):
                _pull(context, context.writer(base), part, work)
    left = budget - sum(pull.file.file.size for pull in pulls)
    groups = _choose_groups(context, parts, work, left)
    if not work.old and not groups:
        return CompactResult()
    with steps.step("compact files"):
        _rewrite(context, context.writer(base), groups, work)
        commit = _commit(context, base, work)
    if commit is None:
        return CompactResult()
    committed(commit)
    return CompactResult(
        files_removed=len(work.old),
        files_added=len(work.adds),
        bytes_removed=sum(file.file.size for file in work.old),
        bytes_added=sum(action["add"]["size"] for action in work.adds),
        seconds=time.perf_counter() - begun,
    )


def worn_files(context: BaseContext, base: BaseSnapshot) -> list[NumberedFile]:
    """Return the files that the next :func:`compact` would write anew, by their sizes and deleted rows; no request."""
    budget = context.settings.compact_bytes
    parts = partitions(numbered_files(base.state.files), context.shape)
    pulls = choose_pulls(parts, context.settings, budget=budget)
    work = _Work(old=[pull.file for pull in pulls])
    groups = _choose_groups(context, parts, work, budget - sum(pull.file.file.size for pull in pulls))
    return [*work.old, *(file for group in groups for file in group.files)]


def _within_budget(pulls: Sequence[Pull], byte_budget: int) -> list[list[Pull]]:
    """Parts of pulls whose files fit the byte budget, with their shares of the files over them.

    A file over the run that has rows for several parts is read by each.
    """
    drawn = Counter(file.number for pull in pulls for file in pull.sources)
    parts: list[list[Pull]] = []
    left = 0
    for pull in pulls:
        above = sum(file.file.arrow_bytes // drawn[file.number] for file in pull.sources)
        size = pull.file.file.arrow_bytes + above
        if not parts or size > left:
            parts.append([])
            left = byte_budget
        parts[-1].append(pull)
        left -= size
    return parts


def _pull(context: BaseContext, writer: RowWriter, pulls: Sequence[Pull], work: _Work) -> None:
    """Write files of the run anew with the rows over them, which are read once for all of them."""
    storage, shape = context.storage, context.shape
    sources = {file.number: file for pull in pulls for file in pull.sources}
    drawn: dict[int, list[Pull]] = {number: [] for number in sources}
    for pull in pulls:
        for file in pull.sources:
            drawn[file.number].append(pull)
    size = sum(file.file.arrow_bytes for file in (*sources.values(), *(pull.file for pull in pulls)))
    executor = LocalExecutor(context.settings.threads if size <= context.settings.byte_budget else 1)
    _LOGGER.debug("%s: compacting %d files with %d files over them", shape.table, len(pulls), len(sources))

    def move(file: NumberedFile) -> MovedRows:
        return rows_within(storage, shape, file, [pull.bounds for pull in drawn[file.number]])

    above: dict[int, list[pa.Table]] = {pull.file.number: [] for pull in pulls}
    for file, moved in zip(sources.values(), executor.map(move, sources.values(), step="compact files"), strict=True):
        for pull, rows in zip(drawn[file.number], moved.parts, strict=True):
            above[pull.file.number].append(rows)
        if any(rows.num_rows for rows in moved.parts):
            work.deleted[file.number] = work.deleted.get(file.number, BitMap64()) | moved.dead

    def write(pull: Pull) -> list[Action]:
        rows = pa.concat_tables([alive_rows(storage, shape, pull.file, BitMap64()), *above.pop(pull.file.number)])
        return writer.write(storage, ordered(rows, shape.columns.key), data_change=False)

    written = executor.map(write, pulls, step="compact files")
    work.adds += [add for adds in written for add in adds]
    work.old += [pull.file for pull in pulls]
    for file in sources.values():
        if len(work.deleted.get(file.number, ())) == file.file.num_records:
            work.without(file)


def _choose_groups(context: BaseContext, parts: Sequence[Partition], work: _Work, budget: int) -> list[Group]:
    files = {above.file.number: above.file for part in parts for above in part.above}
    moved = {
        number: len(deleted) - (0 if (vector := files[number].file.vector) is None else vector.cardinality)
        for number, deleted in work.deleted.items()
    }
    rewritten = {file.number for file in work.old}
    return choose_groups(parts, context.settings, budget=budget, rewritten=rewritten, moved=moved) if budget > 0 else []


def _rewrite(context: BaseContext, writer: RowWriter, groups: Sequence[Group], work: _Work) -> None:
    """Write groups of files anew, without the rows that have left them."""
    for group in groups:
        _LOGGER.debug("%s: compacting %d files of %d bytes", context.shape.table, len(group.files), group.bytes)
    packed: list[list[tuple[NumberedFile, BitMap64]]] = []
    for group in groups:
        files = [(file, work.without(file)) for file in group.files]
        if group.pieces > 1:
            work.adds += cut(context.storage, writer, files, pieces=group.pieces)
        else:
            packed.append(files)
    job = RewriteJob(context.storage, context.shape, writer, data_change=False)
    executor = context.executor_for(file.file for files in packed for file, _ in files)
    written = executor.map(job, packed, step="compact files")
    work.adds += [action for adds in written for action in adds]


def _commit(context: BaseContext, base: BaseSnapshot, work: _Work) -> Commit | None:
    """Commit a compaction; None if another commit was first, and its files are deleted."""
    now = time.time_ns() // 1_000_000
    marked = {file.path: file for file in numbered_files(base.state.files) if file.number in work.deleted}
    vectors = write_vectors(context.storage, {path: work.deleted[file.number] for path, file in marked.items()})
    changes = [actions.remove(file.file, timestamp_ms=now, data_change=False) for file in (*work.old, *marked.values())]
    changes += [
        actions.add_with_vector(marked[path].file, vector, data_change=False) for path, vector in vectors.items()
    ]
    changes += work.adds
    commit_id = str(uuid.uuid4())
    info = actions.commit_info(
        "OPTIMIZE",
        timestamp_ms=now,
        commit_id=commit_id,
        metrics={"numRemovedFiles": len(work.old), "numAddedFiles": len(work.adds)},
        read_version=base.version,
        previous=base.state.commit_id,
    )
    commit = commit_entry(context, base.version + 1, [info, *changes], commit_id)
    if commit is None:
        drop_files(context, changes, base)
        return None
    for path, vector in vectors.items():
        context.keys.put_vector(path, vector, work.deleted[marked[path].number])
    return commit
