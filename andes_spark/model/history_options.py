"""Options of the verbs on the history of a table; see ``model.options``."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.model.options import FLAG, INTEGER, Options, option


@dataclass(frozen=True)
class RestoreOptions(Options):
    """Options of ``restore``."""

    version: int = option(INTEGER, help="Version to restore.")
    merge: bool | None = option(FLAG.or_none(), None, help="Merge now or not; by default unless merges are manual.")
