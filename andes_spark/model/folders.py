"""Names of partition folders, in the form of Delta's writer and Spark's ``ExternalCatalogUtils``."""

from __future__ import annotations

import unicodedata

_ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^") | frozenset(chr(i) for i in range(1, 32))
_NULL = "__HIVE_DEFAULT_PARTITION__"
_MOST_BYTES = 255
"""Maximum length of a name on Linux file systems."""
_MOST_PATH_BYTES = 1024
"""Maximum length of a key on S3; applied to paths on all stores, so that tables can be moved."""
_FILE_NAME_BYTES = 80
"""Upper bound for the file names of this library and of Delta's writers."""
_OTHER_VALUE_BYTES = 64
"""Upper bound for an escaped number, date or time."""


def escape(text: str | None) -> str:
    """Escape a name or value for the name of a folder."""
    if text is None:
        return _NULL
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in text)


def path_room(url: str) -> int:
    """Return the maximum length in bytes of the partition folders in a file's path, for the table at a URL."""
    scheme, _, rest = url.partition("://")
    prefix = rest.partition("/")[2] if scheme in ("s3", "s3a") else ""
    return _MOST_PATH_BYTES - _FILE_NAME_BYTES - (len(prefix.encode()) + 1 if prefix else 0)


def folder_bytes(column: str, value: object) -> int:
    """Return the bytes of a partition value's folder in a path, with the slash; at most, for numbers and times."""
    size = _OTHER_VALUE_BYTES
    if value is None or isinstance(value, str):
        size = len(escape(value).encode("utf-8", "surrogatepass"))
    return len(f"{escape(column)}=/".encode()) + size


def is_folder_name(value: str, *, column: str = "") -> bool:
    """Return whether a value can name a folder: no control characters after escaping, and not too long."""
    escaped = escape(value)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in escaped):
        return False
    return len(f"{escape(column)}={escaped}".encode()) <= _MOST_BYTES
