"""Flags of commands, made from the options that the library declares; lists add up, repeated or with commas."""

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
    """Give a command a flag for each option of a verb; it is called with their values by name.

    Args:
        kind: options of the verb.
        without: names of options that the command has no flag for.
    """
    chosen = [(name, declared) for name, declared in declared_options(kind).items() if name not in without]
    default = defaults(kind)

    def decorate(function: Command) -> Command:
        for name, declared in reversed(chosen):
            function = flag(name, declared, default[name])(function)
        return function

    return decorate


def flag(name: str, declared: Declared, default: Any) -> Callable[[Command], Command]:
    """The flag of one option, as a decorator of click."""
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
    """Names, each with a flag of its own or with commas between; CSV quotes make commas part of a name.

    Raises:
        OptionError: an empty name; ``option``, ``value``.
    """
    names: list[str] = []
    for text in texts:
        some = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
        if not some or "" in some:
            raise OptionError(f"{option}: {text!r} is no list of names with commas between", option=option, value=text)
        names += some
    return tuple(names)


def _read_names(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    # Nothing given: the option keeps the default that the library declares.
    return split_names(value, option=parameter.opts[0]) if value else None


def _read_pairs(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    return pairs(value, option=parameter.opts[0])


def pairs(texts: Sequence[str], *, option: str) -> dict[str, str]:
    """``KEY=VALUE`` arguments by key.

    Raises:
        OptionError: one without ``=`` or a key that stands twice. Values are not repeated: they may be secret.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise OptionError(f"{option} takes KEY=VALUE, with a key and an equals sign", option=option)
        if key in found:
            raise OptionError(f"{option} names {key!r} twice", option=option)
        found[key] = value
    return found


def _read_batch_id(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, str] | None
) -> tuple[str, int | str] | None:
    if value is None:
        return None
    source, text = value
    # Not one with zeros before it: 01 and 1 are two ids.
    is_number = re.fullmatch(r"0|[1-9][0-9]{0,37}", text) is not None
    return source, int(text) if is_number else text


def values(kind: type[Options], given: dict[str, Any]) -> dict[str, Any]:
    """The options of a verb among the values of a command's flags; those that were not given are left out."""
    return {name: given[name] for name in declared_options(kind) if given.get(name) is not None}
