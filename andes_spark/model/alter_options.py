"""Options of the verbs that change the definition of a table; see ``model.options``."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.model.options import FACES, FLAG, TEXT, TEXTS, Options, option


@dataclass(frozen=True)
class AddColumnOptions(Options):
    """Options of ``alter.add_column``."""

    comment: str | None = option(TEXT.or_none(), None, help="Comment of the column.")
    if_not_exists: bool = option(FLAG, False, help="Do nothing if there is such a column of this type.")


@dataclass(frozen=True)
class SettingsOptions(Options):
    """Options of ``alter.set``; None leaves a setting as it is."""

    merge: str | None = option(
        TEXT.or_none(), None, help='Merge policy: always, auto, manual, or a staleness such as "15 minutes".'
    )
    lateness: str | None = option(
        TEXT.or_none(), None, help="Minimum time for which sequences of deleted keys are kept."
    )
    batch_retention: str | None = option(TEXT.or_none(), None, help="Minimum time for which batch ids are remembered.")
    deletion_vectors: bool | None = option(
        FLAG.or_none(), None, help="Mark deleted rows, or rewrite files, for readers without deletion vectors."
    )
    faces: tuple[str, ...] | None = option(
        FACES.or_none(), None, help='Formats whose readers are shown each merge: "iceberg".', flag="--face"
    )
    comment: str | None = option(TEXT.or_none(), None, help="Comment of the table.")
    properties: dict[str, str] | None = option(
        TEXTS.or_none(), None, help="Names and values, added to those that are there.", flag="--property"
    )
