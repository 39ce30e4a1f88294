"""Errors about a text, with its option and content."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.errors import OptionError

_LONGEST_FRAGMENT = 80


@dataclass(frozen=True)
class Source:
    """Source of a text, for errors.

    Attributes:
        option: name of the option.
        text: the whole text.
        instead: alternative to a text, such as "a polars expression"; empty for none.
    """

    option: str
    text: str
    instead: str = ""

    def error(self, problem: str, *, column: str | None = None) -> OptionError:
        """Return the error about the text, to be raised by the caller."""
        if column is not None:
            return OptionError(f"{self.option}: {problem}", option=self.option, value=self.text, column=column)
        return OptionError(f"{self.option}: {problem}", option=self.option, value=self.text)

    def unlike(self, fragment: str, advice: str = "") -> OptionError:
        """Return the error for unsupported expressions, or those that engines evaluate differently."""
        return self.error(
            f"{fragment} in {shortened(self.text)!r} is not the same to every engine; {advice or self.way()}"
        )

    def way(self) -> str:
        """Return the alternative to a text."""
        return "compute a column first" + (f", or give {self.instead}" if self.instead else "")


def shortened(fragment: str) -> str:
    """Shorten a part of a text for a message."""
    flat = " ".join(fragment.split())
    return flat if len(flat) <= _LONGEST_FRAGMENT else flat[: _LONGEST_FRAGMENT - 3] + "..."
