"""Patterns of LIKE: texts, any characters (``%``), one character (``_``)."""

from __future__ import annotations

import enum

ANY_SIGN = "%"
ONE_SIGN = "_"


class Wildcard(enum.Enum):
    """Wildcards of a pattern."""

    ANY = ANY_SIGN
    ONE = ONE_SIGN


def parts_of(pattern: str, escape: str | None) -> list[str | Wildcard]:
    """Split a pattern into wildcards and the texts between them.

    Raises:
        ValueError: the escape character is at the end, or before a character other than itself, ``%`` and ``_``.
    """
    parts: list[str | Wildcard] = []
    characters = iter(pattern)
    for character in characters:
        part: str | Wildcard = character
        if character == escape:
            part = next(characters, "")
            if part not in (escape, ANY_SIGN, ONE_SIGN):
                raise ValueError(f"{escape!r} stands before {part or 'the end'}, not before %, _ or itself")
        elif character in (ANY_SIGN, ONE_SIGN):
            part = Wildcard(character)
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part is not Wildcard.ANY or parts[-1:] != [Wildcard.ANY]:
            parts.append(part)
    return parts
