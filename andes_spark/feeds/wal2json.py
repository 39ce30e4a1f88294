r"""The change feed of PostgreSQL's logical decoding with wal2json, decoded into mods.

The format is that of wal2json 2.5, ``format-version`` 2: one JSON document per line, the changes of a
transaction between a ``B`` and a ``C`` record, transactions in the order of their commits
(https://github.com/eulerto/wal2json). Capture with::

    pg_recvlogical -d shop -S slot --start -f feed.jsonl \
        -o format-version=2 -o include-lsn=true -o include-types=true -o include-pk=true

Minor releases of PostgreSQL that have the setting ``output_plugin_libraries`` need ``wal2json`` in it.
The table needs ``REPLICA IDENTITY FULL`` if a value may be stored out of line (TOAST) and its key may change.
Two things cannot be seen in this format: wal2json writes NaN and the infinities of numbers as NULL, and it
leaves out updates and deletes of a table without any replica identity.

Mods of a change:

- The sequence of a mod is (commit position, ordinal): the log position of the transaction's commit record,
  as a 64-bit number, and the change's place in the transaction, counted over all tables from 0.
- A value omitted by an update (out of line and unchanged) is an absent column of a partial mod.
- An update of the key is a delete of the old key and a full upsert of the new one, at one sequence.
  Omitted values are taken from the old row; if the feed does not have them, the change is refused.
- A delete has the key only. A ``TRUNCATE`` is a truncate of the whole table.
- Transactions that were rolled back are not in the feed; repeated transactions are skipped.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from andes_spark.errors import FileDamagedError, NotFoundError, OptionError
from andes_spark.feeds import postgres_values
from andes_spark.feeds import wal2json_records as records
from andes_spark.feeds.wal2json_mods import ModColumns, Source
from andes_spark.model.options import COUNT, require
from andes_spark.schema.schema import Field, Primitive, Schema

__all__ = [
    "ChangeBatch",
    "DecodeOptions",
    "ModColumns",
    "batches",
    "decode",
    "infer_schema",
    "read_changes",
    "read_lines",
    "table_schema",
]


@dataclass(frozen=True)
class DecodeOptions:
    """Options for decoding a feed.

    Attributes:
        unfinished: handling of a last transaction without a commit record, or of an incomplete last line:
            ``refuse`` raises an error, ``leave`` stops before it, so that the next read decodes it.
        columns: names of the added columns.
    """

    unfinished: Literal["refuse", "leave"] = "refuse"
    columns: ModColumns = field(default_factory=ModColumns)

    def __post_init__(self) -> None:
        if self.unfinished not in ("refuse", "leave"):
            raise OptionError(f"unfinished must be 'refuse' or 'leave', not {self.unfinished!r}")


_DEFAULTS = DecodeOptions()


class ChangeBatch(NamedTuple):
    """Whole transactions of a change feed, in order.

    Attributes:
        batch_id: commit positions of the first and the last transaction, joined by a dash.
        mods: mods of the transactions, in the schema of the decoder.
    """

    batch_id: str
    mods: pa.Table


def decode(
    lines: Iterable[str | bytes],
    schema: Schema,
    *,
    table: str | tuple[str, str],
    primary_key: Sequence[str],
    options: DecodeOptions = _DEFAULTS,
) -> Iterator[pa.RecordBatch]:
    """Decode a feed into record batches, ready to be applied with ``columns_to_update``.

    Args:
        lines: the feed, line by line.
        schema: columns of the source table. Sequence columns may be included and are not expected
            in the feed.
        table: ``schema.table`` as PostgreSQL names it, or a pair if one of the names holds a dot. Changes
            of other tables are skipped.
        primary_key: key columns of the source table.
        options: decoding options.

    Yields:
        Record batches with the columns of the source table, in the order of ``schema``, and those of
        ``options.columns``.

    Raises:
        DamagedError: a line or a transaction in another format than wal2json's; ``line``.
        SchemaMismatchError: other columns than those of ``schema`` (``missing``, ``extra``), or a value
            that a column cannot hold (``column``, ``value``); ``keys``, ``lsn``, ``line``.
        UnsupportedTableError: an incomplete row at a change of the key, a missing old key, or a record that
            is no change; ``feature``, ``keys``, ``column``, ``lsn``, ``line``.
        OptionError: an invalid key or invalid column names.
    """
    for batch in batches(lines, schema, table=table, primary_key=primary_key, options=options):
        yield from batch.mods.to_batches()


def batches(
    lines: Iterable[str | bytes],
    schema: Schema,
    *,
    table: str | tuple[str, str],
    primary_key: Sequence[str],
    changes_per_batch: int = 10_000,
    options: DecodeOptions = _DEFAULTS,
) -> Iterator[ChangeBatch]:
    """Decode a feed into batches of at least ``changes_per_batch`` mods, the last one excepted.

    The same feed gives the same batches and ids, so that a batch can be applied again after a failure. Another
    start or batch size gives other ids; its mods have the same sequences and change nothing.
    Arguments and errors are those of ``decode``; a transaction is never split, however large.
    """
    require("changes_per_batch", changes_per_batch, COUNT)
    if changes_per_batch < 1:
        raise OptionError(f"changes_per_batch must be at least 1, not {changes_per_batch}", option="changes_per_batch")
    source = Source.of(schema, table, primary_key, options.columns)
    waiting: list[records.Mod] = []
    for mods in _transactions(lines, source, options):
        waiting += mods
        if len(waiting) >= changes_per_batch:
            yield _batch(waiting, source)
            waiting = []
    if waiting:
        yield _batch(waiting, source)


def _batch(mods: list[records.Mod], source: Source) -> ChangeBatch:
    return ChangeBatch(f"{mods[0].lsn}-{mods[-1].lsn}", source.to_table(mods))


def read_changes(
    path: str | Path,
    schema: Schema,
    *,
    table: str | tuple[str, str],
    primary_key: Sequence[str],
    options: DecodeOptions = _DEFAULTS,
) -> pa.Table:
    """Decode a feed file into one table; arguments and errors as ``decode`` and ``read_lines``."""
    source = Source.of(schema, table, primary_key, options.columns)
    return source.to_table([mod for mods in _transactions(read_lines(path), source, options) for mod in mods])


def read_lines(*paths: str | Path) -> Iterator[bytes]:
    """Yield the lines of feed files in order: plain, ``.gz`` or ``.xz``.

    Raises:
        NotFoundError: no such file; ``path``.
        FileDamagedError: a truncated compressed file, or one of another format than its name says; ``path``.
    """
    for path in paths:
        opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(Path(path).suffix, open)
        try:
            with opener(path, "rb") as file:
                yield from file
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFoundError(f"there is no change feed {str(path)!r}", path=str(path)) from error
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise FileDamagedError(
                f"the change feed {str(path)!r} cannot be unpacked ({error}): fetch it again", path=str(path)
            ) from error


def infer_schema(lines: Iterable[str | bytes], *, table: str | tuple[str, str], primary_key: Sequence[str]) -> Schema:
    """Return the columns of the source table, by the type names of its first insert (``include-types``).

    A column is NOT NULL if it is in the key, or if the feed says so (``include-not-null``).

    Raises:
        NotFoundError: the feed has no insert into the table; ``table``.
        UnsupportedTableError: a type without a fixed counterpart; ``feature``, ``column``.
        DamagedError: a line in another format than wal2json's; ``line``.
    """
    qualified_name = records.table_name(table)
    for number, line in enumerate(lines, start=1):
        record = records.parse(line, number)
        if record is None or record["action"] != records.INSERT or records.table_of(record, number) != qualified_name:
            continue
        try:
            return Schema(
                tuple(
                    Field(
                        column["name"],
                        postgres_values.column_type(column["type"], column=column["name"]),
                        column["name"] not in primary_key and column.get("optional", True),
                    )
                    for column in record["columns"]
                )
            )
        except (KeyError, TypeError) as error:
            records.damaged("an insert without names or types (capture with include-types=true)", number, error)
    raise NotFoundError(f"the feed has no insert into {'.'.join(qualified_name)}", table=".".join(qualified_name))


def table_schema(schema: Schema, *, columns: ModColumns = _DEFAULTS.columns) -> Schema:
    """Return the columns of a table for this source: the source columns, followed by the sequence columns."""
    columns.check(schema)
    own = tuple(field for field in schema if field.name not in columns.sequence_by)
    sequence = (
        Field(columns.lsn, Primitive("long"), nullable=False),
        Field(columns.ordinal, Primitive("integer"), nullable=False),
    )
    return Schema(own + sequence)


def _transactions(lines: Iterable[str | bytes], source: Source, options: DecodeOptions) -> Iterator[list[records.Mod]]:
    leave = options.unfinished == "leave"
    return records.Transactions(source.table, source.to_mods, leave=leave).read(lines)
