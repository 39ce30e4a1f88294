"""Tombstones of forgotten keys: a salted hash in place of each key, so that a mod that comes late still loses.

The hash is keyed BLAKE2b over the key's values as text, in the types of the file's schema: whoever has a key can tell
whether it was forgotten, and nobody can read a key out of the file. All files of a table have the same salt.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.base.keys import KeyCache, Keys
from andes_spark.law.columns import ARRIVAL
from andes_spark.law.order import above
from andes_spark.log.mod_files import described, new_path, open_entry, read_as, schema_of, stored_schema
from andes_spark.model.files import SideFile
from andes_spark.model.mod import HASH, OP, Op
from andes_spark.schema.versions import SchemaVersion
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import write_parquet

_HASH_BYTES = 16
_MOST_FILES = 16


def new_salt() -> str:
    """Return a random salt, in hexadecimal digits."""
    return secrets.token_hex(_HASH_BYTES)


def hashes(keys: pl.DataFrame, version: SchemaVersion, columns: Sequence[str], salt: str) -> pl.Series:
    """Hash keys in the types of a schema; NULL for a key that those types cannot hold.

    Args:
        keys: key columns, in the table's current types.
        version: schema whose types decide the text of a value.
        columns: names of the key columns.
        salt: salt of the file.
    """
    empty = pl.from_arrow(version.schema.select(columns).to_arrow().empty_table())
    assert isinstance(empty, pl.DataFrame)
    typed = keys.select(pl.col(name).cast(kind, strict=False) for name, kind in empty.schema.items())
    # A value of a wider type may be rounded to one that was forgotten.
    back = typed.select(pl.col(name).cast(keys.schema[name]) for name in columns)
    exact = [pl.when(keys[name] == back[name]).then(typed[name]).alias(name) for name in columns]
    typed = typed.select(exact)
    key = bytes.fromhex(salt)
    values = [None if None in row else _hash(list(map(_text, row)), key) for row in typed.iter_rows()]
    return pl.Series(HASH, values, pl.Binary)


def _hash(texts: list[str], key: bytes) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(texts), digest_size=_HASH_BYTES, key=key).digest()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def forgotten_keys(
    storage: Storage, files: Sequence[SideFile], shape: TableShape, keys: pl.DataFrame, cache: KeyCache | None = None
) -> pl.DataFrame:
    """Find which keys were forgotten.

    Args:
        storage: the table's folder.
        files: files of hashed tombstones.
        shape: shape of the table.
        keys: key columns, some keys maybe repeated.
        cache: files in memory, extended by this call.

    Returns:
        Key and sequence columns of forgotten keys, each once, with its greatest sequence.
    """
    once = keys.select(shape.columns.key).unique(maintain_order=True)
    parts = []
    for file in files:
        assert file.salt is not None
        version = schema_of(file, shape.versions, table=shape.table)
        hashed = once.with_columns(hashes(once, version, shape.columns.key, file.salt))
        rows = _read(storage, file, shape, cache)
        parts.append(hashed.join(rows, on=HASH, how="inner", maintain_order="left").select(shape.columns.narrow))
    deletes = pl.concat(parts)
    return deletes.sort(shape.columns.sequence, descending=True).unique(
        shape.columns.key, keep="first", maintain_order=True
    )


def forgotten_deletes(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    mods: pa.Table,
    cache: KeyCache,
    *,
    without: pa.Table,
    at: int = 0,
) -> pa.Table:
    """Return hashed tombstones of the keys of mods as deletes: key, sequence, operation and arrival.

    Args:
        storage: the table's folder.
        files: files of hashed tombstones.
        shape: shape of the table.
        mods: rows with the keys.
        cache: files in memory.
        without: rows with keys of which something newer is known.
        at: arrival of the deletes, by default before all mods.
    """
    keys, newer = (pl.from_arrow(rows.select(list(shape.columns.key))) for rows in (mods, without))
    assert isinstance(keys, pl.DataFrame)
    assert isinstance(newer, pl.DataFrame)
    known = forgotten_keys(storage, files, shape, keys.join(newer, on=list(shape.columns.key), how="anti"), cache)
    rows = known.with_columns(pl.lit(int(Op.DELETE), pl.Int8).alias(OP), pl.lit(at, pl.Int64).alias(ARRIVAL))
    schema = pa.schema([mods.schema.field(name) for name in rows.columns])
    return rows.to_arrow().cast(schema)


def _read(storage: Storage, file: SideFile, shape: TableShape, cache: KeyCache | None) -> pl.DataFrame:
    entry = None if cache is None else cache.find(file.path, 0)
    if entry is not None and entry.frame is not None:
        return entry.frame
    opened = open_entry(storage, file, table=shape.table)
    columns = [HASH, *_stored(shape)]
    frame = pl.from_arrow(read_as(opened, file, table=shape.table, schemas=shape.versions, columns=columns))
    assert isinstance(frame, pl.DataFrame)
    if cache is not None:
        cache.put(file.path, 0, Keys(None, frame))
    return frame


def _stored(shape: TableShape) -> list[str]:
    """Sequence columns of a file of hashed tombstones: those that are part of the key are known with the key."""
    return [name for name in shape.columns.sequence if name not in shape.columns.key]


def write_forgotten(
    storage: Storage, tombstones: pl.DataFrame, shape: TableShape, *, salt: str, head: int
) -> SideFile | None:
    """Write tombstones without their keys.

    Args:
        storage: the table's folder.
        tombstones: key and sequence columns, each key once.
        shape: shape of the table.
        salt: salt of the table's hashes.
        head: newest version seen.

    Returns:
        None if there are no tombstones.
    """
    if not tombstones.height:
        return None
    hashed = hashes(tombstones, shape.versions.current, shape.columns.key, salt)
    return _write(storage, tombstones.with_columns(hashed), shape, salt, head)


def _write(
    storage: Storage,
    rows: pl.DataFrame,
    shape: TableShape,
    salt: str,
    head: int,
    schema_version: SchemaVersion | None = None,
) -> SideFile:
    """Write hashed tombstones, whose hashes are of keys in the types of a schema, by default the current one."""
    schema_version = schema_version or shape.versions.current
    names, types = _stored(shape), schema_version.schema.to_arrow()
    fields = [pa.field(HASH, pa.binary(), nullable=False)]
    fields += [types.field(name).with_nullable(False) for name in names]
    schema = pa.schema([*fields, pa.field(OP, pa.int8(), nullable=False)])
    marked = rows.sort(HASH).with_columns(pl.lit(int(Op.DELETE), pl.Int8).alias(OP))
    table = marked.select(schema.names).to_arrow().cast(schema)
    path = new_path("tombstones", head)
    written = write_parquet(
        storage, path, table, stored_schema(schema_version, schema), sorted_by=(HASH,), marked=(HASH, *names)
    )
    return SideFile(**described(path, table, written), schema_id=schema_version.id, salt=salt)


def expire_forgotten(
    storage: Storage,
    file: SideFile,
    shape: TableShape,
    sequence: tuple[object, ...],
    hiding: pl.DataFrame,
    *,
    version: int,
    target: Storage | None = None,
) -> SideFile | None:
    """Write a file of hashed tombstones anew without those that an expire forgets.

    Args:
        storage: the table's folder.
        file: the file.
        shape: shape of the table, whose keys hold no sequence column.
        sequence: sequence of the expire.
        hiding: key columns of keys that a newer row in a file with keys hides, which is forgotten.
        version: that the merge goes up to.
        target: folder to write to, by default the same.

    Returns:
        The same file if it has none of them; None if nothing is left.
    """
    assert file.salt is not None
    schema_version = schema_of(file, shape.versions, table=shape.table)
    rows = _read(storage, file, shape, None)
    higher = above([pl.col(name) for name in shape.columns.sequence], [pl.lit(value) for value in sequence])
    kept = rows.filter(higher)
    if kept.height and hiding.height:
        hidden = pl.DataFrame({HASH: hashes(hiding, schema_version, shape.columns.key, file.salt)})
        kept = kept.join(hidden, on=HASH, how="anti")
    if kept.height == rows.height:
        return file
    if not kept.height:
        return None
    return _write(target or storage, kept, shape, file.salt, version, schema_version)


def fold_forgotten(storage: Storage, files: Sequence[SideFile], shape: TableShape, *, version: int) -> list[SideFile]:
    """Fold files of hashed tombstones into one if there are more than 16 with one salt and types of the keys."""
    groups: dict[tuple[str | None, int], list[SideFile]] = {}
    for file in files:
        groups.setdefault((file.salt, file.schema_id), []).append(file)
    folded: list[SideFile] = []
    for (salt, schema_id), group in groups.items():
        if len(group) <= _MOST_FILES or schema_id != shape.versions.current_id or salt is None:
            folded += group
            continue
        rows = pl.concat([_read(storage, file, shape, None) for file in group])
        greatest = rows.sort(_stored(shape), descending=True) if _stored(shape) else rows
        folded.append(_write(storage, greatest.unique(HASH, keep="first", maintain_order=True), shape, salt, version))
    return folded


def of_forgotten(
    storage: Storage, rows: pl.DataFrame, forgotten: Sequence[SideFile], shape: TableShape
) -> pl.DataFrame:
    """Select the rows of forgotten keys, at any sequence; see :func:`without_forgotten`."""
    keys = forgotten_keys(storage, forgotten, shape, rows)
    return rows.join(keys, on=list(shape.columns.key), how="semi", maintain_order="left")


def without_forgotten(
    storage: Storage, rows: pl.DataFrame, forgotten: Sequence[SideFile], shape: TableShape
) -> pl.DataFrame:
    """Drop the tombstones of forgotten keys up to the sequences of these.

    Args:
        storage: the table's folder.
        rows: rows of files of tombstones with keys: key and sequence columns, and others.
        forgotten: files of hashed tombstones.
        shape: shape of the table.
    """
    names, key = shape.columns.sequence, list(shape.columns.key)
    aliases = {name: f"{HASH}_{name}" for name in names}
    known = forgotten_keys(storage, forgotten, shape, rows)
    limits = known.select(*key, *(pl.col(name).alias(alias) for name, alias in aliases.items()))
    joined = rows.join(limits, on=key, how="left", maintain_order="left")
    limit = [pl.col(alias) for alias in aliases.values()]
    kept = limit[0].is_null() | above([pl.col(name) for name in names], limit)
    return joined.filter(kept).select(rows.columns)
