"""Compaction as a verb: the files that slow reads are written anew, without a merge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from andes_spark.base.merge.compact import compact, worn_files
from andes_spark.errors import CommitConflictError
from andes_spark.log.advisory import Advisory
from andes_spark.model.display import Displayed, count_text, size_text
from andes_spark.model.results import CompactResult
from andes_spark.model.upkeep_options import CompactOptions
from andes_spark.settings import MIB, Settings
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.after_merge import checkpoint

_ROUND_BYTES = 512 * MIB
"""Bytes of one Delta commit, if the settings of the process rewrite nothing."""
_MOST_ROUNDS = 1_000


@dataclass(frozen=True, repr=False)
class CompactionResult(Displayed):
    """Result of a compaction, as ``ModTable.compact`` returns it.

    Attributes:
        rounds: number of Delta commits.
        files_removed, files_added: number of files that were written anew, and of those that replace them.
        bytes_removed, bytes_added: sizes of the replaced and of the new files, in bytes.
        worn: number of files that still slow reads, as far as their sizes and deleted rows tell.
        delta_version: Delta version of the base.
    """

    rounds: int
    files_removed: int
    files_added: int
    bytes_removed: int
    bytes_added: int
    worn: int
    delta_version: int

    def summary(self) -> str:
        """See ``Displayed``."""
        left = f"; {count_text(self.worn, 'files')} are worn" if self.worn else ""
        if not self.rounds:
            return f"nothing was written{left}" if left else "there is nothing to compact"
        outcome = f"{count_text(self.files_removed, 'files')} rewritten as {self.files_added:,}"
        return f"{outcome}, {size_text(self.bytes_added)}{left}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"compaction": self.summary(), "base": f"Delta version {self.delta_version}"}


def compaction(
    open_table: OpenTable, options: CompactOptions, *, goes_on: Callable[[], bool] = lambda: True
) -> CompactionResult:
    """Compact the base; see ``ModTable.compact``.

    Args:
        open_table: the table.
        options: of the verb.
        goes_on: whether another round may begin.
    """
    steps = open_table.begin("compact", open_table.log.head)
    advisory = Advisory(open_table.table)
    with steps.step("read log and base"):
        base = open_table.base.snapshot()
        open_table.base.require_writable(base)
        open_table.log.refresh()
    first, total, rounds, lost_races = base.version, CompactResult(), 0, 0
    settings = _settings(open_table.settings, options.max_bytes, total)
    while not options.dry_run and settings.compact_bytes and rounds < _MOST_ROUNDS and goes_on():
        base = open_table.base.in_memory()
        # By the columns of the version that the base contains: a change of them may be pending.
        context = replace(open_table.base_context(base.applied), settings=settings)
        result = compact(context, base, steps=steps, committed=open_table.base.advance)
        if result.files_removed:
            total, rounds = total.plus(result), rounds + 1
        else:
            before = open_table.base.in_memory().version
            if open_table.base.snapshot().version == before:
                break
            lost_races += 1
            if lost_races == open_table.settings.commit_attempts:
                raise CommitConflictError(
                    f"{open_table.table}: merges were first {lost_races} times", table=open_table.table
                )
        settings = _settings(open_table.settings, options.max_bytes, total)
    checkpoint(open_table, steps, advisory, first)
    advisory.report("the base is compacted")
    base = open_table.base.in_memory()
    context = replace(open_table.base_context(base.applied), settings=_settings(open_table.settings, None, total))
    return CompactionResult(
        rounds,
        total.files_removed,
        total.files_added,
        total.bytes_removed,
        total.bytes_added,
        len(worn_files(context, base)),
        base.version,
    )


def _settings(settings: Settings, max_bytes: int | None, total: CompactResult) -> Settings:
    """Settings of the next round, within what is left of the budget."""
    size = settings.compact_bytes or _ROUND_BYTES
    left = size if max_bytes is None else min(size, max(0, max_bytes - total.bytes_removed))
    return replace(settings, compact_bytes=left)
