"""Creating an object that commits something: asked again while the store does not say what became of it.

A put whose outcome is unknown may have happened, so the object is read before anything else; the same bytes are put
again only where nothing stands. Every attempt of one commit carries the same bytes and in them the same commit id, so
that the caller knows its own object, whoever's answer was lost.
"""

from __future__ import annotations

import random
import time

from andes_spark.errors import StorageError, ThrottledError
from andes_spark.storage.interface import PutOutcome, Storage

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0


def put_once(storage: Storage, path: str, data: bytes, *, seconds: float) -> bytes | None:
    """Create an object unless it exists; return the bytes that stand there then.

    Args:
        storage: the table's folder.
        path: of the object.
        data: its content, which names its author.
        seconds: time within which a put is repeated, with growing pauses, while the store throttles or does not
            say what became of it.

    Returns:
        None if the store still does not say: the object may exist, now or a little later.

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
            stands = _read(storage, path)
            if stands is not None:
                return stands
        except ThrottledError as error:
            # An error of another path is that of an object that this one may refer to; a repetition changes nothing.
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
    """The object; None where there is none, or where the store does not say."""
    try:
        return storage.find(path)
    except StorageError:
        return None
