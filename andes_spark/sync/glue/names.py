"""Names of tables in the Glue Data Catalog."""

from __future__ import annotations

import re
from dataclasses import dataclass

from andes_spark.errors import OptionError

MOST_NAME = 255
"""Maximum length of a name: ``NameString`` in the model of the Glue API."""
_PART = re.compile(r"[a-z0-9_][^\x00-\x1f.A-Z/\\\"'`]*")


@dataclass(frozen=True)
class GlueName:
    """Name of a table in Glue.

    Attributes:
        database: name of the database.
        table: name of the table in it.
    """

    database: str
    table: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}"

    @classmethod
    def parse(cls, text: str, *, option: str = "name") -> GlueName:
        """Read ``database.table``.

        Raises:
            OptionError: not two names, or names that Glue does not store as they are: it folds them to lower case.
        """
        parts = text.split(".")
        if len(parts) != 2 or not all(parts):
            raise OptionError(
                f'{option}: "{text}" is not a database and a table, such as "sales.orders"', option=option, value=text
            )
        for part in parts:
            check_part(part, option)
        return cls(*parts)


def check_part(part: str, option: str) -> None:
    """Check the name of a database or of a table.

    Raises:
        OptionError: the name is too long, or has characters that Glue does not keep.
    """
    if len(part) > MOST_NAME:
        raise OptionError(
            f"{option}: the name {part[:20]}... has {len(part)} characters; Glue allows {MOST_NAME}",
            option=option,
            value=part,
        )
    if part != part.lower():
        raise OptionError(
            f'{option}: Glue stores names in lower case; write "{part.lower()}" for "{part}"',
            option=option,
            value=part,
            suggestion=part.lower(),
        )
    if _PART.fullmatch(part) is None:
        raise OptionError(
            f"{option}: {part!r} cannot be the name of a table in Glue; use letters, digits and _",
            option=option,
            value=part,
        )
