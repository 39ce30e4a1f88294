"""Arguments of jobs, made from the options that a job declares; a YAML file may have them by name."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

import yaml

from andes_spark.errors import OptionError
from andes_spark.model.options import Declared, Options, declared_options, defaults, flag_of

Job = TypeVar("Job", bound=Options)


def parse_job(
    kind: type[Job],
    arguments: Sequence[str] | None,
    *,
    prog: str,
    description: str | None,
    positional: Collection[str] = (),
) -> Job:
    """Return the job that command-line arguments ask for; exits with 2 on a usage error.

    Args:
        kind: options of the job.
        arguments: the arguments; None for those of the process.
        prog: name of the program, for messages.
        description: what the job does.
        positional: names of options that are arguments without a flag.

    Raises:
        OptionError: a configuration file that cannot be read or says what no option is.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    default = defaults(kind)
    for name, declared in declared_options(kind).items():
        if name in positional:
            several = declared.kind.form == "names"
            parser.add_argument(name, nargs="*" if several else "?", help=_help(declared, default[name]))
        else:
            text = _help(declared, default[name], lists=True)
            parser.add_argument(flag_of(name, declared), dest=name, help=text, **_form(declared))
    parser.add_argument("--config", help="YAML file with options of this job by name; arguments go before it.")
    options = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value not in (None, [])}
    config = options.pop("config", None)
    document = {} if config is None else read_document(config)
    try:
        return kind.of({**document, **_pairs(kind, options)}, where=config or parser.prog)
    except OptionError as error:
        if config is not None:
            raise
        parser.error(error.message)


def read_document(path: str) -> dict[str, Any]:
    """Read the options in a YAML file, by name.

    Raises:
        OptionError: the file cannot be read, or is not a mapping; ``path``.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OptionError(f"{path} cannot be read as YAML: {error}", path=path) from error
    if not isinstance(document, dict):
        raise OptionError(f"{path}: the document is no mapping of options to values", path=path)
    return {str(name): value for name, value in document.items()}


def _form(declared: Declared) -> Mapping[str, Any]:
    """Arguments of argparse for a flag."""
    match declared.kind.form:
        case "flag":
            return {"action": "store_const", "const": True}
        case "names":
            return {"action": "extend", "type": _split}
        case "pairs":
            return {"action": "append", "metavar": "KEY=VALUE"}
    return {"type": int if declared.kind.form == "count" else str}


def _pairs(kind: type[Options], options: dict[str, Any]) -> dict[str, Any]:
    """Options with a mapping in the place of each list of KEY=VALUE; the message of an error has no values."""
    for name, declared in declared_options(kind).items():
        if declared.kind.form == "pairs" and name in options:
            pairs = [text.partition("=") for text in options[name]]
            if any(not key or not equals for key, equals, _ in pairs):
                raise OptionError(f"{flag_of(name, declared)} takes KEY=VALUE", option=name)
            options[name] = {key: value for key, _, value in pairs}
    return options


def _split(text: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def _help(declared: Declared, default: Any, *, lists: bool = False) -> str:
    several = " (repeated, or with commas between)" if declared.kind.form == "names" and lists else ""
    shown = "" if default in (None, MISSING, False, ()) else f" (default: {default})"
    return f"{declared.help.rstrip('.')}{several}{shown}".replace("%", "%%")
