"""Conversion of changes of a source table to mods, and of mods to Arrow columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa

from andes_spark.errors import OptionError, SchemaMismatchError, UnsupportedTableError
from andes_spark.feeds import postgres_values
from andes_spark.feeds.wal2json_records import DELETE, INSERT, TRUNCATE, UPDATE, Change, Mod, table_name
from andes_spark.schema.schema import Schema


@dataclass(frozen=True)
class ModColumns:
    """Names of the columns added by the decoder; rename those that the source table has already.

    Attributes:
        op: string, never NULL: ``I``, ``U``, ``D`` or ``T`` (truncate).
        lsn: long, never NULL: position of the transaction's commit record. Stored in the table.
        ordinal: integer, never NULL: place of the change in its transaction. Stored in the table.
        columns_to_update: array<string>: the columns of a partial mod, including key and sequence;
            NULL for a full row, a delete and a truncate.
    """

    op: str = "op"
    lsn: str = "lsn"
    ordinal: str = "ordinal"
    columns_to_update: str = "columns_to_update"

    @property
    def sequence_by(self) -> tuple[str, str]:
        """The columns by which the table orders the mods of a key."""
        return (self.lsn, self.ordinal)

    def check(self, schema: Schema) -> None:
        """Refuse names that are columns of the source table.

        Raises:
            OptionError: with ``column``, the first such name.
        """
        added = (self.op, self.columns_to_update)
        taken_names = [name for name in added if name in schema]
        if taken_names or len({*added, *self.sequence_by}) < 4:
            raise OptionError(
                f"the added columns {[*added, *self.sequence_by]} must differ from each other and from those "
                f"of the source table (which has {taken_names}): choose other names with ModColumns",
                column=taken_names[0] if taken_names else None,
            )


@dataclass(frozen=True)
class Source:
    """Source table of the decoder; ``arrow`` is the schema of the mods."""

    table: tuple[str, str]
    names: tuple[str, ...]
    name_set: frozenset[str]
    primary_key: tuple[str, ...]
    columns: ModColumns
    arrow: pa.Schema

    @classmethod
    def of(
        cls, schema: Schema, table: str | tuple[str, str], primary_key: Sequence[str], columns: ModColumns
    ) -> Source:
        """Check the arguments of a decoding; raises as ``wal2json.decode`` does."""
        columns.check(schema)
        fields = [field for field in schema.to_arrow() if field.name not in columns.sequence_by]
        names = tuple(field.name for field in fields)
        if isinstance(primary_key, str) or not primary_key or not set(primary_key) <= set(names):
            raise OptionError(
                f"primary_key must list columns of the source table, not {primary_key!r}: "
                f"its columns are {', '.join(names)}",
                option="primary_key",
                value=primary_key,
            )
        for field in fields:
            if not postgres_values.is_supported(field.type):
                raise UnsupportedTableError(
                    f"column {field.name!r} is {field.type}, which a wal2json feed cannot fill: it carries "
                    "arrays and documents as text, so make it a string",
                    feature=str(field.type),
                    column=field.name,
                )
        # Deletes and truncates leave columns empty, so that no column of the source is NOT NULL here.
        added = [
            pa.field(columns.lsn, pa.int64(), nullable=False),
            pa.field(columns.ordinal, pa.int32(), nullable=False),
            pa.field(columns.op, pa.string(), nullable=False),
            pa.field(columns.columns_to_update, pa.list_(pa.field("element", pa.string(), nullable=False))),
        ]
        arrow = pa.schema([field.with_nullable(True) for field in fields] + added)
        return cls(table_name(table), names, frozenset(names), tuple(primary_key), columns, arrow)

    def to_mods(self, change: Change) -> Iterator[Mod]:
        """Yield the mods of one change: one, or two if the key changes."""
        record = change.record
        action = record["action"]
        if action == TRUNCATE:
            yield _mod(TRUNCATE, change, {})
            return
        self._check_key(change)
        new = {column["name"]: column["value"] for column in record.get("columns", ())}
        old = {column["name"]: column["value"] for column in record.get("identity", ())}
        if action == DELETE:
            yield _mod(DELETE, change, self._key(old, old, change))
            return
        self._check_columns(new, change, complete=action == INSERT)
        if action == INSERT:
            yield _mod(INSERT, change, new)
        else:
            yield from self._update(new, old, change)

    def to_table(self, mods: Sequence[Mod]) -> pa.Table:
        """Convert mods to an Arrow table.

        Raises:
            SchemaMismatchError: a value that its column cannot hold.
        """
        arrays = [self._column(self.arrow.field(name), mods) for name in self.names]
        added: tuple[list[Any], ...] = (
            [mod.lsn for mod in mods],
            [mod.ordinal for mod in mods],
            [mod.op for mod in mods],
            [mod.columns for mod in mods],
        )
        for values, field in zip(added, list(self.arrow)[len(self.names) :], strict=True):
            arrays.append(pa.array(values, field.type))
        return pa.table(arrays, schema=self.arrow)

    def _update(self, new: dict[str, Any], old: dict[str, Any], change: Change) -> Iterator[Mod]:
        old_key, new_key = self._key(old, old, change), self._key(new, old, change)
        if any(
            not postgres_values.is_same(old_key[name], new_key[name], self.arrow.field(name).type)
            for name in self.primary_key
        ):
            for name in self.names:
                if name not in new and name not in old:
                    self._refuse_incomplete(name, new_key, change)
            yield _mod(DELETE, change, old_key)
            # Only unchanged values are omitted.
            yield _mod(UPDATE, change, {name: new.get(name, old.get(name)) for name in self.names})
        elif len(new) == len(self.names):
            yield _mod(UPDATE, change, new)
        else:
            row = new | new_key
            carried = [name for name in self.names if name in row]
            yield _mod(UPDATE, change, row, carried + list(self.columns.sequence_by))

    def _key(self, row: dict[str, Any], old: dict[str, Any], change: Change) -> dict[str, Any]:
        """Return the key of a row; omitted key columns are unchanged and taken from the old row."""
        for name in self.primary_key:
            if name not in row and name not in old:
                raise UnsupportedTableError(
                    f"line {change.line} of the change feed does not carry the old value of the key column "
                    f"{name!r}: set REPLICA IDENTITY FULL on {'.'.join(self.table)}, capture again",
                    feature="replica identity",
                    table=".".join(self.table),
                    column=name,
                    lsn=change.lsn,
                    line=change.line,
                )
        return {name: row[name] if name in row else old[name] for name in self.primary_key}

    def _refuse_incomplete(self, name: str, key: dict[str, Any], change: Change) -> NoReturn:
        shown = tuple(key.values())
        raise UnsupportedTableError(
            f"line {change.line} of the change feed changes a key to {shown} and carries column {name!r} "
            f"neither in the new row nor in the old one: set REPLICA IDENTITY FULL on "
            f"{'.'.join(self.table)}, capture again",
            feature="replica identity",
            table=".".join(self.table),
            keys=(shown,),
            column=name,
            lsn=change.lsn,
            line=change.line,
        )

    def _check_columns(self, row: dict[str, Any], change: Change, *, complete: bool) -> None:
        if row.keys() == self.name_set:
            return
        extra = tuple(name for name in row if name not in self.name_set)
        missing = tuple(name for name in self.names if name not in row) if complete else ()
        if extra or missing:
            raise SchemaMismatchError(
                f"line {change.line} of the change feed has other columns than the schema "
                f"(missing: {', '.join(missing) or 'none'}; extra: {', '.join(extra) or 'none'}): give the "
                "schema of the source table, and rename added columns that it has itself with ModColumns",
                table=".".join(self.table),
                missing=missing,
                extra=extra,
                lsn=change.lsn,
                line=change.line,
            )

    def _check_key(self, change: Change) -> None:
        feed_key = [column["name"] for column in change.record.get("pk", ())]
        if feed_key and set(feed_key) != set(self.primary_key):
            raise OptionError(
                f"primary_key is {list(self.primary_key)}, but line {change.line} of the change feed says "
                f"{feed_key}: give the key of the source table",
                option="primary_key",
                value=self.primary_key,
                line=change.line,
            )

    def _column(self, field: pa.Field, mods: Sequence[Mod]) -> pa.Array | pa.ChunkedArray:
        values = [mod.values.get(field.name) for mod in mods]
        try:
            return postgres_values.to_column(values, field.type)
        except (ValueError, TypeError) as error:
            at = postgres_values.find_bad(values, field.type)
            if at is None:
                raise
            mod, shown = mods[at], repr(values[at])[:100]
            key = tuple(mod.values.get(name) for name in self.primary_key)
            raise SchemaMismatchError(
                f"column {field.name!r} ({field.type}) cannot hold the value {shown} of key {key} at line "
                f"{mod.line} of the change feed: change the column's type, or the value in the source",
                column=field.name,
                value=values[at],
                wrong_type={field.name: str(field.type)},
                keys=(key,),
                lsn=mod.lsn,
                line=mod.line,
            ) from error


def _mod(op: str, change: Change, values: dict[str, Any], columns: list[str] | None = None) -> Mod:
    return Mod(op, change.lsn, change.ordinal, change.line, values, columns)
