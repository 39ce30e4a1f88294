"""The house rules that a machine can check: who imports whom, sizes, names, and what an import may do."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "andes_spark"

# A folder may import those of a lower rank, and itself; folders of one rank do not know each other.
RANK = {
    "errors": 0,
    "schema": 1,
    "settings": 1,
    "package": 1,
    "model": 2,
    "sql": 2,
    "law": 3,
    "storage": 3,
    "delta": 4,
    "run": 4,
    "log": 4,
    "base": 5,
    "batch": 5,
    "inputs": 5,
    "sync": 5,
    "spark": 6,
    "table": 7,
    "doctor": 8,
    "jobs": 9,
    "cli": 10,
    "testing": 11,
}
FEEDS_MAY_IMPORT = {"errors", "feeds", "law", "model", "schema"}
FEEDS_IMPORTED_BY = {"cli", "feeds", "jobs", "testing"}
# The adapters of AWS services.
MAY_IMPORT_BOTO = {"andes_spark/storage/s3.py", "andes_spark/sync/glue/client.py"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
LONG_FUNCTION_LINES = 40
VAGUE_NAMES = ("util", "helper", "common", "manager", "misc")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer(path: Path) -> str:
    """The folder, or the module, right below the package; the root itself is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    inner = parts[1] if parts[0] == "andes_spark" else parts[0]
    return inner if inner not in ("__init__", "__main__") else ""


def imports(tree: ast.AST, *, typing_too: bool = True) -> Iterator[tuple[int, str]]:
    """Every imported name in full, with its line; those inside functions as well."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not typing_too:
            for other in node.orelse:
                yield from imports(other, typing_too=typing_too)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            yield from imports(node, typing_too=typing_too)


def functions(path: Path) -> Iterator[tuple[Function, int]]:
    for node in ast.walk(parse(path)):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            # What a function says of itself does not make it long.
            first = node.body[0]
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (first.end_lineno or first.lineno) - first.lineno + 1
            yield node, lines


def runs_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a module but the bodies of its functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            outer = [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]
            for part in filter(None, outer):
                yield from ast.walk(part)
        elif not isinstance(node, ast.Lambda):
            yield node
            yield from runs_at_import(node)


def test_imports_point_down_only():
    wrong = []
    for path in sources("andes_spark", "jobs"):
        importing = layer(path)
        for line, name in imports(parse(path)):
            if not importing or not name.startswith(("andes_spark.", "jobs.")):
                continue
            imported = name.split(".")[1] if name.startswith("andes_spark.") else "jobs"
            if importing == "feeds":
                allowed = imported in FEEDS_MAY_IMPORT
            elif imported == "feeds":
                allowed = importing in FEEDS_IMPORTED_BY
            else:
                allowed = imported in RANK and (importing == imported or RANK[imported] < RANK[importing])
            if not allowed:
                wrong.append(f"{name_of(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules() -> dict[str, set[str]]:
    """Modules of the package that each of its modules imports, for type checks and inside functions as well."""
    modules = {module_of(path): path for path in sources("andes_spark")}
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {name for _, name in imports(parse(path))}
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        arrows[module] = (targets & set(modules)) - {module}
    return arrows


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """Modules along a circle of imports, the first one again at the end; empty if there is none."""
    finished: set[str] = set()
    for start in sorted(arrows):
        trail: list[str] = []
        stack = [(start, iter(sorted(arrows[start])))] if start not in finished else []
        while stack:
            module, rest = stack[-1]
            trail = [name for name, _ in stack]
            target = next(rest, None)
            if target is None:
                finished.add(module)
                stack.pop()
            elif target in trail:
                return [*trail[trail.index(target) :], target]
            elif target not in finished:
                stack.append((target, iter(sorted(arrows.get(target, set())))))
    return []


def test_circles_of_imports_are_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circle_in(imported_modules()) == []


def test_every_folder_of_the_package_has_a_rank():
    folders = {layer(path) for path in sources("andes_spark")} - {"", "feeds"}
    assert folders <= set(RANK)


def test_the_package_never_imports_its_own_root():
    wrong = []
    for path in sources("andes_spark"):
        for line, name in imports(parse(path)):
            parts = name.split(".")
            if parts[0] == "andes_spark" and (
                len(parts) == 1 or not any((PACKAGE / f"{parts[1]}{end}").exists() for end in ("", ".py"))
            ):
                wrong.append(f"{name_of(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        (("pyspark", "delta", "py4j"), {name_of(path) for path in sources("andes_spark/spark")}),
        (("boto3", "botocore"), MAY_IMPORT_BOTO),
        (("pandas", "duckdb", "moto", "pytest"), set()),
    ],
)
def test_only_adapters_import_the_package_they_adapt(modules, allowed):
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for path in sources("andes_spark", "jobs")
        for line, name in imports(parse(path), typing_too=False)
        if name.split(".")[0] in modules and name_of(path) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after ``code``, which may start no other process."""
    guard = "import subprocess, sys\ndef refuse(*a, **k): raise SystemExit('a process was started')\n"
    guard += "subprocess.Popen.__init__ = refuse\n"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", f"{guard}{code}\nimport json; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        cwd="/",
        env=environ,
    )
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stdout))


def test_importing_the_package_loads_next_to_nothing():
    loaded = loaded_by("import andes_spark")
    heavy = {"pyspark", "py4j", "delta", "boto3", "botocore", "polars", "pyarrow", "deltalake", "obstore", "sqlglot"}
    assert not loaded & heavy


def test_the_parser_of_sql_is_loaded_by_the_first_text():
    loaded = loaded_by("import andes_spark.cli.app, andes_spark.table.verbs.apply, andes_spark.table.verbs.read")
    assert "andes_spark.sql.text" in loaded
    assert "sqlglot" not in loaded


def test_importing_all_modules_loads_neither_pyspark_nor_boto3():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources("andes_spark")
        if path.name != "__main__.py" and (layer(path) != "spark" or path.name in ("session.py", "jars.py"))
    ]
    loaded = loaded_by("\n".join(f"import {module}" for module in modules))
    assert "andes_spark.spark.session" in loaded
    assert not loaded & {"pyspark", "py4j", "delta", "boto3", "botocore", "pandas"}


def test_exported_names_exist_and_unknown_ones_fail():
    import andes_spark

    for name in andes_spark.__all__:
        assert getattr(andes_spark, name).__name__ == name
    assert set(andes_spark.__all__) <= set(dir(andes_spark))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = andes_spark.nothing


def test_no_module_reads_the_environment_when_imported():
    wrong = [
        f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        for path in sources("andes_spark", "jobs")
        for node in runs_at_import(parse(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_keeps_state_in_globals():
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources("andes_spark", "jobs")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Global)
    ]
    assert not wrong, "\n".join(wrong)


# Threads that compute are the executor's; an upload runs beside its writer.
MAY_MAKE_THREADS = {
    # The renewal of the lease of a merge.
    "andes_spark/log/lease.py",
    "andes_spark/run/executor.py",
    # The thread that commits the batches of an appender.
    "andes_spark/table/appender.py",
    "andes_spark/base/rows.py",
    "andes_spark/batch/parts.py",
    "andes_spark/storage/s3_output.py",
    "andes_spark/storage/scheduler.py",
    "andes_spark/testing/s3.py",
}


def test_threads_for_requests_are_made_in_one_place():
    makers = {
        name_of(path)
        for path in sources("andes_spark")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("ThreadPoolExecutor", "Thread")
    }
    assert makers <= MAY_MAKE_THREADS


def limit(path: Path) -> int:
    """Maximum number of lines of a file; tests are lists of cases, and the façade documents all verbs."""
    if name_of(path) == "andes_spark/table/mod_table.py":
        return MAX_FILE_LINES + 300
    return MAX_FILE_LINES + (100 if name_of(path).startswith("tests/") else 0)


def test_files_and_functions_are_small():
    everything = sources("andes_spark", "benchmarks", "jobs", "scripts", "tests")
    files = {path: path.read_text("utf-8").count("\n") for path in everything}
    wrong = [f"{name_of(path)}: {lines} lines" for path, lines in files.items() if lines > limit(path)]
    long: list[str] = []
    for path in everything:
        for function, lines in functions(path):
            if lines > LONG_FUNCTION_LINES:
                row = f"{name_of(path)}:{function.lineno} {function.name}: {lines} lines"
                (wrong if lines > MAX_FUNCTION_LINES else long).append(row)
    assert not wrong, "\n".join([*wrong, "long, but allowed:", *long])


def test_jobs_only_parse_and_call():
    wrong = [
        f"{name_of(path)}: {lines} lines"
        for path in sources("jobs")
        if (lines := path.read_text("utf-8").count("\n")) > 40
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_has_a_vague_name():
    wrong = [name_of(path) for path in sources("andes_spark", "jobs") if path.stem.startswith(VAGUE_NAMES)]
    assert not wrong


# A name says what a variable, an argument or a field holds; these say only how it came about.
NAMES_OF_NOTHING = {
    *("asked", "each", "found", "given", "gone", "meant", "mine"),
    *("ours", "said", "sought", "theirs", "told", "wanted"),
}


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names that a module gives to variables, arguments, fields, functions and imports, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.MatchMapping(rest=str(name)) | ast.alias(asname=str(name)):
                yield node.lineno, name


def test_names_say_what_they_hold():
    wrong = [
        f"{name_of(path)}:{line} {name}"
        for path in sources("andes_spark", "jobs")
        for line, name in bound_names(parse(path))
        if name.strip("_") in NAMES_OF_NOTHING
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "found: int",
        "x, *found = y",
        "self.found = 1",
        "def f(found): ...",
        "def f(*, found=1): ...",
        "lambda found: 1",
        "def _found(): ...",
        "for found in x: ...",
        "[found for found in x]",
        "with x as found: ...",
        "import x as found",
        "match x:\n    case [found, *_]: ...",
        "match x:\n    case {1: 2, **found}: ...",
        "try: ...\nexcept OSError as found: ...",
        "(found := 1)",
    ],
)
def test_names_are_noticed_wherever_they_are_bound(code):
    assert "found" in {name.strip("_") for _, name in bound_names(ast.parse(code))}


def test_every_module_says_what_it_is_for():
    wrong = [name_of(path) for path in sources("andes_spark", "jobs") if not ast.get_docstring(parse(path))]
    assert not wrong, "\n".join(wrong)


# Something is committed by then: what fails is part of the result and a record of the logger, never an error.
RESULT_INSTEAD = {
    "andes_spark/run/telemetry.py:_send",
    "andes_spark/log/advisory.py:run",
    "andes_spark/table/verbs/merge.py:fails",
    # Whatever a cluster raises is what an examination looks for.
    "andes_spark/doctor/examine.py:run",
    # The outcome of the batches of one version, raised by their futures.
    "andes_spark/table/verbs/append.py:run",
    "andes_spark/table/appender.py:_commit",
}
# Under -W error a warning is an exception: only functions that commit nothing may give one.
MAY_WARN = {"andes_spark/spark/reads.py"}


def test_nothing_that_commits_gives_a_warning():
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources("andes_spark", "jobs")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "warnings.warn" and name_of(path) not in MAY_WARN
    ]
    assert not wrong, "\n".join(wrong)


def test_catching_everything_raises_again():
    wrong = []
    for path in sources("andes_spark", "jobs"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.dump(node.type) if node.type else "Exception"
                broad = "'Exception'" in caught or "'BaseException'" in caught or node.type is None
                if broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                    wrong.append(f"{name_of(path)}:{function_at(path, node.lineno)}")
    assert set(wrong) <= RESULT_INSTEAD, "\n".join(wrong)


def function_at(path, line):
    """The innermost function around a line."""
    around = [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= node.end_lineno
    ]
    return max(around, key=lambda node: node.lineno).name if around else ""


def test_all_public_errors_live_in_one_tree():
    wrong = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in sources("andes_spark", "jobs")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef) and name_of(path) != "andes_spark/errors.py"
        if not node.name.startswith("_")
        if any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert not wrong, "\n".join(wrong)
