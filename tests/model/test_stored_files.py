"""Columns and members of each kind of stored file, as they are in tests/golden: a change of one is a new format."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark import ModTable
from andes_spark.storage.memory import MemoryStorage

GOLDEN = Path(__file__).parents[1] / "golden" / "stored_files_2.json"
_VERSION, _UUID = re.compile(r"\d{20}"), re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def written() -> MemoryStorage:
    """A folder with a file of each kind: full and partial mods, refused rows, tombstones, a ledger, and its base."""
    storage = MemoryStorage()
    table = ModTable.create(
        storage,  # type: ignore[arg-type]
        "region STRING, id BIGINT, at TIMESTAMP, amount DECIMAL(10,2), seq BIGINT",
        primary_key=["region", "id"],
        sequence_by="seq",
        partition_by="region",
    )
    for number in range(1, 12):
        mods = pa.table(
            {
                "region": ["eu", "us", "eu"],
                "id": [number, number, 100],
                "at": pa.array([number] * 3, pa.timestamp("us", "UTC")),
                "amount": ["1.50", "not a number", "2"],
                "seq": [number] * 3,
                "op": ["U", "U", "D"],
            }
        )
        table.apply(mods, apply_as_deletes="op = 'D'", batch_id=("golden", number), cast=True, max_quarantined=1)
    some = {"region": "eu", "id": 5, "amount": "3.00", "seq": 99}
    table.apply([some], column_list=["amount"], cast=True, batch_id=("golden", 12))
    return storage


def kind_of(path: str) -> str:
    return _UUID.sub("UUID", _VERSION.sub("VERSION", path))


def columns(schema: pa.Schema) -> dict[str, str]:
    return {
        f"{(field.metadata or {}).get(b'PARQUET:field_id', b'none').decode()} {field.name}": str(field.type)
        for field in schema
    }


def members(value: Any) -> Any:
    """Names of the members of a document; values of a list are alike."""
    if isinstance(value, dict):
        return {name: members(part) for name, part in sorted(value.items())}
    if isinstance(value, list):
        return [members(value[0])] if value else []
    return type(value).__name__


def described() -> dict[str, Any]:
    storage = written()
    kinds: dict[str, Any] = {}
    for info in storage.list():
        kind, data = kind_of(info.path), storage.get(info.path)
        if kind.endswith(".parquet"):
            footer = pq.ParquetFile(io.BytesIO(data))
            names = sorted(name.decode() for name in footer.metadata.metadata or {})
            layout = {"columns": columns(footer.schema_arrow), "footer": names}
            layouts = kinds.setdefault(kind, [])
            if layout not in layouts:
                layouts.append(layout)
        elif kind in ("_andes/hint", "_andes/merging.json"):
            kinds[kind] = members(json.loads(data))
        elif kind == "_delta_log/VERSION.json":
            for line in data.splitlines():
                (name, value), *_ = json.loads(line).items()
                kinds.setdefault(kind, {}).setdefault(name, set()).update(value)
    entries = kinds["_delta_log/VERSION.json"]
    kinds["_delta_log/VERSION.json"] = {action: sorted(names) for action, names in sorted(entries.items())}
    return dict(sorted(kinds.items()))


def test_stored_files_are_as_they_were() -> None:
    assert described() == json.loads(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("folder", ["mods", "tombstones", "ledger", "quarantine"])
def test_each_kind_of_side_file_is_described(folder: str) -> None:
    assert f"_andes/{folder}/VERSION-UUID.parquet" in json.loads(GOLDEN.read_text("utf-8"))
    assert f"{folder}/" in (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
