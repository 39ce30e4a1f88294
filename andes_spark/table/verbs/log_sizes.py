"""Sizes of the files below ``_andes``: a long listing is made in parts, beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked

_VERSIONS = {"ledger": ROLL_UP_INTERVAL, "manifests": 1, "merges": 1, "mods": 1}
"""Number of versions for each object of a folder, in the order of a listing."""
_PART = 950
"""Expected number of objects of a part: fewer than a page of a listing holds."""


def ask_sizes(storage: Storage, head: int) -> list[Asked[Counter[str]]]:
    """Request the sizes, without waiting.

    Args:
        storage: the table's folder.
        head: newest version of the log, from which the number of objects is estimated.
    """
    cuts = [None, *_cuts(head), None]
    ask = storage.scheduler.ask
    return [ask(_part, storage, after, until) for after, until in pairwise(cuts)]


def sizes_of(parts: Sequence[Asked[Counter[str]]]) -> Counter[str]:
    """Return the bytes of the files, by folder."""
    return sum((part.result() for part in parts), Counter[str]())


def _cuts(head: int) -> list[str]:
    """Paths between the parts; whatever lies below ``_andes`` belongs to one of them."""
    cuts = []
    before, following = 0, _PART
    for folder, versions in _VERSIONS.items():
        count = head // versions
        while following < before + count:
            cuts.append(f"_andes/{folder}/{(following - before) * versions:020d}")
            following += _PART
        before += count
    return cuts


def _part(storage: Storage, after: str | None, until: str | None) -> Counter[str]:
    sizes = Counter[str]()
    for info in storage.list("_andes", after=after):
        if until is not None and info.path > until:
            break
        sizes[info.path.split("/")[1]] += info.size
    return sizes
