"""What an expire forgets beside the base: tombstones at or below its sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.files import TableShape
from andes_spark.base.forgotten import expire_forgotten
from andes_spark.base.tombstones import hashed_files, newest_rows, read_file, with_keys, write_file
from andes_spark.law.order import above
from andes_spark.log.pending import typed_sequence
from andes_spark.model.files import SideFile
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class Beside:
    """Files of tombstones after the pending expires.

    Attributes:
        tombstones: those of the merge record before.
        forgotten: files of hashed tombstones of pending versions.
    """

    tombstones: list[SideFile]
    forgotten: list[SideFile]


def after_expires(storage: Storage, inputs: EvaluationInput, tombstones: Sequence[SideFile], *, version: int) -> Beside:
    """Drop what pending expires forget of the tombstones before and of those that versions before them hashed.

    Args:
        storage: the table's folder.
        inputs: base and pending mods.
        tombstones: files of the merge record before.
        version: that the merge goes up to.
    """
    forgets, forgotten = inputs.pending.expiry.forgets, list[SideFile]()
    for number, file in inputs.pending.forgotten:
        forgotten += expire_files(storage, [file], inputs.shape, forgets(number), version=version)
    return Beside(expire_files(storage, tombstones, inputs.shape, forgets(-1), version=version), forgotten)


def expire_files(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    sequence: tuple[object, ...] | None,
    *,
    version: int,
) -> list[SideFile]:
    """Drop the tombstones at or below the sequence of an expire, one file after the other.

    A newer row of a key hides older ones, also if it is lower, as after a take-in: with it, these go too.

    Args:
        storage: the table's folder.
        files: files of a merge record.
        shape: shape of the table.
        sequence: sequence of the expire; None for none.
        version: that the merge goes up to.
    """
    if sequence is None:
        return list(files)
    keyed, hashed = with_keys(files), hashed_files(files)
    kept = [_without(storage, keyed, number, shape, sequence, version) for number in range(len(keyed))]
    hidden = hiding_keys(storage, keyed, shape, sequence) if hashed else pl.DataFrame()
    left = [expire_forgotten(storage, file, shape, sequence, hidden, version=version) for file in hashed]
    return [file for file in (*left, *kept) if file is not None]


def hiding_keys(
    storage: Storage, files: Sequence[SideFile], shape: TableShape, sequence: tuple[object, ...]
) -> pl.DataFrame:
    """Read the keys whose newest row in files of tombstones with keys is at or below the sequence of an expire."""
    return newest_rows(storage, files, shape).filter(~_higher(shape, sequence)).select(shape.columns.key)


def _higher(shape: TableShape, sequence: tuple[object, ...]) -> pl.Expr:
    return above([pl.col(name) for name in shape.columns.sequence], [pl.lit(value) for value in sequence])


def _without(
    storage: Storage,
    files: Sequence[SideFile],
    number: int,
    shape: TableShape,
    sequence: tuple[object, ...],
    version: int,
) -> SideFile | None:
    """Write one of several files with keys anew without what is forgotten; the same if it has nothing of it."""
    file = files[number]
    if file.high_sequence is not None and typed_sequence(file.high_sequence, shape.arrow, shape.columns) <= sequence:
        return None
    rows, higher = read_file(storage, file, shape), _higher(shape, sequence)
    kept = rows.filter(higher)
    later = files[number + 1 :]
    if kept.height and later:
        key = list(shape.columns.key)
        newest = newest_rows(storage, later, shape, keys=kept.select(key))
        kept = kept.join(newest.filter(~higher).select(key), on=key, how="anti", maintain_order="left")
    if kept.height == rows.height:
        return file
    return write_file(storage, kept, shape, version) if kept.height else None
