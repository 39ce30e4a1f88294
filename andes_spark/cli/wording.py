"""Messages of the library in the words of the command line: options by their flags, verbs by their commands."""

from __future__ import annotations

import re

from andes_spark.model.adoption_options import ConvertOptions
from andes_spark.model.history_options import TagOptions
from andes_spark.model.options import (
    ApplyOptions,
    CreateOptions,
    Declared,
    Options,
    declared_options,
    flag_of,
)
from andes_spark.model.read_options import ChangesOptions, HistoryOptions, ModsOptions, ReadOptions, VersionOptions

_CLASSES: tuple[type[Options], ...] = (
    CreateOptions,
    ConvertOptions,
    ApplyOptions,
    ReadOptions,
    ModsOptions,
    ChangesOptions,
    HistoryOptions,
    VersionOptions,
    TagOptions,
)
_VERBS = re.compile(
    r"(?<![\w.])(?:ModTable\.)?(apply|changes|clone|convert|create|drop|history|manifest|merge|mods|read|repair|status|tag|tags|untag|verify)\(\)"
)


_PYTHON_ONLY = re.compile(r"[,;]? or give (?:it as )?a (?:Spark Column|polars expression)[^;.]*")
_IN_PYTHON = re.compile(r" \(in Python (?:[^()]|\([^()]*\))*\)")
_REPAIR = re.compile(r'repair\(foreign="(\w+)"\)')
_SET_ASIDE = re.compile(r"set_aside\(version=(\d+)\)(?: \(andes table set-aside\))?")


def worded(message: str) -> str:
    """Replace names of options and verbs in Python by their names on the command line."""
    message = _SET_ASIDE.sub(r"andes table set-aside TABLE \1", _PYTHON_ONLY.sub("", _IN_PYTHON.sub("", message)))
    message = _REPAIR.sub(r"andes table repair TABLE --foreign \1", message)
    message = _OPTION.sub(_flag, message)
    return _VERBS.sub(r"andes table \1", message)


def _declared() -> dict[str, Declared]:
    return {name: declared for kind in _CLASSES for name, declared in declared_options(kind).items()}


_DECLARED = _declared()
_OPTION = re.compile(
    r"(?<![\w\"'`./-])(?P<name>"
    + "|".join(map(re.escape, sorted(_DECLARED, key=len, reverse=True)))
    + r")(?P<value>=(?:True|False|\"[^\"]*\"|\w+))?(?![\w\"'`./=-])"
)


def _flag(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if value is None and "_" not in name:
        return match[0]  # a word of English as well
    flag = flag_of(name, _DECLARED[name])
    if value == "=False":
        return f"--no-{flag[2:]}"
    if value in (None, "=True"):
        return flag
    text = value[1:]
    return f"{flag} {text if ' ' in text else text.strip(chr(34))}"
