"""Options checked for what they are before anything is read or written: a wrong type is an error that names it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from andes_spark.errors import OptionError


@dataclass(frozen=True)
class Kind:
    """What an option must be: in words, and as a check."""

    said: str
    fits: Callable[[Any], bool]

    def or_none(self) -> Kind:
        """The same, or None."""
        return Kind(f"{self.said}, or None", lambda value: value is None or self.fits(value))


def is_text(value: Any) -> bool:
    """Whether a value is a string that can be stored: lone surrogates have no UTF-8 form."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes) and all(is_text(name) for name in value)


FLAG = Kind("True or False", lambda value: isinstance(value, bool))
COUNT = Kind("a count, 0 or more", _is_count)
INTEGER = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
TEXT = Kind("text", is_text)
NAME = Kind("a name", lambda value: is_text(value) and value != "")
NAMES = Kind("a list of names, not a string", _are_names)
TEXTS = Kind(
    "a mapping of text to text",
    lambda value: isinstance(value, Mapping) and all(is_text(each) for each in (*value.keys(), *value.values())),
)
FLAG_OR_NAMES = Kind("True, False or a list of names, not a string", lambda v: isinstance(v, bool) or _are_names(v))


def require(option: str, value: Any, kind: Kind) -> None:
    """Refuse a value of another kind.

    Raises:
        OptionError: ``option`` names it.
    """
    if not kind.fits(value):
        raise OptionError(f"{option} is {kind.said}, and {value!r} was given", option=option)
