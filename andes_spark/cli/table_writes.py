"""The commands of ``andes table`` that write, each with a dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import FORMATS, flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import counts_of, opened, table_command
from andes_spark.errors import OptionError
from andes_spark.model.history_options import RestoreOptions
from andes_spark.model.options import ApplyOptions, CreateOptions, declared_options, defaults, flag_of

if TYPE_CHECKING:
    from andes_spark.schema.schema import Schema

Options = dict[str, str] | None
_FILE = click.Path(exists=True, dir_okay=False)


def dry_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with --dry-run."""
    return click.option("--dry-run", is_flag=True, help="Check everything and say what would happen; write nothing.")(
        function
    )


def _columns_of(schema: str | None, schema_file: str | None, feed: str | None, options: dict[str, Any]) -> Schema:
    from andes_spark.cli.inputs import read_schema_file
    from andes_spark.feeds import wal2json
    from andes_spark.schema.schema import Schema

    if sum(source is not None for source in (schema, schema_file, feed)) > 1:
        raise OptionError("give one of --schema, --schema-file and --feed", option="schema")
    if schema is not None:
        return Schema.from_ddl(schema)
    if schema_file is not None:
        return read_schema_file(schema_file)
    if feed is not None:
        if options["feed_table"] is None:
            raise OptionError("--feed needs --feed-table, such as public.orders", option="feed_table")
        lines = wal2json.read_lines(feed)
        source = wal2json.infer_schema(lines, table=options["feed_table"], primary_key=options["primary_key"])
        return wal2json.table_schema(source)
    if options["data"] is not None and options["data"].endswith(".parquet"):
        return read_schema_file(options["data"])
    raise OptionError("say the columns: --schema, --schema-file, --feed, or --data of a Parquet file", option="schema")


@click.command(cls=Command)
@table_command
@click.option("--schema", help='Columns as DDL: "order_id BIGINT, status STRING, lsn BIGINT".')
@click.option("--schema-file", type=_FILE, help="Columns from a file: DDL, Spark's schema as .json, or .parquet.")
@click.option("--feed", type=_FILE, help="Columns from the inserts of a wal2json feed; orders mods by it too.")
@click.option("--feed-table", help="Source table of --feed, such as public.orders.")
@click.option("--data", help="Rows of an initial load: a file, glob or folder; their keys must be unique.")
@click.option("--format", "form_of_data", type=click.Choice(FORMATS), help="Of --data; by default by its name.")
@flags(CreateOptions)
@dry_run
def create(path: str, output: Output, storage_options: Options, dry_run: bool, **options: Any) -> None:
    """Create a table, empty or with rows."""
    from andes_spark.cli.dry_run import DryRun
    from andes_spark.feeds import wal2json
    from andes_spark.inputs.files import FileRows
    from andes_spark.model.manifest import manifest_path
    from andes_spark.storage.open import open_storage
    from andes_spark.table.mod_table import ModTable

    schema = _columns_of(options["schema"], options["schema_file"], options["feed"], options)
    chosen = values(CreateOptions, options)
    if options["feed"] is not None:
        chosen.setdefault("sequence_by", wal2json.ModColumns().sequence_by)
    data = None
    if options["data"] is not None:
        data = FileRows((options["data"],), options["form_of_data"], _input_options(options["data"], storage_options))
    storage = open_storage(path, options=storage_options)
    table_exists = storage.size(manifest_path(0)) is not None
    with output.progress("create") as step:
        table = ModTable.create(
            DryRun(storage) if dry_run else storage,
            schema,
            **chosen,
            data=data,
            progress=step,
        )
    content: dict[str, Any] = {"table": table.url, "version": table.version, "schema": table.schema.to_ddl()}
    if dry_run:
        content |= {"dry_run": True, "would_create": not table_exists, "rows": table.manifest(0).counts.upserts}
    output.document(content)


class _Batch(NamedTuple):
    """One batch of a command: its mods and its options for ``ModTable.apply``."""

    mods: Any
    options: dict[str, Any]


@click.command(cls=Command)
@table_command
@click.argument("files", nargs=-1, required=True)
@click.option("--format", "form_of_files", type=click.Choice([*FORMATS, "wal2json"]), help="By default by their names.")
@flags(ApplyOptions)
@click.option("--feed-table", help="Of wal2json: the source table, such as public.orders.")
@click.option("--source", help="Of wal2json: name of the feed in batch ids; by default --feed-table.")
@click.option(
    "--changes-per-batch", type=click.IntRange(1), default=10_000, show_default=True,
    help="Of wal2json: about so many changes a version; transactions are never split.",
)  # fmt: skip
@click.option("--leave-unfinished", is_flag=True, help="Of wal2json: leave out a last transaction without its end.")
@dry_run
def apply(
    path: str, files: tuple[str, ...], output: Output, storage_options: Options, dry_run: bool, **options: Any
) -> None:
    """Apply the rows of FILES as one batch of mods, or a wal2json feed as batches of whole transactions.

    FILES are files, globs and folders, on disk or S3, of Parquet, CSV with a header, or JSON lines. Prints one result
    for each batch.
    """
    from andes_spark.cli.dry_run import DryRun
    from andes_spark.cli.plain import plain
    from andes_spark.cli.summaries import apply_summary
    from andes_spark.storage.open import open_storage
    from andes_spark.table.mod_table import ModTable

    with output.progress("apply") as step:
        storage = open_storage(path, options=storage_options)
        opened_table = ModTable.open(DryRun(storage) if dry_run else storage, progress=step)
        schema, keys, sequence = opened_table.schema, opened_table.primary_key, opened_table.sequence_by
        if options["form_of_files"] == "wal2json":
            batches = _feed(files, schema, keys, sequence, options)
        else:
            batches = _one(files, storage_options, options)
        for batch in batches:
            # A dry run does not merge: the result is not shown, and pending mods may be large.
            chosen = {**batch.options, "merge": False} if dry_run else batch.options
            result = opened_table.apply(batch.mods, **chosen)
            content = {**plain(result), "counts": counts_of(result.counts)}
            if dry_run:
                content["dry_run"] = True
                output.document(content, text=apply_summary(result))
            else:
                output.result(result, content)


def _one(files: tuple[str, ...], storage_options: Options, options: dict[str, Any]) -> Iterator[_Batch]:
    if options["feed_table"] is not None:
        raise OptionError("--feed-table goes with --format wal2json", option="feed_table")
    from andes_spark.inputs.files import FileRows

    rows = FileRows(files, options["form_of_files"], _input_options(files[0], storage_options))
    yield _Batch(rows, values(ApplyOptions, options))


def _input_options(path: str, storage_options: Options) -> Options:
    """Return the storage options of input files: those of the command if the files are on S3."""
    from andes_spark.inputs.locations import is_on_s3

    return storage_options if is_on_s3(path) else None


_FOR_FEEDS = ("max_quarantined", "strict_replay", "merge", "job")


def _feed(
    files: tuple[str, ...], schema: Schema, keys: tuple[str, ...], sequence: tuple[str, ...], options: dict[str, Any]
) -> Iterator[_Batch]:
    from andes_spark.feeds import wal2json
    from andes_spark.inputs.locations import files_at

    default = defaults(ApplyOptions)
    chosen = values(ApplyOptions, options)
    wrong = [name for name, value in chosen.items() if name not in _FOR_FEEDS and value != default[name]]
    if wrong:
        names = ", ".join(flag_of(name, declared_options(ApplyOptions)[name]) for name in wrong)
        raise OptionError(f"a wal2json feed says by itself what its changes are: leave out {names}", option=wrong[0])
    if options["feed_table"] is None:
        raise OptionError("--format wal2json needs --feed-table, such as public.orders", option="feed_table")
    if len(sequence) != 2:
        raise OptionError(
            "a wal2json feed needs a table with two sequence columns, position and ordinal: create it with --feed",
            option="format",
        )
    op, listed = _free("op", schema), _free("columns_to_update", schema)
    columns = wal2json.ModColumns(op=op, lsn=sequence[0], ordinal=sequence[1], columns_to_update=listed)
    batches = wal2json.batches(
        wal2json.read_lines(*(file.path for file in files_at(files, None, suffixes=None))),
        schema,
        table=options["feed_table"],
        primary_key=keys,
        changes_per_batch=options["changes_per_batch"],
        options=wal2json.DecodeOptions("leave" if options["leave_unfinished"] else "refuse", columns),
    )
    for batch in batches:
        yield _Batch(
            batch.mods,
            {
                "apply_as_deletes": f"{op} = 'D'",
                "apply_as_truncates": f"{op} = 'T'",
                "columns_to_update": listed,
                "batch_id": (options["source"] or options["feed_table"], batch.batch_id),
                **{name: value for name, value in chosen.items() if name in _FOR_FEEDS},
            },
        )


def _free(name: str, schema: Schema) -> str:
    while name in schema:
        name += "_"
    return name


@click.command(cls=Command)
@table_command
@click.option("--if-due", is_flag=True, help="Merge only if the table's merge policy asks for it now.")
@dry_run
def merge(path: str, output: Output, storage_options: Options, if_due: bool, dry_run: bool) -> None:
    """Fold pending mods into the base, in one Delta commit."""
    from andes_spark.cli.plain import plain
    from andes_spark.log.log import Log
    from andes_spark.settings import Settings
    from andes_spark.storage.open import open_storage
    from andes_spark.table.mod_table import ModTable
    from andes_spark.table.open_table import OpenTable
    from andes_spark.table.verbs.due import due_now

    settings = Settings()
    storage = open_storage(path, options=storage_options)
    with output.progress("merge") as step:
        open_table = OpenTable(storage, settings, Log.open(storage, settings), progress=step)
        opened_table = ModTable(open_table)
        decision = due_now(open_table) if if_due else None
        skip = decision is not None and not decision.due
        if dry_run:
            now = opened_table.status()
            pending = {name: getattr(now, name) for name in ("pending_versions", "pending_mods", "pending_bytes")}
            would = now.pending_versions > 0 and not skip
            output.document({"table": now.table, "dry_run": True, "would_merge": would, **pending})
        elif skip:
            applied = opened_table.status().applied
            output.document({"status": "not due", "applied": applied, "decision": plain(decision)}, text=str(decision))
        else:
            result = opened_table.merge()
            output.result(result, plain(result))


@click.command("set-aside", cls=Command)
@table_command
@click.argument("version", type=int)
@dry_run
def set_aside(path: str, output: Output, storage_options: Options, version: int, dry_run: bool) -> None:
    """Take the mods of a committed version that is not merged out of the table."""
    from andes_spark.cli.plain import plain
    from andes_spark.cli.summaries import set_aside_summary

    with output.progress("set aside") as step:
        opened_table = opened(path, storage_options, dry_run=dry_run, progress=step)
        result = opened_table.set_aside(version)
        output.document(plain(result) | {"dry_run": dry_run}, text=set_aside_summary(result, dry_run=dry_run))


@click.command(cls=Command)
@table_command
@click.argument("version", type=int, required=False)
@flags(RestoreOptions, without=("version",))
@dry_run
def restore(path: str, output: Output, storage_options: Options, dry_run: bool, **options: Any) -> None:
    """Give the table the rows of an earlier version again, as a new version."""
    from andes_spark.cli.plain import plain
    from andes_spark.cli.summaries import restore_summary

    with output.progress("restore") as step:
        opened_table = opened(path, storage_options, dry_run=dry_run, progress=step)
        # A dry run does not merge: the result is not shown.
        chosen = {**values(RestoreOptions, options), "merge": False} if dry_run else values(RestoreOptions, options)
        result = opened_table.restore(**chosen)
        content = plain(result) | {"dry_run": dry_run}
        if dry_run:
            output.document(content, text=restore_summary(result))
        else:
            output.result(result, content)
