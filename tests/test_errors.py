"""Errors declare their fields: nothing undeclared is raised or read."""

import ast
import copy
import inspect
import pickle
from pathlib import Path

import pytest

from andes_spark import errors
from andes_spark.errors import AndesError, MissingPackageError, NoSuchVersionError, OptionError, declared_fields

ROOT = Path(__file__).parent.parent
CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, AndesError)}


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_a_field_that_was_not_given_is_none_and_a_misspelt_one_an_attribute_error(kind):
    error = kind("what failed")
    assert {getattr(error, name) for name in declared_fields(kind)} == {None}
    assert not hasattr(error, "nonsense")
    with pytest.raises(AttributeError):
        _ = error.tabel


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_an_undeclared_field_cannot_be_raised(kind):
    with pytest.raises(TypeError, match="declares no field 'tabel'"):
        kind("what failed", tabel="t")


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_errors_survive_pickling_and_copying_with_all_their_fields(kind):
    error = kind("what failed", **{name: f"the {name}" for name in declared_fields(kind)})
    for copied in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(copied) is kind
        assert (str(copied), copied.message, copied.fields) == ("what failed", "what failed", error.fields)
        assert {name: getattr(copied, name) for name in declared_fields(kind)} == error.fields


def test_fields_are_attributes_and_those_of_the_bases_are_declared_too():
    error = NoSuchVersionError("no version 9", version=9, newest=7, table="t", path="p")
    assert (error.version, error.newest, error.table, error.path, error.url) == (9, 7, "t", "p", None)
    assert error.fields == {"version": 9, "newest": 7, "table": "t", "path": "p"}


def test_builtin_bases_stay():
    assert issubclass(OptionError, ValueError)
    assert issubclass(MissingPackageError, ImportError)


def test_every_field_is_documented_where_it_is_declared():
    documented = [*CLASSES.values(), errors.FromStore, errors.FromFeed]
    wrong = [
        f"{kind.__name__}.{name}"
        for kind in documented
        for name in inspect.get_annotations(kind)
        if f"        {name}: " not in (kind.__doc__ or "")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_every_error_is_raised_with_declared_fields_alone():
    wrong = []
    for folder in ("andes_spark", "jobs", "benchmarks", "scripts", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path == Path(__file__):
                continue
            wrong += [f"{path.relative_to(ROOT)}:{place}" for place in undeclared(path)]
    assert not wrong, "\n".join(wrong)


def undeclared(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", None))
        if name in CLASSES:
            known = declared_fields(CLASSES[name])
            yield from (f"{node.lineno} {name}({k.arg}=)" for k in node.keywords if k.arg and k.arg not in known)
