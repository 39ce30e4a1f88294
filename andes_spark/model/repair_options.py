"""Options of ``repair``; see ``model.options``."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.model.options import FLAG, Options, choice, option

TAKE_IN, UNDO, ACCEPT = "take_in", "undo", "accept"


@dataclass(frozen=True)
class RepairOptions(Options):
    """Options of ``repair``."""

    foreign: str | None = option(
        choice(TAKE_IN, UNDO).or_none(),
        None,
        help="What becomes of changes that other writers made to the base; without it they are an error.",
    )
    lost: str | None = option(
        choice(ACCEPT).or_none(),
        None,
        help="Whether to go on without mods and manifests that are lost; without it they are only named.",
    )
    dry_run: bool = option(FLAG, False, help="Only say what is wrong, and what would be done; nothing is written.")
