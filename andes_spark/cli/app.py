"""The root of the command line, and what all its commands share: errors, warnings, exit codes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, cast

import click

from andes_spark.cli.output import Output
from andes_spark.cli.table import table
from andes_spark.cli.table_writes import apply, create, merge, set_aside
from andes_spark.errors import AndesError, OptionError

OK, FAILURE, USAGE, RETRYABLE = 0, 1, 2, 75
_NEAR = 0.8
"""Likeness of an option's name from which it is offered in place of an unknown one."""


class Andes(click.Group):
    """The root group; an error of the library ends it with a message and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its warnings and errors go to stderr in the form that ``--output`` asks for."""
        with _told_warnings(ctx), _told_records(ctx):
            try:
                return super().invoke(ctx)
            except AndesError as error:
                _output(ctx).error(error)
                ctx.exit(exit_code(error))
            except click.NoSuchOption as error:
                near = get_close_matches(error.option_name, error.possibilities or [], cutoff=_NEAR)
                raise click.NoSuchOption(error.option_name, error.message, near, error.ctx) from None


def exit_code(error: AndesError) -> int:
    """75 where trying again may help (``EX_TEMPFAIL``), 2 for what was asked, 1 for what happened."""
    if error.retryable:
        return RETRYABLE
    return USAGE if isinstance(error, OptionError) else FAILURE


@click.group(cls=Andes, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="andes_spark", prog_name="andes", message="%(prog)s %(version)s")
def andes() -> None:
    """Keyed tables on Delta Lake: apply upserts and deletes, merge them, read the result.

    Exit codes: 0 ok, 1 failure, 2 wrong usage, 75 worth trying again.
    """


andes.add_command(table)
for command in (create, apply, merge, set_aside):
    table.add_command(command)


def _output(ctx: click.Context) -> Output:
    """The output that the command chose, as far as it got; else text."""
    found = ctx.meta.get(Output.__name__)
    return found if isinstance(found, Output) else Output("text")


class _Warnings(logging.Handler):
    """Shows what the library logs at level WARNING, such as work after a commit that failed."""

    def __init__(self, ctx: click.Context) -> None:
        super().__init__(logging.WARNING)
        self._ctx = ctx

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's message to stderr in the form that ``--output`` asks for."""
        _output(self._ctx).warning(record.getMessage())


@contextmanager
def _told_records(ctx: click.Context) -> Iterator[None]:
    logger, handler = logging.getLogger("andes_spark"), _Warnings(ctx)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _told_warnings(ctx: click.Context) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, RuntimeWarning):
                _output(ctx).warning(str(message))
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = cast(Any, show)
        yield
