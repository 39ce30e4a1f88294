"""Verification of the checkpoints of the Delta log: other readers begin at them, and fail where they are damaged."""

from __future__ import annotations

from functools import partial

from andes_spark.delta import checkpoints
from andes_spark.delta.paths import LOG_FOLDER
from andes_spark.errors import FileDamagedError
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.maintenance.findings import Findings


def check_checkpoints(storage: Storage, findings: Findings) -> None:
    """Read all checkpoints, and compare the file that names the last one with them."""
    # Before the listing: a writer puts the checkpoint first.
    hint = storage.find(checkpoints.HINT_PATH)
    finder = checkpoints.Finder()
    for info in storage.list(LOG_FOLDER):
        finder.see(info.path.removeprefix(f"{LOG_FOLDER}/"))
    complete = finder.complete()
    for _, answer in in_windows(storage.scheduler, partial(checkpoints.read, storage), complete):
        findings.check(answer.result)
    if hint is not None and not finder.has_v2:
        named = checkpoints.hinted_version(hint)
        findings.check(partial(_check_hint, storage.url, named, {checkpoint.version for checkpoint in complete}))


def _check_hint(table: str, named: int | None, versions: set[int]) -> None:
    if named in versions:
        return
    problem = "cannot be read" if named is None else f"names a checkpoint of version {named}, which is not there"
    raise FileDamagedError(
        f"{table}: {checkpoints.HINT_PATH} {problem}; repair() deletes it, since readers find checkpoints without it",
        table=table,
        path=checkpoints.HINT_PATH,
    )
