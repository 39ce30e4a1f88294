"""Creation of an object exactly once, repeated while its outcome is unknown.

A put with an unknown outcome may have succeeded, so the object is read first; the same bytes are put again only if
it does not exist. Every attempt of one commit carries the same bytes with the same commit id, by which the caller
recognizes its own object after a lost answer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from andes_spark.errors import StorageError, ThrottledError
from andes_spark.storage.interface import PutOutcome, Storage

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0


def put_once(
    storage: Storage, path: str, data: bytes, *, seconds: float, beside_read: Callable[[], object] = lambda: None
) -> bytes | None:
    """Create an object unless it exists; return its bytes after that.

    Args:
        storage: the table's folder.
        path: path of the object.
        data: its content, which names its author.
        seconds: time limit for repetitions, with growing pauses, while the store throttles or the outcome is
            unknown.
        beside_read: called before each read of the stored object, to start requests beside it.

    Returns:
        None if the outcome is still unknown: the object may exist, now or a little later.

    Raises:
        StorageError: the store refused; nothing was created.
    """
    end = time.monotonic() + seconds
    pause = FIRST_PAUSE
    unknown = False
    while True:
        refusal: ThrottledError | None = None
        try:
            if storage.put_if_absent(path, data) is PutOutcome.CREATED:
                return data
            unknown = True
            beside_read()
            stored = _read(storage, path)
            if stored is not None:
                return stored
        except ThrottledError as error:
            # Writing an object that this one may refer to failed; a repetition changes nothing.
            if error.path != path:
                raise
            refusal = error
        left = end - time.monotonic()
        if left <= 0:
            if refusal is not None and not unknown:
                raise refusal
            return None
        # Jitter, so that writers that were throttled together do not come back together.
        time.sleep(min(left, random.uniform(pause / 2, pause)))
        pause = min(2 * pause, LONGEST_PAUSE)


def _read(storage: Storage, path: str) -> bytes | None:
    """Read the object; None if it does not exist or cannot be read now."""
    try:
        return storage.find(path)
    except StorageError:
        return None
