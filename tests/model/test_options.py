"""Options are declared once: checks, signatures and docstrings of the API follow the declarations."""

import inspect
import re
from dataclasses import MISSING
from typing import Any

import numpy as np
import pytest

from andes_spark.errors import OptionError
from andes_spark.model.history_options import TagOptions, UntagOptions
from andes_spark.model.mod import BatchId
from andes_spark.model.options import (
    ApplyOptions,
    CreateOptions,
    Options,
    declared_options,
    defaults,
)
from andes_spark.model.read_options import (
    GetOptions,
    HistoryOptions,
    ModsOptions,
    ReadOptions,
    SnapshotOptions,
    VersionOptions,
)
from andes_spark.table.mod_table import ModTable

# What a verb takes beside its options.
NOT_OPTIONS = {
    "self",
    "cls",
    "path",
    "schema",
    "data",
    "mods",
    "keys",
    "storage_options",
    "settings",
    "spark",
    "progress",
    "name",
}
VERBS = {
    "create": CreateOptions,
    "apply": ApplyOptions,
    "to_arrow": ReadOptions,
    "to_batches": ReadOptions,
    "to_pandas": ReadOptions,
    "to_polars": ReadOptions,
    "get": GetOptions,
    "mods": ModsOptions,
    "quarantined": SnapshotOptions,
    "history": HistoryOptions,
    "tag": TagOptions,
    "untag": UntagOptions,
    "merges": HistoryOptions,
}
CLASSES: list[Any] = [
    CreateOptions,
    ApplyOptions,
    SnapshotOptions,
    ReadOptions,
    GetOptions,
    ModsOptions,
    HistoryOptions,
    VersionOptions,
    TagOptions,
    UntagOptions,
]
FITTING = {
    "flag": True, "count": 3, "text": "a", "names": ["a", "b"], "pairs": {"a": "b"}, "condition": "a = 1",
    "batch": ("s", 1), "moment": "2026-11-01",
}  # fmt: skip


def parameters(verb):
    return {
        name: parameter
        for name, parameter in inspect.signature(getattr(ModTable, verb)).parameters.items()
        if name not in NOT_OPTIONS
    }


@pytest.mark.parametrize("verb", VERBS)
def test_the_signature_of_a_verb_is_that_of_its_options(verb):
    arguments = {
        name: MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in parameters(verb).items()
    }
    assert arguments == defaults(VERBS[verb])


@pytest.mark.parametrize("verb", ["create", "apply"])
def test_the_docstring_of_a_verb_names_each_argument(verb):
    doc = inspect.getdoc(getattr(ModTable, verb)) or ""
    block = doc.split("Args:\n")[1].split("\n\n")[0]
    named = re.findall(r"^    (\w+): ", block, re.MULTILINE)
    assert named == [name for name in inspect.signature(getattr(ModTable, verb)).parameters if name not in ("self",)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_option_has_help_and_a_default_of_its_kind(kind):
    for name, declared in declared_options(kind).items():
        assert re.fullmatch(r"[A-Z].*\.", declared.help), name
        default = defaults(kind)[name]
        assert default is MISSING or declared.kind.fits(default), name


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in CLASSES for name in declared_options(kind)])
def test_a_value_of_another_kind_is_refused_by_name(kind, name):
    declared = declared_options(kind)[name]
    fitting = declared.kind.choices[0] if declared.kind.choices else FITTING[declared.kind.form]
    required = {option: FITTING["names"] for option, default in defaults(kind).items() if default is MISSING}
    kind.checked(**{**required, name: fitting})
    if declared.kind.form == "condition":  # looked at by the engine that evaluates it
        return
    with pytest.raises(OptionError, match=rf"^{name} is ") as caught:
        kind.checked(**{**required, name: object()})
    assert caught.value.option == name


def test_one_name_stands_for_a_list_of_one():
    for kind in CLASSES:
        for name, declared in declared_options(kind).items():
            if declared.kind.form == "names":
                required = {option: "k" for option, default in defaults(kind).items() if default is MISSING}
                one, *others = declared.kind.choices or ("id", "b")
                assert getattr(kind.checked(**{**required, name: one}), name) == (one,)
                assert getattr(kind.checked(**{**required, name: [one, *others]}), name) == (one, *others)
    assert ApplyOptions.checked(ignore_null_updates="a").ignore_null_updates == ("a",)


def test_whole_numbers_of_numpy_are_whole_numbers():
    options = ApplyOptions.checked(batch_id=("s", np.int64(7)), max_quarantined=np.int32(2))
    assert options.batch_id == BatchId("s", 7)
    assert (type(options.batch_id.id), type(options.max_quarantined)) == (int, int)
    assert ApplyOptions.checked(batch_id=(np.str_("s"), np.str_("7"))).batch_id == BatchId("s", "7")
    assert type(ReadOptions.checked(version=np.int64(3)).version) is int
    for wrong in (np.float64(7), np.bool_(True), True):
        with pytest.raises(OptionError):
            ApplyOptions.checked(batch_id=("s", wrong))


def test_unknown_keys_of_a_document_are_refused_by_name():
    assert ApplyOptions.of({"cast": True}, where="job.yaml").cast
    with pytest.raises(
        OptionError, match=r"job\.yaml: unknown options 'max_quarantine'; did you mean 'max_quarantined'"
    ):
        ApplyOptions.of({"max_quarantine": 1}, where="job.yaml")
    with pytest.raises(OptionError, match="unknown options 'zzz'; known are apply_as_deletes, "):
        ApplyOptions.of({"zzz": 1}, where="job.yaml")
    with pytest.raises(OptionError, match="options missing: primary_key"):
        CreateOptions.of({}, where="job.yaml")


def test_all_classes_are_tested():
    assert {*Options.__subclasses__(), *SnapshotOptions.__subclasses__()} >= set(CLASSES)
