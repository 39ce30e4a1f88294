"""Options of the verbs that read, declared as those of the verbs that write are in ``model.options``."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from andes_spark.errors import OptionError
from andes_spark.model.moments import MOMENT
from andes_spark.model.options import (
    CONDITION,
    COUNT,
    FLAG,
    INTEGER,
    NAME,
    NAMES,
    POSITIVE,
    Options,
    declared_options,
    option,
)


@dataclass(frozen=True)
class SnapshotOptions(Options):
    """Options of verbs that read a snapshot: which one.

    Raises:
        OptionError: more than one of them is given; ``option``.
    """

    version: int | None = option(INTEGER.or_none(), None, help="Version; by default the newest.")
    timestamp: datetime.datetime | None = option(
        MOMENT.or_none(),
        None,
        help='The newest version of this time or before it, such as "2026-11-01T00:00:00Z".',
        metavar="TIME",
    )
    tag: str | None = option(NAME.or_none(), None, help="The version that this tag stands for.", metavar="NAME")

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = [name for name in declared_options(SnapshotOptions) if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise OptionError(
                f"{' and '.join(chosen)} are given, and each of them says which version; leave out all but one",
                option=chosen[1],
            )


@dataclass(frozen=True)
class ReadOptions(SnapshotOptions):
    """Options of ``to_arrow`` and other reads without Spark."""

    columns: tuple[str, ...] | None = option(NAMES.or_none(), None, help="Columns to show; by default all.")
    filter: Any = option(CONDITION, None, help="Condition on the rows, such as \"status = 'open' AND total > 10\".")
    limit: int | None = option(COUNT.or_none(), None, help="Rows at most.")


@dataclass(frozen=True)
class GetOptions(SnapshotOptions):
    """Options of ``get``."""

    columns: tuple[str, ...] | None = option(NAMES.or_none(), None, help="Columns to show; by default all.")


@dataclass(frozen=True)
class ModsOptions(Options):
    """Options of ``mods``."""

    from_version: int | None = option(
        INTEGER.or_none(), None, help="First version; by default the oldest whose mods are kept."
    )
    to_version: int | None = option(INTEGER.or_none(), None, help="Last version; by default the newest.")


@dataclass(frozen=True)
class FeedOptions(Options):
    """Options of reads of changes: where they begin, and what of them is returned.

    Raises:
        OptionError: no version to begin with, or several options for it; ``option``.
    """

    from_version: int | None = option(
        INTEGER.or_none(), None, help="Version to begin with; what it changed itself is not shown."
    )
    from_timestamp: datetime.datetime | None = option(
        MOMENT.or_none(), None, help="Begin with the newest version of this time or before it.", metavar="TIME"
    )
    from_tag: str | None = option(
        NAME.or_none(), None, help="Begin with the version that this tag stands for.", metavar="NAME"
    )
    columns: tuple[str, ...] | None = option(NAMES.or_none(), None, help="Columns to show; by default all.")
    before_images: bool = option(FLAG, False, help="Show updated rows as they were, too.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._one_of("from", "begin"):
            raise OptionError(
                "say which version the changes begin with: by from_version, from_timestamp or from_tag; 0 is the table "
                "as it was created",
                option="from_version",
            )

    @property
    def start(self) -> SnapshotOptions:
        """The snapshot that the changes begin with."""
        return SnapshotOptions(self.from_version, self.from_timestamp, self.from_tag)

    def _one_of(self, end: str, verb: str) -> bool:
        """Whether one end of the changes is given."""
        names = [f"{end}_{name}" for name in declared_options(SnapshotOptions)]
        chosen = [name for name in names if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise OptionError(
                f"{' and '.join(chosen)} are given, and each of them says where the changes {verb}; leave out all but "
                "one",
                option=chosen[1],
            )
        return bool(chosen)


@dataclass(frozen=True)
class ChangesOptions(FeedOptions):
    """Options of ``changes``: two snapshots, each by version, time or tag."""

    to_version: int | None = option(
        INTEGER.or_none(), None, help="Last version whose changes are shown; by default the newest."
    )
    to_timestamp: datetime.datetime | None = option(
        MOMENT.or_none(), None, help="End with the newest version of this time or before it.", metavar="TIME"
    )
    to_tag: str | None = option(
        NAME.or_none(), None, help="End with the version that this tag stands for.", metavar="NAME"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("to", "end")

    @property
    def end(self) -> SnapshotOptions:
        """The snapshot that the changes end with."""
        return SnapshotOptions(self.to_version, self.to_timestamp, self.to_tag)


@dataclass(frozen=True)
class StreamOptions(FeedOptions):
    """Options of ``read_stream``."""

    max_versions: int | None = option(
        POSITIVE.or_none(), None, help="Versions of one micro-batch at most; by default all that there are."
    )


@dataclass(frozen=True)
class HistoryOptions(Options):
    """Options of ``history`` and ``merges``."""

    limit: int | None = option(COUNT.or_none(), None, help="Newest versions to show; by default all.")


@dataclass(frozen=True)
class VersionOptions(Options):
    """Options of ``manifest``."""

    version: int | None = option(INTEGER.or_none(), None, help="Version; by default the newest.")
