"""How rows get into a table of a database: a stream of CSV, or files of Parquet on S3 with a manifest."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.errors import SchemaMismatchError
from andes_spark.settings import MIB
from andes_spark.storage.interface import Storage
from andes_spark.sync.warehouse.columns import TargetColumn
from andes_spark.sync.warehouse.dialects import listed
from andes_spark.sync.warehouse.rows import csv_pieces
from andes_spark.sync.warehouse.session import Session

PART_BYTES = 128 * MIB
"""Arrow bytes of the rows of a file."""
MAX_TEXT_BYTES = 65_535
"""Longest text of Redshift, in bytes of UTF-8."""


class Loader(Protocol):
    """Loads batches into a table."""

    def load(
        self,
        session: Session,
        step: str,
        table: str,
        columns: Sequence[TargetColumn],
        batches: Iterable[pa.RecordBatch],
        *,
        extra: Sequence[str] = (),
    ) -> None:
        """Load the columns of batches, and ``extra`` ones of text after them, into an empty table."""


class CopyStream:
    """COPY of a stream of CSV over the connection, as PostgreSQL has it."""

    def __init__(self, target: str) -> None:
        self._target = target

    def load(
        self,
        session: Session,
        step: str,
        table: str,
        columns: Sequence[TargetColumn],
        batches: Iterable[pa.RecordBatch],
        *,
        extra: Sequence[str] = (),
    ) -> None:
        """See :class:`Loader`."""
        names = listed([*(column.name for column in columns), *extra])
        pieces = csv_pieces(batches, columns, self._target, extra=extra)
        session.execute(step, f"COPY {table} ({names}) FROM STDIN WITH (FORMAT csv)", stream=pieces)


class CopyFromS3:
    """COPY of Parquet files with a manifest of their real sizes, as Redshift has it; the files are deleted at the end.

    Memory is that of the rows of a file.
    """

    def __init__(self, target: str, storage: Storage, iam_role: str, *, part_bytes: int = PART_BYTES) -> None:
        self._target = target
        self._storage = storage
        self._role = "default" if iam_role == "default" else "'" + iam_role.replace("'", "''") + "'"
        self._part_bytes = part_bytes

    def load(
        self,
        session: Session,
        step: str,
        table: str,
        columns: Sequence[TargetColumn],
        batches: Iterable[pa.RecordBatch],
        *,
        extra: Sequence[str] = (),
    ) -> None:
        """See :class:`Loader`. Without rows nothing is loaded: a COPY of no files is an error."""
        names = [*(column.name for column in columns), *extra]
        with self._files() as paths:
            entries = []
            for rows in _parts(batches, names, self._part_bytes):
                self._check(rows, columns)
                paths.append(f"{paths[0].rpartition('/')[0]}/{len(paths):05}.parquet")
                entries.append(self._entry(paths[-1], rows))
            if not entries:
                return
            self._storage.put(paths[0], json.dumps({"entries": entries}, indent=1).encode())
            nested = " SERIALIZETOJSON" if any(column.form == "json" for column in columns) else ""
            session.execute(
                step,
                f"COPY {table} FROM '{self._url(paths[0])}' IAM_ROLE {self._role} FORMAT AS PARQUET MANIFEST{nested}",
            )

    @contextmanager
    def _files(self) -> Iterator[list[str]]:
        """Yield the paths of the files, that of the manifest first; delete what is there at the end."""
        paths = [f"{secrets.token_hex(16)}/manifest.json"]
        try:
            yield paths
        finally:
            self._storage.delete(paths)

    def _url(self, path: str) -> str:
        return f"{self._storage.url.rstrip('/')}/{path}".replace("'", "''")

    def _entry(self, path: str, rows: pa.Table) -> dict[str, object]:
        with self._storage.open_output(path) as output:
            pq.write_table(rows, output, compression="snappy")
        length = output.bytes_written
        return {"url": self._url(path), "mandatory": True, "meta": {"content_length": length}}

    def _check(self, rows: pa.Table, columns: Sequence[TargetColumn]) -> None:
        for column in columns:
            values = rows.column(column.name)
            if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
                continue
            if (pc.max(pc.binary_length(values)).as_py() or 0) > MAX_TEXT_BYTES:
                raise SchemaMismatchError(
                    f"{self._target}: column {column.name}: a text is longer than the {MAX_TEXT_BYTES:,} bytes that "
                    "Redshift can hold; nothing was delivered",
                    column=column.name,
                )


def _parts(batches: Iterable[pa.RecordBatch], names: Sequence[str], size: int) -> Iterator[pa.Table]:
    """Yield the columns of batches in tables of about ``size`` bytes."""
    kept: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            kept.append(batch.select(list(names)))
        if sum(part.nbytes for part in kept) >= size:
            yield pa.Table.from_batches(kept)
            kept = []
    if kept:
        yield pa.Table.from_batches(kept)
