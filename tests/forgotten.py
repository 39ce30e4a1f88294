"""A table in which a key is to be forgotten, and a search for it that knows nothing of the formats."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark import ModTable, Settings
from andes_spark.storage.memory import MemoryStorage

SETTINGS = Settings(compact_bytes=0, threads=1, checkpoint_interval=3)
KEY = "ada.lovelace@example.org"
SECRETS = (KEY, "Countess-of-")
"""The key, and what each of its rows contains."""
LAST = 12


def mods(seq: int, *more: tuple[str, str, str]) -> pa.Table:
    """Mods of some keys at a sequence; the key is the greatest of the odd batches, and the least of the even ones."""
    others = ("a-", "aa-") if seq % 2 else ("z-", "zz-")
    rows = [
        (KEY, f"Countess-of-{seq}", "D" if seq == 5 else "U"),
        (f"{others[0]}{seq}", "other", "U"),
        (f"{others[1]}{seq % 3}", "other", "D"),
        *more,
    ]
    emails, names, ops = zip(*rows, strict=True)
    return pa.table({"email": emails, "name": names, "seq": [seq] * len(rows), "op": ops})


def made(last: int = LAST, **arguments: Any) -> MemoryStorage:
    """A table of merged batches with the key, the last of them with refused rows."""
    storage = MemoryStorage()
    options: dict[str, Any] = {"primary_key": "email", "sequence_by": "seq", "settings": SETTINGS, **arguments}
    table = ModTable.create(storage, "email STRING, name STRING, seq BIGINT", **options)
    for seq in range(1, last):
        table.apply(mods(seq), apply_as_deletes="op = 'D'", batch_id=("feed", seq))
    refused = ((KEY, "Countess-of-refused", "X"), ("b-1", "refused", "X"))
    send(table, mods(last, *refused), last, max_quarantined=2)
    return storage


def send(table: ModTable, batch: pa.Table, number: int, **options: Any) -> Any:
    conditions: dict[str, Any] = {"apply_as_deletes": "op = 'D'", "apply_as_upserts": "op = 'U'"}
    return table.apply(batch, batch_id=("feed", number), **conditions, **options)


def opened(storage: Any) -> ModTable:
    return ModTable.open(storage, settings=SETTINGS)


def confirmed(storage: Any) -> str:
    return str(storage.url).rstrip("/").rpartition("/")[2]


def forget(storage: Any, keys: Any = KEY, **options: Any) -> Any:
    return opened(storage).forget(keys, confirm=confirmed(storage), **options)


def rows(table: ModTable, **options: Any) -> list[dict[str, Any]]:
    return table.to_arrow(**options).sort_by(table.primary_key[0]).to_pylist()


def without(table: ModTable, key: Any = KEY) -> list[dict[str, Any]]:
    return [row for row in rows(table) if row[table.primary_key[0]] != key]


def holding(storage: Any, texts: Iterable[str] = SECRETS) -> list[str]:
    """Objects in which a text is found: in their bytes, and in the rows and the footers of Parquet files."""
    paths = []
    for info in storage.list():
        data = storage.get(info.path)
        if info.path.endswith(".parquet"):
            file = pq.ParquetFile(io.BytesIO(data))
            data += repr(file.read().to_pylist()).encode() + repr(file.metadata.to_dict()).encode()
        paths += [info.path for text in texts if text.encode() in data or text in info.path]
    return sorted(set(paths))
