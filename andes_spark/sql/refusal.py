"""Refusals of a text, in the words of whoever gave it."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.errors import OptionError

_LONGEST_FRAGMENT = 80


@dataclass(frozen=True)
class Source:
    """Where a text comes from.

    Attributes:
        option: that was given it.
        text: the whole.
        instead: what the caller can give in place of a text, such as "a polars expression"; empty for nothing.
    """

    option: str
    text: str
    instead: str = ""

    def error(self, problem: str, *, column: str | None = None) -> OptionError:
        """An error about the text, to be raised by the caller."""
        if column is not None:
            return OptionError(f"{self.option}: {problem}", option=self.option, value=self.text, column=column)
        return OptionError(f"{self.option}: {problem}", option=self.option, value=self.text)

    def unlike(self, what: str, advice: str = "") -> OptionError:
        """The error for what engines do differently, or what no text may have."""
        return self.error(f"{what} in {shortened(self.text)!r} is not the same to every engine; {advice or self.way()}")

    def way(self) -> str:
        """The way around a text."""
        return "compute a column first" + (f", or give {self.instead}" if self.instead else "")


def shortened(fragment: str) -> str:
    """A part of a text for a message, cut where it is long."""
    flat = " ".join(fragment.split())
    return flat if len(flat) <= _LONGEST_FRAGMENT else flat[: _LONGEST_FRAGMENT - 3] + "..."
