"""Help of commands: words with hyphens are not broken between lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

_HYPHEN = "\u2011"
"""Non-breaking hyphen, in place of the plain one while lines are broken."""


class HelpFormatter(click.HelpFormatter):
    """Formatter that keeps names such as ``set-aside`` and ``--storage-option`` on one line."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        """Write a list of terms and their descriptions."""
        super().write_dl([(term, text.replace("-", _HYPHEN)) for term, text in rows], *args, **kwargs)

    def getvalue(self) -> str:
        """Return the text, with plain hyphens."""
        return super().getvalue().replace(_HYPHEN, "-")


class HelpContext(click.Context):
    """Context of a command, with this module's formatter."""

    formatter_class = HelpFormatter


class Command(click.Command):
    """A command with this module's help."""

    context_class = HelpContext


class Group(click.Group):
    """A group of commands with this module's help."""

    context_class = HelpContext
    command_class = Command
