"""Steps of tables that expire, such as ``D7 X10 U3b``, and what is stored of them."""

from __future__ import annotations

from typing import Any

from andes_spark.base.tombstones import read_tombstones
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import rows

MODS: dict[str, dict[str, Any]] = {
    "U": {"apply_as_upserts": "yes"},
    "D": {"apply_as_deletes": "yes"},
    "T": {"apply_as_truncates": "yes"},
}


def take(table: ModTable, step: str, key: int = 1) -> Any:
    """Apply a step such as ``U5``, ``D7``, ``T8``, or ``U3b`` as a backfill; ``X10`` expires, ``M`` merges."""
    if step == "M":
        return table.merge()
    backfill, at = step.endswith("b"), int(step[1:].rstrip("b"))
    if step[0] == "X":
        return table.expire(at)
    mods = rows((key, at, step)).append_column("yes", [[True]])
    options = MODS[step[0]]
    return table.apply(mods, backfill=backfill, **options)


def shown(table: ModTable, version: int | None = None) -> dict[int, str]:
    return {row["id"]: row["a"] for row in table.to_arrow(version=version).to_pylist()}


def reasons(table: ModTable) -> list[str]:
    return table.quarantined()["reason"].to_pylist()


def stored(table: ModTable) -> dict[str, Any]:
    """What the merge record says, whatever files it names."""
    open_table = table._open_table
    base, shape = open_table.base.snapshot(), open_table.shape()
    tombstones = read_tombstones(open_table.storage, base.record.tombstones, shape)
    return {
        "truncates": base.record.truncates,
        "cut": base.record.cut,
        "tombstones": sorted(tombstones.rows()),
        "quarantined": sum(file.rows for file in base.record.quarantined),
    }
