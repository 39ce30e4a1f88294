"""Options of ``apply_stream``; see ``model.options``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from andes_spark.model.options import NAME, TEXT, Kind, Options, option


@dataclass(frozen=True)
class ApplyStreamOptions(Options):
    """Options of ``apply_stream``, beside those of ``apply``."""

    source: str = option(NAME, help="Name of the feed; batch ids of the micro-batches begin with it.")
    checkpoint: str = option(NAME, help="Folder of the stream's checkpoint, by which a restart goes on.")
    trigger: str | None = option(
        TEXT.or_none(),
        None,
        help='"available now" for what is there, then the stream ends; an interval such as "10 seconds"; by '
        "default one micro-batch after the other.",
    )
    query_name: str | None = option(NAME.or_none(), None, help="Name of the streaming query, in Spark's UI.")
    on_batch: Callable[[Any], None] | None = option(
        Kind("a function", callable).or_none(), None, help="Function called with the result of each micro-batch."
    )
