"""Checks of a store: conditional puts, listings, and its clock."""

from __future__ import annotations

import time

from andes_spark.doctor.report import Finding, failed, passed
from andes_spark.log.clock import TOLERANCE_MS
from andes_spark.run.executor import LocalExecutor
from andes_spark.storage.interface import PutOutcome, Storage

_RACERS, _RACES, _LISTED = 8, 12, 25


def conditional_put(storage: Storage) -> Finding:
    """Check that of several writers of one name exactly one creates the object, and that it stays."""
    threads = LocalExecutor(_RACERS)
    for race in range(_RACES):
        path = f"races/{race:02d}"

        def put(racer: int, path: str = path) -> PutOutcome:
            return storage.put_if_absent(path, str(racer).encode())

        outcomes = threads.map(put, range(_RACERS), step="race")
        winners = [str(racer) for racer, outcome in enumerate(outcomes) if outcome is PutOutcome.CREATED]
        if len(winners) != 1 or storage.get(path).decode() != winners[0]:
            return failed(
                f"{len(winners)} of {_RACERS} writers created the same object: the store does not honour If-None-Match"
                " on PUT, and versions of tables would be lost; use Amazon S3 or a service that does"
            )
    return passed(f"one winner in each of {_RACES} races of {_RACERS} writers")


def listing(storage: Storage) -> Finding:
    """Check that a listing shows new objects at once, in the order of their names, and can begin after a name."""
    names = [f"listed/{number:03d}" for number in range(_LISTED)]
    for name in reversed(names):
        storage.put(name, b"x", sync=False)
    listed_names = [info.path for info in storage.list("listed")]
    after = [info.path for info in storage.list("listed", after=names[9])]
    if listed_names != names or after != names[10:]:
        difference = (
            "not in the order of their names"
            if sorted(listed_names) == names
            else f"{len(listed_names)} and {len(after)} of them"
        )
        return failed(
            f"a listing of {_LISTED} new objects shows {difference}: use a general purpose bucket of Amazon S3, or a"
            " service whose listings are ordered and complete"
        )
    return passed(f"{_LISTED} new objects, in order")


def clock(storage: Storage) -> Finding:
    """Check that this machine's clock is near the store's."""
    begun = time.time() * 1000
    storage.put("clock", b"x", sync=False)
    info = storage.info("clock")
    stored = begun if info is None else float(info.modified_ms)
    off = max(begun - stored, stored - time.time() * 1000, 0.0)
    if off > TOLERANCE_MS:
        return failed(
            f"this machine's clock is {off / 1000:.0f} s from the store's, and writers are refused beyond"
            f" {TOLERANCE_MS // 1000} s: set it right"
        )
    return passed(f"{off / 1000:.0f} s from the store's")
