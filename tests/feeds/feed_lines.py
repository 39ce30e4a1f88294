"""Builds the lines of a wal2json feed, as its format-version 2 writes them, and folds decoded mods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from andes_spark.feeds import wal2json
from andes_spark.schema.schema import Schema

SCHEMA = Schema.from_arrow(
    pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("name", pa.string()),
            ("amount", pa.decimal128(18, 4)),
            ("big", pa.string()),
        ]
    )
)
ROW = {"id": 1, "name": "Zoë", "amount": 1.5, "big": "long"}
LEAVE = wal2json.DecodeOptions(unfinished="leave")


TYPES = {"id": "bigint", "name": "text", "amount": "numeric(18,4)", "big": "text"}


def columns(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "type": TYPES.get(name, "text"), "value": value} for name, value in row.items()]


def change(action: str, *, table: str = "public.t", **fields: Any) -> dict[str, Any]:
    schema, name = table.split(".")
    record: dict[str, Any] = {"action": action, "xid": 7, "lsn": "0/1", "schema": schema, "table": name}
    return record | fields


def insert(row: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return change("I", columns=columns(row), **fields)


def update(new: Mapping[str, Any], old: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return change("U", columns=columns(new), identity=columns(old), **fields)


def delete(old: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return change("D", identity=columns(old), **fields)


def transaction(lsn: str, *changes: Mapping[str, Any]) -> list[str]:
    begin = {"action": "B", "xid": 7, "lsn": lsn, "nextlsn": "0/0"}
    return dump([begin, *changes, begin | {"action": "C"}])


def dump(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return [json.dumps(record, ensure_ascii=False) + "\n" for record in records]


def fold(mods: Iterable[dict[str, Any]], key: tuple[str, ...]) -> dict[Any, dict[str, Any]]:
    """The law in its plainest form: by sequence; a delete comes before an upsert of another key, no ties."""
    rows: dict[Any, dict[str, Any]] = {}
    for mod in sorted(mods, key=lambda mod: (mod["lsn"], mod["ordinal"])):
        mod = dict(mod)
        op, carried = mod.pop("op"), mod.pop("columns_to_update")
        of = tuple(mod[name] for name in key)
        if op == "D":
            rows.pop(of, None)
        elif op == "T":
            rows.clear()
        elif carried is None:
            rows[of] = mod
        else:
            rows[of] = rows[of] | {name: mod[name] for name in carried}
    return rows


def decode(lines: Any, schema: Schema = SCHEMA, **arguments: Any) -> list[dict[str, Any]]:
    arguments = {"table": "public.t", "primary_key": ["id"]} | arguments
    rows: list[dict[str, Any]] = []
    for batch in wal2json.decode(lines, schema, **arguments):
        rows += batch.to_pylist()
    return rows


def mod(op: str, lsn: int, ordinal: int, carried: list[str] | None = None, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(SCHEMA.names)
    return empty | values | {"lsn": lsn, "ordinal": ordinal, "op": op, "columns_to_update": carried}


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def typed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"amount": Decimal(str(row["amount"]))}
