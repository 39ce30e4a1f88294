"""The root of the command line: errors, warnings and exit codes of all commands."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, cast

import click

from andes_spark.cli.doctor import doctor
from andes_spark.cli.help import Group
from andes_spark.cli.output import Output
from andes_spark.cli.package import package
from andes_spark.cli.sync import sync
from andes_spark.cli.table import table
from andes_spark.cli.table_adoption import clone, convert, drop
from andes_spark.cli.table_alter import alter
from andes_spark.cli.table_iam import iam
from andes_spark.cli.table_sync import sync_iceberg
from andes_spark.cli.table_tags import tag, tags, untag
from andes_spark.cli.table_upkeep import compact, expire, forget, maintain, pin, pins, repair, unpin, vacuum
from andes_spark.cli.table_writes import apply, create, merge, restore, set_aside
from andes_spark.errors import AndesError, OptionError

OK, FAILURE, USAGE, RETRYABLE = 0, 1, 2, 75
_NEAR = 0.8
"""Minimum similarity of an option's name to be suggested for an unknown one."""


class Andes(Group):
    """The root group; errors of the library are printed as a message, with an exit code and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; print its warnings and errors to stderr in the form of ``--output``."""
        with _shown_warnings(ctx), _shown_records(ctx):
            try:
                return super().invoke(ctx)
            except AndesError as error:
                _output(ctx).error(error)
                ctx.exit(exit_code(error))
            except click.NoSuchOption as error:
                near = get_close_matches(error.option_name, error.possibilities or [], cutoff=_NEAR)
                raise click.NoSuchOption(error.option_name, error.message, near, error.ctx) from None


def exit_code(error: AndesError) -> int:
    """Return the exit code of an error: 75 (``EX_TEMPFAIL``) if a retry may help, 2 for wrong options, else 1."""
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
andes.add_command(sync)
andes.add_command(doctor)
andes.add_command(package)
COMMANDS = (
    (create, convert, clone, drop),
    (apply, merge, restore, set_aside, alter),
    (tag, untag, tags, pin, unpin, pins),
    (vacuum, compact, maintain, expire, forget, repair),
    (sync_iceberg,),
    (iam,),
)
for command in (command for group in COMMANDS for command in group):
    table.add_command(command)


def _output(ctx: click.Context) -> Output:
    """Output of the command; text if the command has not set one yet."""
    output = ctx.meta.get(Output.__name__)
    return output if isinstance(output, Output) else Output("text")


class _Warnings(logging.Handler):
    """Log handler that prints warnings of the library, such as failures after a commit."""

    def __init__(self, ctx: click.Context) -> None:
        super().__init__(logging.WARNING)
        self._ctx = ctx

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message to stderr in the form of ``--output``."""
        _output(self._ctx).warning(record.getMessage())


@contextmanager
def _shown_records(ctx: click.Context) -> Iterator[None]:
    logger, handler = logging.getLogger("andes_spark"), _Warnings(ctx)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _shown_warnings(ctx: click.Context) -> Iterator[None]:
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
