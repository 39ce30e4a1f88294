"""The fence of a vacuum: files of mods that were begun below it are written again before they are committed.

A vacuum deletes files of mods that no version names. Such a file may belong to a writer that is about to commit it. The
manifest of the vacuum comes first and says up to which start the files may go: a writer whose version was committed
before it is seen by the vacuum, and a writer that commits after it sees the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from andes_spark.errors import AndesError, CommitConflictError, DamagedError, FileDamagedError, NotFoundError
from andes_spark.log.log import Log
from andes_spark.log.mod_files import new_path
from andes_spark.model.events import Vacuum
from andes_spark.model.files import Entry
from andes_spark.storage.interface import Storage

_BLOCK_BYTES = 8 * 1024 * 1024


def fenced(log: Log, start: int) -> bool:
    """Return whether files that were begun on version ``start`` may have been deleted by a vacuum up to the head."""
    return any(
        isinstance(event, Vacuum) and start < event.fence
        for manifest in (log.manifests(start + 1, log.head) if start < log.head else ())
        for event in manifest.events
    )


@contextmanager
def or_fenced(log: Log, start: int) -> Iterator[None]:
    """Turn an error about a missing file of a batch into one that says that a vacuum deleted it, if so.

    Args:
        log: of the table.
        start: version on which the batch was begun.

    Raises:
        CommitConflictError: a vacuum deleted it; nothing is committed.
    """
    try:
        yield
    except (DamagedError, NotFoundError) as error:
        log.refresh()
        if not fenced(log, start):
            raise
        raise CommitConflictError(
            f"{log.table}: a vacuum deleted files of this batch, which was begun long before it; nothing is committed: "
            "send the same batch again",
            table=log.table,
            version=log.head + 1,
        ) from error


def copied(storage: Storage, entries: Iterable[Entry], *, head: int) -> dict[str, Entry]:
    """Copy files of a batch that is not committed to names that are begun on ``head``.

    Args:
        storage: the table's folder.
        entries: files of the batch.
        head: newest version seen.

    Returns:
        The copies, by the path of their originals.

    Raises:
        NotFoundError, FileDamagedError: a file is gone; no copy is left.
    """
    copies: dict[str, Entry] = {}
    try:
        for entry in entries:
            path = new_path(entry.path.split("/")[1], head)
            copies[entry.path] = msgspec.structs.replace(entry, path=path)
            _copy(storage, entry, path)
        storage.scheduler.barrier()
    except AndesError:
        storage.delete(copy.path for copy in copies.values())
        raise
    return copies


def _copy(storage: Storage, entry: Entry, path: str) -> None:
    with storage.open_input(entry.path) as source, storage.open_output(path) as target:
        while block := source.read_buffer(_BLOCK_BYTES):
            target.write(memoryview(block))
    if target.sha256 != entry.sha256:
        raise FileDamagedError(f"{entry.path} changed while it was copied", path=entry.path)
