"""``andes table tag``, ``untag`` and ``tags``: names for versions."""

from __future__ import annotations

from typing import Any

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.cli.table_writes import dry_run
from andes_spark.model.history_options import TagOptions, UntagOptions

Access = dict[str, str] | None


@click.command(cls=Command)
@table_command
@click.argument("name")
@flags(TagOptions)
@dry_run
def tag(path: str, output: Output, storage_options: Access, name: str, dry_run: bool, **options: Any) -> None:
    """Give a version the name NAME, by which it can be read: letters, digits, dots, dashes and underscores."""
    _change(path, output, storage_options, dry_run, "tag", name, values(TagOptions, options))


@click.command(cls=Command)
@table_command
@click.argument("name")
@flags(UntagOptions)
@dry_run
def untag(path: str, output: Output, storage_options: Access, name: str, dry_run: bool, **options: Any) -> None:
    """Remove the tag NAME; the version that it stands for stays."""
    _change(path, output, storage_options, dry_run, "untag", name, values(UntagOptions, options))


@click.command(cls=Command)
@table_command
def tags(path: str, output: Output, storage_options: Access) -> None:
    """Show the tags: names for versions."""
    output.entries(opened(path, storage_options).tags(), none="the table has no tags")


def _change(
    path: str, output: Output, storage_options: Access, dry_run: bool, verb: str, name: str, options: dict[str, Any]
) -> None:
    from andes_spark.cli.plain import plain
    from andes_spark.cli.summaries import tag_summary

    with output.progress(verb) as step:
        opened_table = opened(path, storage_options, dry_run=dry_run, progress=step)
        result = getattr(opened_table, verb)(name, **options)
        output.document(plain(result) | {"dry_run": dry_run}, text=tag_summary(result, dry_run=dry_run))
