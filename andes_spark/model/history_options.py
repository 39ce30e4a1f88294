"""Options of the verbs on the history of a table; see ``model.options``."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from andes_spark.errors import OptionError
from andes_spark.model.moments import EXPIRY
from andes_spark.model.options import FLAG, INTEGER, Kind, Options, option
from andes_spark.model.read_options import SnapshotOptions

_NAME = re.compile(r"(?!\d+\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

TAG_NAME = Kind(
    "a name of 1 to 100 letters, digits, dots, dashes and underscores (ASCII) that begins with a letter or digit and "
    "is no number",
    lambda value: isinstance(value, str) and _NAME.fullmatch(value) is not None,
    str,
)


@dataclass(frozen=True)
class RestoreOptions(SnapshotOptions):
    """Options of ``restore``.

    Raises:
        OptionError: no version is said, or more than one; ``option``.
    """

    merge: bool | None = option(FLAG.or_none(), None, help="Merge now or not; by default unless merges are manual.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version is None and self.timestamp is None and self.tag is None:
            raise OptionError("say which version to restore: by version, timestamp or tag", option="version")


@dataclass(frozen=True)
class TagOptions(Options):
    """Options of ``tag``."""

    version: int | None = option(
        INTEGER.or_none(), None, help="Version to tag; by default the newest that is more than a change of tags."
    )
    expires: datetime.timedelta | datetime.datetime | None = option(
        EXPIRY.or_none(),
        None,
        help='Duration or time after which the tag keeps no file: "90 days", "2027-11-01T00:00:00Z"; by default never.',
        metavar="WHEN",
    )
    replace: bool = option(FLAG, False, help="Move a tag that exists, or change when it expires.")


@dataclass(frozen=True)
class UntagOptions(Options):
    """Options of ``untag``."""

    if_exists: bool = option(FLAG, False, help="Do nothing if there is no such tag.")
