"""Options of the verbs that take a table in; see ``model.options``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from andes_spark.model.options import FACES, FLAG, NAMES, TEXT, TEXTS, Options, option


@dataclass(frozen=True)
class ConvertOptions(Options):
    """Options of ``convert``: those of ``create`` that do not come with the existing table."""

    primary_key: tuple[str, ...] = option(NAMES, help="Key columns: unique in the table, never NULL.")
    sequence_by: tuple[str, ...] = option(
        NAMES,
        (),
        help="Columns of the table that order the mods of one key; without them the order of arrival decides.",
    )
    text_sequence: bool = option(
        FLAG, False, help="Accept sequence columns of text, which are ordered byte by byte: '10' before '9'."
    )
    partitions: str | None = option(
        TEXT.or_none(),
        None,
        help='For Parquet files in folders of partitions: their columns as DDL, "region STRING, day DATE".',
        metavar="DDL",
    )
    merge: str = option(
        TEXT,
        "always",
        help='When mods are merged: "always" (by each apply), "auto" (by cost), "manual", or an age ("15 minutes").',
    )
    lateness: str = option(
        TEXT, "30 days", help="Time for which the sequences of deleted keys are remembered at least."
    )
    batch_retention: str = option(TEXT, "30 days", help="Time for which batch ids are remembered at least.")
    deletion_vectors: bool = option(
        FLAG, True, help="Mark deleted rows; else rewrite files, for readers that know no deletion vectors."
    )
    faces: tuple[str, ...] = option(
        FACES, (), help='Formats whose readers are shown each merge: "iceberg".', flag="--face"
    )
    comment: str | None = option(TEXT.or_none(), None, help="Free text; by default the Delta table's description.")
    properties: Mapping[str, str] | None = option(
        TEXTS.or_none(), None, help="Free names and values, stored with the table.", flag="--property"
    )
