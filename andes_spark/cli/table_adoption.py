"""``andes table convert``, ``clone`` and ``drop``: tables are taken in where they are, copied, or removed."""

from __future__ import annotations

from typing import Any

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.cli.table_writes import dry_run
from andes_spark.model.adoption_options import ConvertOptions
from andes_spark.model.read_options import SnapshotOptions

Access = dict[str, str] | None


@click.command(cls=Command)
@table_command
@flags(ConvertOptions)
@dry_run
def convert(path: str, output: Output, storage_options: Access, dry_run: bool, **options: Any) -> None:
    """Make an existing Delta table, or a folder of Parquet files, a table in place; its rows become version 0.

    Keys are checked first; no data file is written, and Delta keeps the table's history.
    """
    from andes_spark.cli.dry_run import DryRun
    from andes_spark.storage.open import open_storage
    from andes_spark.table.mod_table import ModTable

    storage = open_storage(path, options=storage_options)
    with output.progress("convert") as step:
        table = ModTable.convert(
            DryRun(storage) if dry_run else storage, **values(ConvertOptions, options), progress=step
        )
    origin = table.manifest(0).origin
    assert origin is not None
    content: dict[str, Any] = {
        "table": table.url,
        "version": table.version,
        "delta_version": origin.delta_version,
        "rows": origin.rows,
        "schema": table.schema.to_ddl(),
    }
    output.document(content | ({"dry_run": True} if dry_run else {}))


@click.command(cls=Command)
@table_command
@click.argument("target", metavar="TARGET")
@flags(SnapshotOptions)
@dry_run
def clone(path: str, output: Output, storage_options: Access, target: str, dry_run: bool, **options: Any) -> None:
    """Make a new table in the folder TARGET with the rows of a version, by default the newest."""
    from andes_spark.cli.dry_run import DryRun
    from andes_spark.storage.open import open_storage

    chosen = values(SnapshotOptions, options)
    with output.progress("clone") as step:
        source = opened(path, storage_options, progress=step)
        storage = open_storage(target, options=storage_options if target.startswith(("s3://", "s3a://")) else None)
        clone_table = source.clone(DryRun(storage) if dry_run else storage, **chosen)
    content: dict[str, Any] = {
        "table": clone_table.url,
        "cloned": source.url,
        "rows": clone_table.manifest(0).counts.upserts,
    }
    output.document(content | ({"dry_run": True} if dry_run else {}))


@click.command(cls=Command)
@table_command
@click.option("--confirm", required=True, metavar="NAME", help="Name of the table's folder, or its URL.")
@dry_run
def drop(path: str, output: Output, storage_options: Access, confirm: str, dry_run: bool) -> None:
    """Remove a table with all its files, for good; a drop that was interrupted goes on."""
    from andes_spark.cli.dry_run import DryRun
    from andes_spark.cli.plain import plain
    from andes_spark.storage.open import open_storage
    from andes_spark.table.mod_table import ModTable

    storage = open_storage(path, options=storage_options)
    with output.progress("drop"):
        result = ModTable.drop_folder(DryRun(storage) if dry_run else storage, confirm=confirm)
    text = result.summary().replace(" was ", " would be ", 1) if dry_run else result.summary()
    output.document(plain(result) | {"dry_run": dry_run}, text=text)
