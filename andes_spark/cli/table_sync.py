"""``andes table sync-iceberg``: a table is shown to readers of other formats."""

from __future__ import annotations

from typing import Any

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.cli.table_writes import dry_run
from andes_spark.model.sync_options import SyncIcebergOptions

Access = dict[str, str] | None


@click.command("sync-iceberg", cls=Command)
@table_command
@flags(SyncIcebergOptions)
@dry_run
def sync_iceberg(path: str, output: Output, storage_options: Access, dry_run: bool, **options: Any) -> None:
    """Write Iceberg's metadata over the files of the base, so that readers of Iceberg see the table."""
    from andes_spark.cli.plain import plain

    with output.progress("sync-iceberg") as step:
        table = opened(path, storage_options, dry_run=dry_run, progress=step)
        chosen = values(SyncIcebergOptions, options)
        if dry_run:
            # A catalog cannot be asked what it would do.
            chosen |= dict.fromkeys(("name", "catalog", "catalog_properties"))
        result = table.sync_iceberg(**chosen)
    text = f"would be written: {result.summary()}" if dry_run and result.committed else str(result)
    output.document(plain(result) | {"dry_run": dry_run}, text=text)
