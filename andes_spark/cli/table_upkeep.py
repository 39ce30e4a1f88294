"""``andes table vacuum``: old versions are released, and files that no version needs are deleted."""

from __future__ import annotations

from typing import Any

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.model.upkeep_options import VacuumOptions

Access = dict[str, str] | None


@click.command(cls=Command)
@table_command
@flags(VacuumOptions)
def vacuum(path: str, output: Output, storage_options: Access, **options: Any) -> None:
    """Release old versions, and delete the files that no version needs which can still be read."""
    from andes_spark.cli.plain import plain

    with output.progress("vacuum") as step:
        result = opened(path, storage_options, progress=step).vacuum(**values(VacuumOptions, options))
    output.result(result, plain(result))
