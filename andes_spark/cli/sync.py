"""``andes sync``: tables under names in catalogs, and as rows in databases."""

from __future__ import annotations

from typing import Any

import click

from andes_spark.cli.help import Command, Group
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.model.sync_options import SyncGlueOptions, SyncSqlOptions

Access = dict[str, str] | None


@click.group(cls=Group)
def sync() -> None:
    """Show tables to other systems."""


@sync.command(cls=Command)
@table_command
@click.argument("name", metavar="DB.TABLE")
@flags(SyncGlueOptions)
def glue(path: str, output: Output, storage_options: Access, name: str, **options: Any) -> None:
    """Show a table in the Glue Data Catalog as DB.TABLE, for Athena, Trino, Spark and Redshift."""
    from andes_spark.cli.plain import plain

    with output.progress("sync glue") as step:
        table = opened(path, storage_options, progress=step)
        result = table.sync_glue(name, **values(SyncGlueOptions, options))
    output.document(plain(result) | {"changed": result.changed}, text=str(result))


@sync.command(cls=Command)
@table_command
@click.argument("url", metavar="URL")
@click.argument("name", metavar="SCHEMA.TABLE")
@flags(SyncSqlOptions)
def sql(path: str, output: Output, storage_options: Access, url: str, name: str, **options: Any) -> None:
    """Bring SCHEMA.TABLE of the database at URL up to date; its password is better left to PGPASSWORD."""
    from andes_spark.cli.plain import plain

    with output.progress("sync sql") as step:
        table = opened(path, storage_options, progress=step)
        result = table.sync_sql(url, name, **values(SyncSqlOptions, options))
    output.document(plain(result), text=str(result))
