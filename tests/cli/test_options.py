"""Flags are those of the declared options; lists add up however they are written."""

import click
import pytest

from andes_spark.cli.app import andes
from andes_spark.cli.options import flags
from andes_spark.model.history_options import TagOptions, UntagOptions
from andes_spark.model.options import (
    ApplyOptions,
    CreateOptions,
    Options,
    declared_options,
    defaults,
    flag_of,
)
from andes_spark.model.read_options import GetOptions, ModsOptions, ReadOptions, SnapshotOptions, VersionOptions


def commands(group=andes, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())
DERIVED = {
    "table create": CreateOptions,
    "table apply": ApplyOptions,
    "table read": ReadOptions,
    "table get": GetOptions,
    "table mods": ModsOptions,
    "table manifest": VersionOptions,
    "table tag": TagOptions,
    "table untag": UntagOptions,
    "table quarantined": SnapshotOptions,
}
LISTS = [
    (command, parameter)
    for command in COMMANDS
    for parameter in COMMANDS[command].params
    if parameter.metavar == "NAMES" or "commas" in (getattr(parameter, "help", None) or "")
]


@pytest.mark.parametrize(
    ("command", "parameter"), LISTS, ids=[f"{command} {parameter.opts[0]}" for command, parameter in LISTS]
)
def test_a_list_adds_up_repeated_and_with_commas(command, parameter):
    flag = parameter.opts[0]
    arguments = [flag, "a", flag, 'b, "c,d"', flag, "e"]
    parsed, rest, _ = COMMANDS[command].make_parser(click.Context(COMMANDS[command])).parse_args(arguments)
    value = parameter.process_value(click.Context(COMMANDS[command]), parsed[parameter.name])
    assert (tuple(value), rest) == (("a", "b", "c,d", "e"), [])


def test_every_declared_list_is_a_list_on_the_command_line():
    shown = {(command, parameter.name) for command, parameter in LISTS}
    for command, kind in DERIVED.items():
        for name, declared in declared_options(kind).items():
            assert ((command, name) in shown) == (declared.kind.form == "names")


@pytest.mark.parametrize("command", DERIVED)
def test_every_declared_option_has_its_flag(command):
    by_name = {parameter.name: parameter for parameter in COMMANDS[command].params}
    for name, declared in declared_options(DERIVED[command]).items():
        assert flag_of(name, declared) in by_name[name].opts
        assert by_name[name].help.startswith(declared.help.rstrip("."))


def test_no_flag_has_a_default_that_the_library_does_not_have():
    for command, kind in DERIVED.items():
        context = click.Context(COMMANDS[command], resilient_parsing=True)
        for parameter in COMMANDS[command].params:
            if parameter.name in declared_options(kind):
                value = parameter.get_default(context)
                assert parameter.value_is_missing(value) or value == defaults(kind)[parameter.name]


def test_a_command_can_leave_flags_out():
    @click.command()
    @flags(ModsOptions, without={"to_version"})
    def command(**options: object) -> None:
        """Take flags."""

    assert [parameter.name for parameter in command.params] == ["from_version"]
    assert issubclass(ModsOptions, Options)
