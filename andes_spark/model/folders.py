"""Names of the folders of partitions, as Delta's own writer gives them to files (Spark: ``ExternalCatalogUtils``)."""

from __future__ import annotations

import unicodedata

_ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^") | frozenset(chr(i) for i in range(1, 32))
_NULL = "__HIVE_DEFAULT_PARTITION__"
_MOST_BYTES = 255
"""Of a name on Linux's file systems."""


def escape(text: str | None) -> str:
    """A name or value as part of a folder's name."""
    if text is None:
        return _NULL
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in text)


def is_folder_name(value: str, *, column: str = "") -> bool:
    """Whether a value can name a folder: what stays unescaped must be fit for a path, and the whole not too long."""
    escaped = escape(value)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in escaped):
        return False
    return len(f"{escape(column)}={escaped}".encode()) <= _MOST_BYTES
