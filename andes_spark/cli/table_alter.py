"""``andes table alter``: changes of the columns and settings of a table."""

from __future__ import annotations

from typing import Any

import click

from andes_spark.cli.help import Command, Group
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.cli.table_writes import dry_run
from andes_spark.model.alter_options import AddColumnOptions, SettingsOptions

Access = dict[str, str] | None


@click.group(cls=Group)
def alter() -> None:
    """Change columns and settings of a table; earlier versions keep theirs.

    A field of a struct is named by its path, such as address.zip; parts of arrays and maps are element, key and value.
    """


@alter.command("add-column", cls=Command)
@table_command
@click.argument("column")
@click.argument("type")
@flags(AddColumnOptions)
@dry_run
def add_column(path: str, output: Output, storage_options: Access, dry_run: bool, **arguments: Any) -> None:
    """Add a column of TYPE, such as BIGINT or DECIMAL(10,2), which is NULL in all rows that are there."""
    named = {name: arguments.pop(name) for name in ("column", "type")}
    _change(path, output, storage_options, dry_run, "add_column", **named, **values(AddColumnOptions, arguments))


@alter.command(cls=Command)
@table_command
@click.argument("column")
@click.argument("type")
@dry_run
def widen(path: str, output: Output, storage_options: Access, dry_run: bool, column: str, type: str) -> None:
    """Give a column a wider TYPE, which holds every value of the old one. The next merge rewrites the base."""
    _change(path, output, storage_options, dry_run, "widen", column=column, type=type)


@alter.command("rename-comment", cls=Command)
@table_command
@click.argument("column")
@click.argument("comment", required=False)
@dry_run
def rename_comment(
    path: str, output: Output, storage_options: Access, dry_run: bool, column: str, comment: str | None
) -> None:
    """Change the comment of a column to COMMENT; without one it is removed."""
    _change(path, output, storage_options, dry_run, "rename_comment", column=column, comment=comment)


@alter.command("drop-column", cls=Command)
@table_command
@click.argument("column")
@dry_run
def drop_column(path: str, output: Output, storage_options: Access, dry_run: bool, column: str) -> None:
    """Drop a column. Earlier versions keep it, and no column can have its name again."""
    _change(path, output, storage_options, dry_run, "drop_column", column=column)


@alter.command("set", cls=Command)
@table_command
@flags(SettingsOptions)
@dry_run
def set_(path: str, output: Output, storage_options: Access, dry_run: bool, **arguments: Any) -> None:
    """Change settings of the table; those that are not given stay."""
    _change(path, output, storage_options, dry_run, "set", **values(SettingsOptions, arguments))


@alter.command(cls=Command)
@table_command
@click.argument("names", nargs=-1, required=True)
@dry_run
def unset(path: str, output: Output, storage_options: Access, dry_run: bool, names: tuple[str, ...]) -> None:
    """Remove properties, or the comment of the table by the name comment."""
    _change(path, output, storage_options, dry_run, "unset", *names)


def _change(
    path: str, output: Output, storage_options: Access, dry_run: bool, verb: str, *names: str, **arguments: Any
) -> None:
    from andes_spark.cli.plain import plain
    from andes_spark.cli.summaries import alter_summary

    with output.progress("alter") as step:
        opened_table = opened(path, storage_options, dry_run=dry_run, progress=step)
        result = getattr(opened_table.alter, verb)(*names, **arguments)
        content = plain(result) | {"dry_run": dry_run}
        if dry_run:
            output.document(content, text=alter_summary(result))
        else:
            output.result(result, content)
