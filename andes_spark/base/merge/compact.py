"""Compaction: files with many deleted rows are rewritten, small files are combined.

Small files are packed by size class, as in size-tiered compaction, so that a row is rewritten a few times in
all, however many merges there are. A packing is a Delta commit of its own that changes no rows; losing its
race costs nothing but the work.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyroaring import BitMap64

from andes_spark.base.files import NumberedFile, numbered_files
from andes_spark.base.merge.merge import BaseContext, commit_entry, drop_files
from andes_spark.base.merge.rewrite import RewriteJob
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta import actions
from andes_spark.delta.state import Commit, DataFile
from andes_spark.model.results import CompactResult
from andes_spark.run.steps import Steps
from andes_spark.settings import Settings

_LOGGER = logging.getLogger(__name__)

_SMALLEST = 64 * 1024
_CLASS_FACTOR = 4


@dataclass(frozen=True)
class Group:
    """Files to rewrite as one."""

    files: tuple[NumberedFile, ...]

    @property
    def bytes(self) -> int:
        """Total size."""
        return sum(file.file.size for file in self.files)


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
    if context.settings.compact_bytes == 0:
        return CompactResult()
    groups = list(_within(choose(numbered_files(base.state.files), context.settings), context.settings.compact_bytes))
    if not groups or base.foreign is not None or base.unwritable is not None:
        return CompactResult()
    begun = time.perf_counter()
    for group in groups:
        _LOGGER.debug(
            "%s: compacting %d files of %d bytes",
            context.shape.table,
            len(group.files),
            sum(file.file.size for file in group.files),
        )
    with steps.step("compact files"):
        job = RewriteJob(context.storage, context.shape, context.writer(base), data_change=False)
        parts = [[(file, BitMap64()) for file in group.files] for group in groups]
        executor = context.executor_for(file.file for group in groups for file in group.files)
        written = executor.map(job, parts, step="compact files")
        adds = [action for result in written for action in result]
        now = time.time_ns() // 1_000_000
        old = [file.file for group in groups for file in group.files]
        removes = [actions.remove(file, timestamp_ms=now, data_change=False) for file in old]
        commit_id = str(uuid.uuid4())
        info = actions.commit_info(
            "OPTIMIZE",
            timestamp_ms=now,
            commit_id=commit_id,
            metrics={"numRemovedFiles": len(removes), "numAddedFiles": len(adds)},
            read_version=base.version,
            previous=base.state.commit_id,
        )
        commit = commit_entry(context, base.version + 1, [info, *removes, *adds], commit_id)
        if commit is None:
            drop_files(context, adds, base)
            return CompactResult()
        committed(commit)
    return CompactResult(
        files_removed=len(removes),
        files_added=len(adds),
        bytes_removed=sum(file.size for file in old),
        bytes_added=sum(action["add"]["size"] for action in adds),
        seconds=time.perf_counter() - begun,
    )


def choose(files: Sequence[NumberedFile], settings: Settings) -> list[Group]:
    """Choose groups of files to rewrite, those with the most deleted rows first."""
    worn = [file for file in files if _dead_ratio(file.file) >= settings.compact_dead_ratio]
    worn.sort(key=lambda file: -_dead_ratio(file.file))
    taken = {file.number for file in worn}
    classes: dict[tuple[object, ...], list[NumberedFile]] = {}
    for file in files:
        if file.number not in taken and file.file.size < settings.target_file_bytes // _CLASS_FACTOR:
            partition = tuple(sorted(file.file.partition_values.items()))
            classes.setdefault((partition, _size_class(file.file.size)), []).append(file)
    most = settings.target_file_bytes // 2
    small = [
        group
        for members in classes.values()
        if len(members) >= settings.compact_files
        for group in _groups(members, most)
        if len(group.files) > 1
    ]
    return [*(Group((file,)) for file in worn), *small]


def _groups(files: Sequence[NumberedFile], most: int) -> Iterator[Group]:
    """Group files up to ``most`` bytes: the rows of a group are in memory while they are rewritten."""
    members: list[NumberedFile] = []
    for file in files:
        if members and sum(member.file.size for member in members) + file.file.size > most:
            yield Group(tuple(members))
            members = []
        members.append(file)
    yield Group(tuple(members))


def _within(groups: Iterable[Group], budget: int) -> Iterator[Group]:
    """Select groups within the budget; the first one is selected at any size."""
    spent = 0
    for group in groups:
        if spent and spent + group.bytes > budget:
            continue
        spent += group.bytes
        yield group


def _dead_ratio(file: DataFile) -> float:
    rows = file.num_records
    if file.vector is None or not rows:
        return 0.0
    return file.vector.cardinality / rows


def _size_class(size: int) -> int:
    return max(0, math.ceil(math.log(max(size, 1) / _SMALLEST, _CLASS_FACTOR)))
