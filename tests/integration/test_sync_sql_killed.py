"""sync_sql is killed before and after each of its steps: the next call delivers each change exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.sync.warehouse.session import Session
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]
pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent

# Delivers a table; dies by SIGKILL before or after a step, or within the stream of one.
SCRIPT = """
import os, signal, sys
from andes_spark import ModTable
from andes_spark.sync.warehouse.session import Session

path, url, place, dying, reload = sys.argv[1:]
execute = Session.execute

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def cut_off(stream):
    for piece in stream:
        yield piece[: len(piece) // 2]
        die()

def run(session, step, sql, *, stream=None, **values):
    if step == dying and place == "before":
        die()
    if step == dying and place == "within":
        stream = cut_off(stream)
    answer = execute(session, step, sql, stream=stream, **values)
    if step == dying and place == "after":
        die()
    return answer

Session.execute = run
ModTable.open(path).sync_sql(url, "sales.orders", reload=reload == "reload")
"""
BEGIN = ["create cursors", "begin", "read cursor", "read columns"]
LOAD = ["create shadow", "load shadow", "add key", "count shadow", "set cursor", "swap", "commit"]
RELOAD = ["load shadow", "move cursor", "drop target", "swap", "commit"]
CHANGES = ["create stage", "load stage", "analyze stage", "move cursor"]
CHANGES += ["add column", "widen column", "delete", "update", "insert", "commit"]


def places(steps: list[str]) -> list[tuple[str, str]]:
    return [
        (place, step)
        for step in steps
        for place in ("before", "within", "after")
        if place != "within" or step.startswith("load")
    ]


def kill(table: ModTable, url: str, place: str, step: str, *, reload: bool = False) -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, table.url, url, place, step, "reload" if reload else "go on"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == -9, (place, step, process.stderr)


def snapshot(server: Postgres, name: str) -> tuple[object, object]:
    return (
        server.sql("SELECT * FROM sales.orders ORDER BY 1", name),
        server.sql("SELECT version, generation, row_count FROM sales._andes_delivery", name),
    )


def new_table(path: Path) -> ModTable:
    table = ModTable.create(path, "id BIGINT, status STRING, total INT", primary_key="id")
    mods = pa.table({"id": [1, 2, 3], "status": ["a", "b", "c"], "total": pa.array([1, 2, 3], pa.int32())})
    table.apply(mods, at_least_once=True)
    return table


def change(table: ModTable) -> None:
    """A new column, a wider one, and a row deleted, updated and inserted."""
    table.alter.add_column("note", "STRING")
    table.alter.widen("total", "BIGINT")
    mods = {"id": [1, 2, 4], "status": ["z", None, "d"], "total": [2**40, None, 4], "note": ["n", None, None]}
    table.apply(pa.table(mods), apply_as_deletes="status IS NULL", at_least_once=True)


def all_steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the steps that are run from now on."""
    steps: list[str] = []
    execute = Session.execute

    def note(session, step, sql, **more):
        steps.append(step)
        return execute(session, step, sql, **more)

    monkeypatch.setattr(Session, "execute", note)
    return steps


def test_the_steps_are_all_that_there_are(tmp_path, postgres, monkeypatch):
    url = postgres.new_database("killed_steps")
    steps = all_steps(monkeypatch)
    table = new_table(tmp_path / "t")
    table.sync_sql(url, "sales.orders")
    change(table)
    table.sync_sql(url, "sales.orders")
    table.sync_sql(url, "sales.orders", reload=True)
    assert set(steps) - {"set encoding"} == {*BEGIN, *LOAD, *RELOAD, *CHANGES}


@pytest.mark.parametrize(("place", "step"), places([*BEGIN, *LOAD]))
def test_a_first_load_that_is_killed(tmp_path, postgres, place, step):
    name = f"load_{place}_{step}".replace(" ", "_")
    url = postgres.new_database(name)
    table = new_table(tmp_path / "t")
    kill(table, url, place, step)
    committed = (place, step) == ("after", "commit")
    assert table.sync_sql(url, "sales.orders").action == ("none" if committed else "load")
    check(table, postgres, name, (1, 1, 3))


@pytest.mark.parametrize(("place", "step"), places(CHANGES))
def test_a_delivery_of_changes_that_is_killed(tmp_path, postgres, place, step):
    name = f"changes_{place}_{step}".replace(" ", "_")
    url = postgres.new_database(name)
    table = new_table(tmp_path / "t")
    table.sync_sql(url, "sales.orders")
    before = snapshot(postgres, name)
    change(table)
    kill(table, url, place, step)
    committed = (place, step) == ("after", "commit")
    if not committed:
        assert snapshot(postgres, name) == before
    assert table.sync_sql(url, "sales.orders").action == ("none" if committed else "changes")
    check(table, postgres, name, (4, 1, 3))


@pytest.mark.parametrize(("place", "step"), places(RELOAD))
def test_a_reload_that_is_killed(tmp_path, postgres, place, step):
    name = f"reload_{place}_{step}".replace(" ", "_")
    url = postgres.new_database(name)
    table = new_table(tmp_path / "t")
    table.sync_sql(url, "sales.orders")
    before = snapshot(postgres, name)
    change(table)
    kill(table, url, place, step, reload=True)
    committed = (place, step) == ("after", "commit")
    if not committed:
        assert snapshot(postgres, name) == before
    assert table.sync_sql(url, "sales.orders", reload=not committed).action == ("none" if committed else "reload")
    check(table, postgres, name, (4, 2, 3))


def check(table: ModTable, server: Postgres, name: str, cursor: tuple[int, int, int]) -> None:
    rows, cursors = snapshot(server, name)
    assert rows == [list(row.values()) for row in table.to_arrow().sort_by("id").to_pylist()]
    assert cursors == [list(cursor)]
    tables = server.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_andes%' AND relkind = 'r'", name)
    assert tables == [["_andes_delivery"]]
