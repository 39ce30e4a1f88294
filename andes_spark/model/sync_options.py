"""Options of the verbs that show a table to other systems; see ``model.options``."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from andes_spark.errors import OptionError
from andes_spark.model.durations import parse_duration
from andes_spark.model.options import COUNT, FLAG, NAME, TEXTS, Kind, Options, choice, option
from andes_spark.model.upkeep_options import DURATION

ICEBERG_FORMATS = (2, 3)
"""Versions of Iceberg's specification that can be written."""
_FORMAT = Kind(
    "a version of Iceberg's specification: 2 or 3",
    lambda value: COUNT.fits(value) and value in ICEBERG_FORMATS,
    int,
    "count",
)


@dataclass(frozen=True)
class SyncIcebergOptions(Options):
    """Options of ``sync_iceberg``."""

    format: int | None = option(
        _FORMAT.or_none(),
        None,
        help="Version of Iceberg's specification: 2 has position deletes, 3 vectors; by default that of the face.",
    )
    name: str | None = option(
        NAME.or_none(), None, help='Name in a catalog of Iceberg, with its namespace: "sales.orders".'
    )
    catalog: str | None = option(
        NAME.or_none(), None, help="Name of the catalog in PyIceberg's configuration; by default its default one."
    )
    catalog_properties: Mapping[str, str] | None = option(
        TEXTS.or_none(),
        None,
        help="Properties of the catalog, as PyIceberg's load_catalog takes them, before its configuration.",
        flag="--catalog-property",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for option_name in ("catalog", "catalog_properties"):
            if self.name is None and getattr(self, option_name):
                raise OptionError(f"{option_name} needs a name in the catalog as well", option="name")
        if self.name is not None and ("." not in self.name or not all(self.name.split("."))):
            raise OptionError(
                f'name has a namespace and the name of the table, such as "sales.orders", and {self.name!r} was given',
                option="name",
                value=self.name,
            )


_FRESHNESS = Kind(
    'a duration such as "15 minutes"',
    DURATION.fits,
    lambda value: value if isinstance(value, datetime.timedelta) else parse_duration(value, option="freshness"),
)


@dataclass(frozen=True)
class SyncGlueOptions(Options):
    """Options of ``sync_glue``."""

    as_: Literal["delta", "iceberg", "both"] = option(
        choice("delta", "iceberg", "both"), "delta", help="Form of the table in Glue.", flag="--as"
    )
    iceberg_name: str | None = option(
        NAME.or_none(),
        None,
        help='Name of the Iceberg form beside the Delta form; by default that of the table and "_iceberg".',
        metavar="DB.TABLE",
    )
    create_database: bool = option(FLAG, False, help="Create the database if there is none.")
    freshness: datetime.timedelta | None = option(
        _FRESHNESS.or_none(),
        None,
        help="Merge first if mods have been pending for this time; by default what is merged is shown.",
        metavar="DURATION",
    )
    adopt: bool = option(
        FLAG, False, help="Take over an entry of the same folder and form that others wrote or edited."
    )
    endpoint: str | None = option(NAME.or_none(), None, help="URL of the Glue API; by default that of the region.")
    region: str | None = option(
        NAME.or_none(), None, help="Region of the catalog; by default that of the storage options or the environment."
    )
    dry_run: bool = option(FLAG, False, help="Only say what would change; nothing is written.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iceberg_name is not None and self.as_ != "both":
            raise OptionError('iceberg_name is for as_="both"; else the table has one name', option="iceberg_name")


@dataclass(frozen=True)
class SyncSqlOptions(Options):
    """Options of ``sync_sql``."""

    on_schema_change: Literal["additive", "freeze", "ignore_new"] = option(
        choice("additive", "freeze", "ignore_new"),
        "additive",
        help="What to do about columns that are new or wider: add and widen them, refuse them, or leave new ones out.",
    )
    reload: bool = option(FLAG, False, help="Load all rows anew, in the place of the rows delivered before.")
    count_rows: bool = option(
        FLAG, False, help="Count the rows of the target first, to find rows that others added or removed."
    )
    stage: str | None = option(
        NAME.or_none(),
        None,
        help="For Redshift: folder on S3, in its region, for the files that it loads; deleted afterwards.",
        metavar="S3-URL",
    )
    iam_role: str | None = option(
        NAME.or_none(),
        None,
        help='For Redshift: ARN of the role with which it reads the stage, or "default".',
        metavar="ARN",
    )
