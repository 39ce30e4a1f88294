"""``andes table``: what a table holds and says of itself. The commands that write are in ``table_writes``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click
import pyarrow as pa

from andes_spark.cli.options import flags, pairs
from andes_spark.cli.output import Form, Output
from andes_spark.cli.plain import plain, rows_of
from andes_spark.cli.summaries import iso_time, show_manifest
from andes_spark.model.manifest import COUNTED, Counts
from andes_spark.model.options import ModsOptions, ReadOptions, VersionOptions
from andes_spark.table.mod_table import ModTable

_SHOWN = 20

Command = Callable[..., Any]


@click.group()
def table() -> None:
    """Create, change, read and check keyed tables.

    TABLE is a folder: a local path, s3://bucket/folder or s3a://bucket/folder. With --output json, rows are
    printed as JSON lines, everything else as one JSON document.
    """


def table_command(function: Command) -> Command:
    """Give a command TABLE, --output and --storage-option; it is called with ``output`` and ``storage_options``."""

    @click.argument("path", metavar="TABLE")
    @click.option(
        "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="Form of what is printed.",
    )  # fmt: skip
    @click.option(
        "--storage-option", "storage_option", metavar="KEY=VALUE", multiple=True,
        help="Access to the store, such as aws_region=eu-west-1; may be repeated. Credentials are better left "
        "to the environment, where no list of processes shows them.",
    )  # fmt: skip
    @click.pass_context
    @functools.wraps(function)
    def command(ctx: click.Context, /, *, form: Form, storage_option: tuple[str, ...], **given: Any) -> Any:
        output = Output(form)
        ctx.meta[Output.__name__] = output
        options = pairs(storage_option, option="--storage-option") or None
        return function(output=output, storage_options=options, **given)

    return command


@table.command()
@table_command
def status(path: str, output: Output, storage_options: dict[str, str] | None) -> None:
    """Show a table at a glance: versions, rows, files, what is pending."""
    output.document(plain(ModTable.open(path, storage_options=storage_options).status()))


@table.command()
@table_command
@click.option("--limit", type=click.IntRange(1), default=_SHOWN, show_default=True, help="Newest versions to show.")
@click.option("--merges", is_flag=True, help="Show the merges of the base instead.")
def history(path: str, output: Output, storage_options: dict[str, str] | None, limit: int, merges: bool) -> None:
    """Show the newest versions and what made them."""
    opened = ModTable.open(path, storage_options=storage_options)
    if merges:
        found = [{**plain(each), "time": iso_time(each["time"])} for each in opened.merges(limit=limit)]
        output.rows(found, columns=list(found[0]) if found else ["delta_version"])
        return
    columns = ["version", "time", "operation", "received", "upserts", "deletes", "truncates", "quarantined", "job"]
    manifests = opened.history(limit=limit)
    rows = [
        {
            "version": each.version,
            "time": iso_time(each.time),
            "operation": each.operation,
            **counts_of(each.counts),
            "batch": plain(each.batch),
            "job": each.writer.get("job"),
        }
        for each in manifests
    ]
    output.rows(rows, columns=columns)


@table.command()
@table_command
@flags(VersionOptions)
def manifest(path: str, output: Output, storage_options: dict[str, str] | None, version: int | None) -> None:
    """Show the manifest of a version: its files, counts and checksums."""
    opened = ModTable.open(path, storage_options=storage_options)
    show_manifest(output, opened.manifest(opened.version if version is None else version))


def _limit(function: Command) -> Command:
    text = f"Rows to show; by default {_SHOWN} as text, all of them as JSON."
    return click.option("--limit", type=click.IntRange(0), help=text)(function)


@table.command()
@table_command
@flags(VersionOptions)
@_limit
def quarantined(
    path: str, output: Output, storage_options: dict[str, str] | None, version: int | None, limit: int | None
) -> None:
    """Show the mods that were set aside, with the reason."""
    opened = ModTable.open(path, storage_options=storage_options)
    show_rows(output, opened.quarantined(version=version), limit)


@table.command()
@table_command
@flags(ModsOptions)
@_limit
def mods(
    path: str,
    output: Output,
    storage_options: dict[str, str] | None,
    from_version: int,
    to_version: int | None,
    limit: int | None,
) -> None:
    """Show the raw log: every mod of some versions as committed."""
    opened = ModTable.open(path, storage_options=storage_options)
    show_rows(output, opened.mods(from_version, to_version), limit)


@table.command()
@table_command
def verify(path: str, output: Output, storage_options: dict[str, str] | None) -> None:
    """Check all that is stored: chain, checksums, unique keys, base against log. Exits with 1 if it finds fault."""
    with output.progress("verify"):
        result = ModTable.open(path, storage_options=storage_options).verify()
    output.document({"ok": result.ok, **plain(result)})
    if not result.ok:
        click.get_current_context().exit(1)


@table.command()
@table_command
@flags(ReadOptions)
@_limit
@click.option("--spark", is_flag=True, help="Read by Spark, for tables beyond this machine's memory.")
def read(
    path: str,
    output: Output,
    storage_options: dict[str, str] | None,
    columns: tuple[str, ...] | None,
    filter: str | None,
    version: int | None,
    limit: int | None,
    spark: bool,
) -> None:
    """Show rows: the base and all pending mods together, in no order."""
    if spark:
        rows = _by_spark(path, storage_options, columns, filter, version, _wanted(output, limit))
    else:
        with output.progress("read") as step:
            opened = ModTable.open(path, storage_options=storage_options, progress=step)
            rows = opened.to_arrow(columns=columns, filter=filter, version=version)
    show_rows(output, rows, limit)


def counts_of(counts: Counts) -> dict[str, int]:
    """All counts by name; the log leaves out those that are 0."""
    return {name: getattr(counts, name) for name in COUNTED}


def show_rows(output: Output, rows: pa.Table, limit: int | None) -> None:
    """Print rows, and on stderr how many of them are left out."""
    wanted = _wanted(output, limit)
    shown = rows if wanted is None else rows.slice(0, wanted)
    output.rows(rows_of(shown), columns=rows.column_names)
    if limit is None and shown.num_rows < rows.num_rows:
        output.note(f"{shown.num_rows} of {rows.num_rows} rows; --limit shows more")


def _wanted(output: Output, limit: int | None) -> int | None:
    return _SHOWN if limit is None and not output.is_json else limit


_S3A_NAMES = {
    "aws_endpoint": "endpoint",
    "aws_region": "endpoint.region",
    "aws_access_key_id": "access.key",
    "aws_secret_access_key": "secret.key",
    "aws_session_token": "session.token",
}


def s3a_settings(options: Mapping[str, str]) -> dict[str, str]:
    """The settings of Spark's S3A that say what storage options say."""
    found = {name: options[option] for option, name in _S3A_NAMES.items() if option in options}
    if "aws_endpoint" in options:
        virtual = options.get("aws_virtual_hosted_style_request", "false").lower() == "true"
        found["path.style.access"] = "false" if virtual else "true"
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in found.items()}


def _by_spark(
    path: str,
    storage_options: dict[str, str] | None,
    names: tuple[str, ...] | None,
    condition: str | None,
    version: int | None,
    limit: int | None,
) -> pa.Table:
    from andes_spark.spark.session import spark_session

    s3 = path.startswith(("s3://", "s3a://"))
    session = spark_session("andes table read", s3=s3, config=s3a_settings(storage_options or {}))
    frame = ModTable.open(path, storage_options=storage_options, spark=session).read(version=version)
    if condition is not None:
        frame = frame.where(condition)
    if names is not None:
        frame = frame.select(*("`" + name.replace("`", "``") + "`" for name in names))
    return (frame if limit is None else frame.limit(limit)).toArrow()
