"""``andes table``: the commands that read a table. The commands that write are in ``table_writes``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from andes_spark.cli.help import Group
from andes_spark.cli.options import flags, pairs, values
from andes_spark.cli.output import Form, Output
from andes_spark.model.display import Listing
from andes_spark.model.manifest import COUNTED, Counts
from andes_spark.model.read_options import (
    ChangesOptions,
    GetOptions,
    ModsOptions,
    ReadOptions,
    SnapshotOptions,
    VersionOptions,
)
from andes_spark.model.results import MergeCounts

if TYPE_CHECKING:
    import pyarrow as pa

    from andes_spark.table.mod_table import ModTable

_SHOWN = 20

Command = Callable[..., Any]


@click.group(cls=Group)
def table() -> None:
    """Create, change, read and check keyed tables.

    TABLE is a folder: a local path, s3://bucket/folder or s3a://bucket/folder. With --output json, rows are
    printed as JSON lines, everything else as one JSON document.
    """


def table_command(function: Command) -> Command:
    """Decorate a command with TABLE, --output and --storage-option, passed as ``output`` and ``storage_options``."""

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
    def command(ctx: click.Context, /, *, form: Form, storage_option: tuple[str, ...], **arguments: Any) -> Any:
        output = Output(form)
        ctx.meta[Output.__name__] = output
        access = pairs(storage_option, option="--storage-option") or None
        return function(output=output, storage_options=access, **arguments)

    return command


def opened(path: str, storage_options: dict[str, str] | None, *, dry_run: bool = False, **more: Any) -> ModTable:
    """Open a table, for a dry run on a storage that keeps what is written in memory.

    The modules for it are imported only here, so that help and usage errors are fast.
    """
    from andes_spark.table.mod_table import ModTable

    if not dry_run:
        return ModTable.open(path, storage_options=storage_options, **more)
    from andes_spark.cli.dry_run import DryRun
    from andes_spark.storage.open import open_storage

    return ModTable.open(DryRun(open_storage(path, options=storage_options)), **more)


@table.command()
@table_command
@click.option("--files", is_flag=True, help="Also tell what a vacuum would delete, and what keeps it from more.")
def status(path: str, output: Output, storage_options: dict[str, str] | None, files: bool) -> None:
    """Show a table at a glance: versions, rows, files, what is pending."""
    from andes_spark.cli.plain import plain

    result = opened(path, storage_options).status(files=files)
    output.result(result, plain(result))
    if result.stopped is not None:
        output.warning(f"merges stop: {result.stopped}")


@table.command()
@table_command
@click.option("--limit", type=click.IntRange(1), default=_SHOWN, show_default=True, help="Newest versions to show.")
@click.option("--merges", is_flag=True, help="Show the merges of the base instead.")
def history(path: str, output: Output, storage_options: dict[str, str] | None, limit: int, merges: bool) -> None:
    """Show the newest versions and what made them."""
    from andes_spark.cli.plain import plain

    chosen = opened(path, storage_options)
    entries: Listing[Any] = chosen.merges(limit=limit) if merges else chosen.history(limit=limit)
    if output.is_json:
        for entry in entries:
            output.document({**plain(entry), **counts_of(entry.counts)})
    elif entries:
        rows = [entry.details() for entry in entries]
        output.table(rows, columns=list(dict.fromkeys(name for row in rows for name in row)), wide=80)
    else:
        output.note("nothing was merged yet" if merges else "no versions")


@table.command()
@table_command
@flags(VersionOptions)
def manifest(path: str, output: Output, storage_options: dict[str, str] | None, version: int | None) -> None:
    """Show the manifest of a version: its files, counts and checksums."""
    from andes_spark.cli.summaries import show_manifest

    chosen = opened(path, storage_options)
    show_manifest(output, chosen.manifest(chosen.version if version is None else version))


def _limit(function: Command) -> Command:
    text = f"Rows at most; by default {_SHOWN} as text, all of them as JSON."
    return click.option("--limit", type=click.IntRange(0), help=text)(function)


@table.command()
@table_command
@flags(SnapshotOptions)
@_limit
def quarantined(
    path: str, output: Output, storage_options: dict[str, str] | None, limit: int | None, **options: Any
) -> None:
    """Show the mods that were set aside, with the reason."""
    chosen = values(SnapshotOptions, options)
    show_rows(output, opened(path, storage_options).quarantined(**chosen).to_reader(), limit)


@table.command()
@table_command
@flags(ModsOptions)
@_limit
def mods(
    path: str,
    output: Output,
    storage_options: dict[str, str] | None,
    from_version: int | None,
    to_version: int | None,
    limit: int | None,
) -> None:
    """Show the raw log: every mod of some versions as committed."""
    show_rows(output, opened(path, storage_options).mods(from_version, to_version).to_reader(), limit)


@table.command()
@table_command
@flags(ChangesOptions)
@_limit
def changes(
    path: str, output: Output, storage_options: dict[str, str] | None, limit: int | None, **options: Any
) -> None:
    """Show the rows by which two versions differ, in the order of their keys, and what became of each.

    What was changed and changed back is not shown. Restores, truncates and versions set aside are shown by the rows
    that they change.
    """
    show_rows(output, opened(path, storage_options).changes(**values(ChangesOptions, options)), limit)


@table.command()
@table_command
@click.option("--since", type=int, help="Check only what was added after this version.")
def verify(path: str, output: Output, storage_options: dict[str, str] | None, since: int | None) -> None:
    """Check all that is stored: chain, checksums, unique keys, base against log. Exits with 1 if it finds fault."""
    from andes_spark.cli.plain import plain
    from andes_spark.table.mod_table import ModTable

    with output.progress("verify"):
        result = ModTable.verify_folder(path, since, storage_options=storage_options)
    output.result(result, {"ok": result.ok, **plain(result)})
    if not result.ok:
        click.get_current_context().exit(1)


@table.command()
@table_command
@flags(ReadOptions, without=["limit"])
@_limit
@click.option("--spark", is_flag=True, help="Read by Spark, for tables beyond this machine's memory.")
def read(
    path: str,
    output: Output,
    storage_options: dict[str, str] | None,
    limit: int | None,
    spark: bool,
    **flags_: Any,
) -> None:
    """Show rows: the base and all pending mods together, in no order."""
    options = ReadOptions.checked(**values(ReadOptions, flags_), limit=_rows_to_read(output, limit))
    if spark:
        rows = _by_spark(path, storage_options, options).to_reader()
    else:
        rows = opened(path, storage_options).to_batches(**vars(options))
    show_rows(output, rows, limit)


@table.command()
@table_command
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@flags(GetOptions)
def get(
    path: str,
    output: Output,
    storage_options: dict[str, str] | None,
    keys: tuple[str, ...],
    **options: Any,
) -> None:
    """Show the rows of some keys: the base and all pending mods together, in the order of the keys.

    KEY is a value: 42, 2024-02-29, text. A key of several columns is a JSON array in their order, '["eu", 7]', or an
    object, '{"region": "eu", "id": 7}'; values have the forms of --output json.
    """
    from andes_spark.inputs.keys import keys_of_texts

    chosen = opened(path, storage_options)
    requested_keys = keys_of_texts(keys, chosen.schema.select(chosen.primary_key))
    rows = chosen.get(requested_keys, **values(GetOptions, options))
    show_rows(output, rows.to_reader(), rows.num_rows)
    if not rows.num_rows:
        output.note("no row has such a key")


def counts_of(counts: Counts | MergeCounts) -> dict[str, int]:
    """Return the counts by name, with those that are 0."""
    names = COUNTED if isinstance(counts, Counts) else vars(counts)
    return {name: getattr(counts, name) for name in names}


def show_rows(output: Output, rows: pa.RecordBatchReader, limit: int | None) -> None:
    """Print the first rows of a stream; without a limit, print a note if there are more."""
    most = _most(output, limit)
    more: list[bool] = []
    output.batches(rows if most is None else _first(rows, most, more), columns=rows.schema.names)
    if limit is None and more:
        output.note(f"the first {most} rows; --limit shows more")


def _first(batches: Iterable[pa.RecordBatch], most: int, more: list[bool]) -> Iterator[pa.RecordBatch]:
    """Yield the first ``most`` rows; append to ``more`` if there are more."""
    left = most
    for batch in batches:
        if batch.num_rows > left:
            more.append(True)
        if left:
            yield batch.slice(0, left)
        left -= min(left, batch.num_rows)
        if more:
            return


def _most(output: Output, limit: int | None) -> int | None:
    return _SHOWN if limit is None and not output.is_json else limit


def _rows_to_read(output: Output, limit: int | None) -> int | None:
    """Number of rows to read: one more than are shown, to detect that there are more."""
    most = _most(output, limit)
    return most if most is None or limit is not None else most + 1


def session_settings(options: Mapping[str, str] | None) -> dict[str, str]:
    """Convert storage options to settings of a new Spark session."""
    from andes_spark.spark.s3a import s3a_settings

    return {f"spark.hadoop.{name}": value for name, value in s3a_settings(options or {}).items()}


def _by_spark(path: str, storage_options: dict[str, str] | None, options: ReadOptions) -> pa.Table:
    from andes_spark.spark.arrow_frames import arrow_table
    from andes_spark.spark.session import spark_session

    s3 = path.startswith(("s3://", "s3a://")) or None
    session = spark_session("andes table read", s3=s3, config=session_settings(storage_options))
    frame = opened(path, storage_options, spark=session).read(
        version=options.version, timestamp=options.timestamp, tag=options.tag
    )
    if options.filter is not None:
        frame = frame.where(options.filter)
    if options.columns is not None:
        frame = frame.select(*("`" + name.replace("`", "``") + "`" for name in options.columns))
    return arrow_table(frame if options.limit is None else frame.limit(options.limit))
