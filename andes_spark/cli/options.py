"""Flags of commands, made from the options that the library declares; flags of lists may be repeated."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING
from typing import Any

import click

from andes_spark.errors import OptionError
from andes_spark.model.options import Declared, Options, declared_options, defaults, flag_of

Command = Callable[..., Any]

FORMATS = ("parquet", "csv", "json", "ndjson")
"""Formats of files that commands read."""


def flags(kind: type[Options], *, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Decorate a command with a flag for each option of a verb, passed by name.

    Args:
        kind: options of the verb.
        without: names of options without a flag.
    """
    chosen = [(name, declared) for name, declared in declared_options(kind).items() if name not in without]
    default = defaults(kind)

    def decorate(function: Command) -> Command:
        for name, declared in reversed(chosen):
            function = flag(name, declared, default[name])(function)
        return function

    return decorate


def flag(name: str, declared: Declared, default: Any) -> Callable[[Command], Command]:
    """Return the decorator of click for one option."""
    text = flag_of(name, declared)
    shared: dict[str, Any] = {"help": _help(declared, default)}
    match declared.kind.form:
        case "flag" if default is False:
            return click.option(text, name, is_flag=True, **shared)
        case "flag":
            return click.option(f"{text}/--no-{text[2:]}", name, default=default, show_default=bool(default), **shared)
        case "names":
            required = default is MISSING
            return click.option(
                text, name, metavar="NAMES", multiple=True, required=required, callback=_read_names, **shared
            )
        case "pairs":
            return click.option(text, name, metavar="KEY=VALUE", multiple=True, callback=_read_pairs, **shared)
        case "batch":
            return click.option(text, name, nargs=2, metavar=declared.metavar, callback=_read_batch_id, **shared)
    types: dict[str, Any] = {"count": click.IntRange(0), "choice": click.Choice(declared.kind.choices)}
    metavar = declared.metavar or ("SQL" if declared.kind.form == "condition" else None)
    shown = default not in (None, MISSING)
    return click.option(
        text,
        name,
        type=types.get(declared.kind.form, str),
        metavar=metavar,
        required=default is MISSING,
        default=None if default is MISSING else default,
        show_default=shown,
        **shared,
    )


def _help(declared: Declared, default: Any) -> str:
    if declared.kind.form == "names":
        return f"{declared.help.rstrip('.')} (repeated, or with commas between)."
    if declared.kind.form == "pairs":
        return f"{declared.help.rstrip('.')} (may be repeated)."
    if declared.kind.form == "batch":
        return f"{declared.help.rstrip('.')} (up to 38 digits are a number)."
    return declared.help


def split_names(texts: Sequence[str], *, option: str) -> tuple[str, ...]:
    """Split lists of names at their commas; names with commas are quoted as in CSV.

    Raises:
        OptionError: a name is empty; ``option``, ``value``.
    """
    names: list[str] = []
    for text in texts:
        some = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
        if not some or "" in some:
            raise OptionError(f"{option}: {text!r} is no list of names with commas between", option=option, value=text)
        names += some
    return tuple(names)


def _read_names(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    # Without a value, the option keeps the default that the library declares.
    return split_names(value, option=parameter.opts[0]) if value else None


def _read_pairs(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    return pairs(value, option=parameter.opts[0])


def pairs(texts: Sequence[str], *, option: str) -> dict[str, str]:
    """Parse ``KEY=VALUE`` arguments.

    Raises:
        OptionError: an argument has no ``=``, or a key is repeated. The message has no values: they may be secret.
    """
    by_key: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise OptionError(f"{option} takes KEY=VALUE, with a key and an equals sign", option=option)
        if key in by_key:
            raise OptionError(f"{option} names {key!r} twice", option=option)
        by_key[key] = value
    return by_key


def _read_batch_id(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, str] | None
) -> tuple[str, int | str] | None:
    if value is None:
        return None
    source, text = value
    # Leading zeros make it text: 01 and 1 are two ids.
    is_number = re.fullmatch(r"0|[1-9][0-9]{0,37}", text) is not None
    return source, int(text) if is_number else text


def values(kind: type[Options], options: dict[str, Any]) -> dict[str, Any]:
    """Select the options of a verb from a command's flags, without those that are not set."""
    return {name: options[name] for name in declared_options(kind) if options.get(name) is not None}
