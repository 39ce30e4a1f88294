"""The merge policy ``"auto"``: estimated cost of a merge, and of the reads of pending mods. Pure, without requests.

Each mod is read, evaluated and written by one merge, sooner or later. Only the rest of a merge is saved if several
versions share one: its rounds of requests, the scan of keys in the base, and the deletion vectors. Each read of pending
mods reads and evaluates all of them, and scans keys. A merge is due when the reads since the last one have paid as much
as a merge costs apart from its mods: with as many reads as expected, the sum is at most about twice that of the best
number of versions for each merge. The number of reads is an assumption, see ``Settings``; if this process has read more
often since the last merge, its own reads count.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from andes_spark.model.display import count_text, span_text

READ_ROUNDS = 2
"""Rounds of requests of a read for pending mods: the mods, then the keys of the base."""
MERGE_ROUNDS = 5
"""Rounds of requests of a merge."""
_PAGE_ROWS = 2_048
"""Rows of the base that are read to locate one key."""
_MOD_SECONDS = 2e-6
_FILE_BYTES = 4_096
"""Bytes of a deletion vector and of the actions of a file with deleted rows."""
AT_ONCE_SECONDS = 0.1
"""Work of a merge, apart from its mods and rounds, below which it is always due."""
_MOST_VERSIONS = 500
"""Pending versions at which a merge is due; a roll-up repeats at most 1,000."""

Reason = Literal["nothing pending", "always", "manual", "small", "reads", "staleness", "limit", "cheaper later"]


@dataclass(frozen=True)
class StoreCost:
    """Cost of requests to a store.

    Attributes:
        request_seconds: seconds that a request takes by itself.
        bytes_per_second: bytes that are transferred in a second.
    """

    request_seconds: float
    bytes_per_second: float


LOCAL = StoreCost(0.0005, 500e6)
REMOTE = StoreCost(0.03, 80e6)


@dataclass(frozen=True)
class PendingCost:
    """Cost of a pending version.

    Attributes:
        mods: number of mods.
        bytes: size of their files in bytes.
    """

    mods: int
    bytes: int


@dataclass(frozen=True)
class BaseCost:
    """Size of a base.

    Attributes:
        rows: number of rows of its files.
        files: number of files.
        key_bytes: bytes of key and sequence of a row.
        unread_rows: number of rows whose keys this process does not hold in memory.
    """

    rows: int
    files: int
    key_bytes: int
    unread_rows: int


@dataclass(frozen=True)
class MergeDecision:
    """Whether a merge is due, with the estimates behind it.

    Attributes:
        due: whether a merge is due.
        reason: reason of the decision.
        pending_versions: number of pending versions.
        merge_seconds: estimated time of the merge apart from its mods; None if it is not estimated.
        read_seconds: estimated time that reads have spent on pending mods since the last merge; None as above.
        due_in_seconds: time until the merge is due by the staleness; None without one.
    """

    due: bool
    reason: Reason
    pending_versions: int = 0
    merge_seconds: float | None = None
    read_seconds: float | None = None
    due_in_seconds: float | None = None

    def __str__(self) -> str:
        one = self.pending_versions == 1
        versions = count_text(self.pending_versions, "versions")
        spent = f"reads have spent about {self.read_seconds or 0:.2g} s on {versions}"
        cost = f"a merge takes about {self.merge_seconds or 0:.2g} s apart from its mods"
        texts: dict[Reason, str] = {
            "nothing pending": "not due: nothing is pending",
            "always": "due after each apply",
            "manual": "not due: merges are manual",
            "small": f"due: {cost}, too little to wait",
            "reads": f"due: {spent}, and {cost}",
            "limit": f"due: {versions} with their mods reach a limit of reads",
            "staleness": f"due: {versions} {'has' if one else 'have'} waited as long as the policy allows",
            "cheaper later": f"not due: {cost}, and {spent}",
        }
        left = self.due_in_seconds
        if self.due or left is None:
            return texts[self.reason]
        rest = span_text(datetime.timedelta(seconds=max(0, round(left))))
        waiting = (
            texts[self.reason] if self.reason == "cheaper later" else f"not due: {versions} wait{'s' if one else ''}"
        )
        return f"{waiting}; due in {rest} at the latest"


def merge_work(base: BaseCost, store: StoreCost, *, mods: int) -> float:
    """Estimate the seconds of a merge apart from its mods and its rounds of requests."""
    scanned = min(base.unread_rows, mods * _PAGE_ROWS) * base.key_bytes
    return (scanned + min(base.files, mods) * _FILE_BYTES) / store.bytes_per_second


def read_work(base: BaseCost, store: StoreCost, *, mods: int, size: int) -> float:
    """Estimate the seconds of a read for pending mods, apart from its rounds of requests."""
    scanned = min(base.rows, mods * _PAGE_ROWS) * base.key_bytes
    return (size + scanned) / store.bytes_per_second + mods * _MOD_SECONDS


def decide_merge(
    versions: Sequence[PendingCost],
    base: BaseCost,
    store: StoreCost,
    *,
    reads_per_version: float,
    reads: int = 0,
    waited_seconds: float,
    staleness_seconds: float,
    most_bytes: int,
) -> MergeDecision:
    """Decide whether a merge is due by the policy ``"auto"``.

    Args:
        versions: pending versions, oldest first.
        base: size of the base.
        store: cost of requests.
        reads_per_version: expected number of reads between two versions.
        reads: number of reads of pending mods since the last merge that are known.
        waited_seconds: time since the oldest pending version.
        staleness_seconds: maximum of that time.
        most_bytes: size of pending files above which reads leave the memory of one process.
    """
    if not versions:
        return MergeDecision(False, "nothing pending")
    sums = list(accumulate(versions, lambda one, other: PendingCost(one.mods + other.mods, one.bytes + other.bytes)))
    total = sums[-1]
    work = merge_work(base, store, mods=total.mods)
    merge_seconds = work + MERGE_ROUNDS * store.request_seconds
    read_seconds = reads_per_version * sum(
        read_work(base, store, mods=pending.mods, size=pending.bytes) + READ_ROUNDS * store.request_seconds
        for pending in sums
    )
    known_reads = reads * (
        read_work(base, store, mods=total.mods, size=total.bytes) + READ_ROUNDS * store.request_seconds
    )
    read_seconds = max(read_seconds, known_reads)
    left = staleness_seconds - waited_seconds
    reason: Reason = "cheaper later"
    if work <= AT_ONCE_SECONDS:
        reason = "small"
    elif left <= 0:
        reason = "staleness"
    elif len(versions) >= _MOST_VERSIONS or total.bytes >= most_bytes:
        reason = "limit"
    elif read_seconds >= merge_seconds:
        reason = "reads"
    return MergeDecision(reason != "cheaper later", reason, len(versions), merge_seconds, read_seconds, left)
