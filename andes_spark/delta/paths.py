"""Paths of the Delta log and of data files in it: the protocol's relative URIs."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote

from andes_spark.errors import LogDamagedError, UnsupportedTableError

LOG_FOLDER = "_delta_log"


# Characters of a path in RFC 2396, except the colon: in a first segment it would end the name of a scheme.
_SAFE = "/-_.!~*'()=@&+$,;"


def entry_path(version: int) -> str:
    """Return the path of the log entry of a version."""
    return f"{LOG_FOLDER}/{version:020d}.json"


def encode_path(path: str) -> str:
    """Encode a path for the log: a relative URI, exactly as Delta writes it.

    Delta's VACUUM compares the text of paths (``VacuumCommand``, ``java.net.URI.quote``), and would delete files
    whose path is encoded otherwise: characters beyond ASCII, except spaces and control characters, are not encoded.
    """
    return "".join(c if c > "\x7f" and not _encoded(c) else quote(c, safe=_SAFE) for c in path)


def _encoded(character: str) -> bool:
    return unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cc")


def decode_path(path: str) -> str:
    """Decode a path of the log to a path in the table's folder.

    Raises:
        UnsupportedTableError: an absolute path, as in clones; ``feature``, ``path``.
        LogDamagedError: not a path, or one outside the folder; ``path``.
    """
    if path.startswith("/") or ":" in path.split("/", 1)[0]:
        raise UnsupportedTableError(
            f"the data file {path} has an absolute path: copy the table (deep clone) to own its files",
            feature="absolutePaths",
            path=path,
        )
    try:
        decoded = unquote(path, errors="strict") if "%" in path else path
    except UnicodeDecodeError as error:
        raise _bad_path(path) from error
    decoded = decoded.removeprefix("./")
    if not decoded or ".." in decoded.split("/"):
        raise _bad_path(path)
    return decoded


def _bad_path(path: str) -> LogDamagedError:
    return LogDamagedError(f"the log names a data file {path!r}, which is no path in its folder", path=path)
