"""``andes table vacuum``, ``compact``, ``maintain``, ``expire``, ``forget``, ``repair``, ``pin`` and others: upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from andes_spark.cli.help import Command
from andes_spark.cli.options import flags, values
from andes_spark.cli.output import Output
from andes_spark.cli.table import opened, table_command
from andes_spark.cli.table_writes import dry_run
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.model.repair_options import RepairOptions
from andes_spark.model.upkeep_options import (
    CompactOptions,
    ExpireOptions,
    ForgetOptions,
    MaintainOptions,
    PinOptions,
    VacuumOptions,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from andes_spark.schema.schema import Schema

Access = dict[str, str] | None


@click.command(cls=Command)
@table_command
@flags(VacuumOptions)
def vacuum(path: str, output: Output, storage_options: Access, **options: Any) -> None:
    """Release old versions, and delete the files that no version needs which can still be read."""
    _done(path, output, storage_options, "vacuum", values(VacuumOptions, options))


@click.command(cls=Command)
@table_command
@flags(CompactOptions)
def compact(path: str, output: Output, storage_options: Access, **options: Any) -> None:
    """Write the files of the base anew that slow reads: small ones, and those with many deleted rows."""
    _done(path, output, storage_options, "compact", values(CompactOptions, options))


@click.command(cls=Command)
@table_command
@flags(MaintainOptions)
def maintain(path: str, output: Output, storage_options: Access, **options: Any) -> None:
    """Do all upkeep that is due, for a scheduler: a merge, compaction, a vacuum."""
    _done(path, output, storage_options, "maintain", values(MaintainOptions, options))


@click.command(cls=Command)
@table_command
@flags(RepairOptions)
def repair(path: str, output: Output, storage_options: Access, **options: Any) -> None:
    """Mend damage, and take back or in what other writers did to the base. Exits with 1 if something is left."""
    from andes_spark.cli.plain import plain
    from andes_spark.table.mod_table import ModTable

    with output.progress("repair") as step:
        result = ModTable.repair_folder(
            path, storage_options=storage_options, progress=step, **values(RepairOptions, options)
        )
    output.result(result, plain(result))
    if result.left:
        click.get_current_context().exit(1)


@click.command(cls=Command)
@table_command
@flags(ExpireOptions)
def expire(path: str, output: Output, storage_options: Access, **options: Any) -> None:
    """Forget deletes and truncates up to a sequence; later mods at or below it are set aside, but for backfills.

    SEQUENCE is a value, or a JSON array with one for each of several sequence columns.
    """
    from andes_spark.cli.plain import plain

    chosen = values(ExpireOptions, options)
    with output.progress("expire") as step:
        table = opened(path, storage_options, progress=step)
        if chosen.get("up_to") is not None and table.sequence_by:
            chosen["up_to"] = _sequence(chosen["up_to"], table.schema.select(table.sequence_by))
        result = table.expire(**chosen)
    output.result(result, plain(result))


@click.command(cls=Command)
@table_command
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@flags(ForgetOptions)
def forget(path: str, output: Output, storage_options: Access, keys: tuple[str, ...], **options: Any) -> None:
    """Remove keys from all that is stored, for good: rows, mods, old versions, refused rows, both logs.

    KEY is a value, or a JSON array or object, as for get. The result is the proof: what was removed and written anew,
    and what was found in all that is left. Exits with 1 if something still names the keys.
    """
    from andes_spark.cli.plain import plain
    from andes_spark.inputs.keys import keys_of_texts

    with output.progress("forget") as step:
        table = opened(path, storage_options, progress=step)
        requested_keys = keys_of_texts(keys, table.schema.select(table.primary_key)) if keys else None
        result = table.forget(requested_keys, **values(ForgetOptions, options))
    content = plain(result)
    del content["_search"]
    output.result(result, {"ok": result.ok, **content})
    if not result.ok and not result.dry_run:
        click.get_current_context().exit(1)


def _sequence(text: str, schema: Schema) -> pa.Table:
    """A sequence of the command line."""
    from andes_spark.inputs.keys import keys_of_texts

    try:
        return keys_of_texts([text], schema)
    except (OptionError, SchemaMismatchError) as error:
        form = "a value" if len(schema) == 1 else "a JSON array with a value for each"
        raise OptionError(
            f"up_to is {form} of the sequence columns {schema.nullable.to_ddl()}, and {text!r} was given",
            option="up_to",
            value=text,
        ) from error


def _done(path: str, output: Output, storage_options: Access, verb: str, options: dict[str, Any]) -> None:
    from andes_spark.cli.plain import plain

    with output.progress(verb) as step:
        result = getattr(opened(path, storage_options, progress=step), verb)(**options)
    output.result(result, plain(result))


@click.command(cls=Command)
@table_command
@click.argument("version", type=int, required=False)
@flags(PinOptions, without=("version",))
@dry_run
def pin(path: str, output: Output, storage_options: Access, dry_run: bool, **options: Any) -> None:
    """Keep VERSION readable for some days, by default the newest."""
    _pinned(path, output, storage_options, dry_run, "pin", values(PinOptions, options))


@click.command(cls=Command)
@table_command
@click.argument("version", type=int)
@dry_run
def unpin(path: str, output: Output, storage_options: Access, version: int, dry_run: bool) -> None:
    """Remove all pins of VERSION."""
    _pinned(path, output, storage_options, dry_run, "unpin", {"version": version})


@click.command(cls=Command)
@table_command
def pins(path: str, output: Output, storage_options: Access) -> None:
    """Show the pinned versions."""
    output.entries(opened(path, storage_options).pins(), none="no version is pinned")


def _pinned(
    path: str, output: Output, storage_options: Access, dry_run: bool, verb: str, options: dict[str, Any]
) -> None:
    from andes_spark.cli.plain import plain

    with output.progress(verb) as step:
        opened_table = opened(path, storage_options, dry_run=dry_run, progress=step)
        result = getattr(opened_table, verb)(**options)
    text = result.summary()
    if dry_run:
        for verb_form in (" is ", " was ", " were "):
            text = text.replace(verb_form, " would be ", 1)
    output.document(plain(result) | {"dry_run": dry_run}, text=text)
