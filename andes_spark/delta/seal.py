"""The seal of our entries in the Delta log: a SHA-256 in ``commitInfo.tags``, which Delta's readers ignore.

It covers the version and every byte of the entry, with zeros in its own place. Statistics of an entry decide which
files a merge reads, so a wrong bound could give a key two rows. Entries of other writers have none.
"""

from __future__ import annotations

import hashlib
import re

TAG = "andes_spark.sha256"
BLANK = "0" * 64
_SEAL = re.compile(rb'"andes_spark\.sha256":"([0-9a-f]{64})"')


def sealed(version: int, entry: bytes) -> bytes:
    """Seal an entry whose first line has :data:`TAG` set to :data:`BLANK`; return others unchanged."""
    match = _find(entry)
    if match is None:
        return entry
    return entry[: match.start(1)] + _seal(version, entry).encode() + entry[match.end(1) :]


def is_intact(version: int, entry: bytes) -> bool | None:
    """Return whether an entry matches its seal and version; None if it has no seal."""
    match = _find(entry)
    if match is None:
        return None
    blank = entry[: match.start(1)] + BLANK.encode() + entry[match.end(1) :]
    return match[1].decode() == _seal(version, blank)


def _find(entry: bytes) -> re.Match[bytes] | None:
    # Within a JSON string the quotes would be escaped, so the pattern never matches inside one.
    return _SEAL.search(entry.partition(b"\n")[0])


def _seal(version: int, blank: bytes) -> str:
    return hashlib.sha256(b"%d\n" % version + blank).hexdigest()
