"""Names of the folders of partitions, as Delta's own writer gives them to files (Spark: ``ExternalCatalogUtils``)."""

from __future__ import annotations

import unicodedata

_ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^") | frozenset(chr(i) for i in range(1, 32))
_NULL = "__HIVE_DEFAULT_PARTITION__"
_MOST_BYTES = 255
"""Of a name on Linux's file systems."""
_MOST_PATH_BYTES = 1024
"""Of a key on S3, and of a path in a table's folder everywhere, so that tables can be moved."""
_FILE_NAME_BYTES = 80
"""More than the names that this library and Delta's writers give to files."""
_OTHER_VALUE_BYTES = 64
"""More than any number, date or time takes, escaped."""


def escape(text: str | None) -> str:
    """A name or value as part of a folder's name."""
    if text is None:
        return _NULL
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in text)


def path_room(url: str) -> int:
    """Bytes that the folders of partitions may take in the path of a file, in the table at a URL."""
    scheme, _, rest = url.partition("://")
    prefix = rest.partition("/")[2] if scheme in ("s3", "s3a") else ""
    return _MOST_PATH_BYTES - _FILE_NAME_BYTES - (len(prefix.encode()) + 1 if prefix else 0)


def folder_bytes(column: str, value: object) -> int:
    """Bytes that the folder of a partition value takes in a path, slash included; for numbers and times at most."""
    size = _OTHER_VALUE_BYTES
    if value is None or isinstance(value, str):
        size = len(escape(value).encode("utf-8", "surrogatepass"))
    return len(f"{escape(column)}=/".encode()) + size


def is_folder_name(value: str, *, column: str = "") -> bool:
    """Whether a value can name a folder: what stays unescaped must be fit for a path, and the whole not too long."""
    escaped = escape(value)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in escaped):
        return False
    return len(f"{escape(column)}={escaped}".encode()) <= _MOST_BYTES
