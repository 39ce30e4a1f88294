"""``andes doctor``: whether tables work with this cluster, its Spark and its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import pairs
from andes_spark.cli.output import Form, Output

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@click.command(cls=Command)
@click.option("--scratch", metavar="FOLDER", help="Folder for tables of the examination, such as s3://bucket/scratch.")
@click.option(
    "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Form of what is printed.",
)  # fmt: skip
@click.option("--storage-option", metavar="KEY=VALUE", multiple=True, help="Access to the store; may be repeated.")
@click.pass_context
def doctor(ctx: click.Context, scratch: str | None, form: Form, storage_option: tuple[str, ...]) -> None:
    """Check this cluster: Python, packages, Java, Spark and Delta, executors, the store, and tables in it.

    Starts a Spark session, and writes tables below FOLDER, by default a temporary folder of this machine; they are
    deleted in the end. Exit code 1 if a check failed.
    """
    from andes_spark.cli.plain import plain
    from andes_spark.cli.table import session_settings
    from andes_spark.doctor.examine import examine

    output = Output(form)
    ctx.meta[Output.__name__] = output
    access = pairs(storage_option, option="--storage-option") or None

    def session() -> SparkSession:
        from andes_spark.spark.session import spark_session

        s3 = (scratch or "").startswith(("s3://", "s3a://")) or None
        return spark_session("andes doctor", s3=s3, config=session_settings(access))

    with output.progress("doctor") as step:
        report = examine(scratch, session=session, storage_options=access, progress=step)
    output.result(report, plain(report) | {"ok": report.ok})
    if not report.ok:
        ctx.exit(1)
