"""Limits of the Glue API, checked before a request is sent, so that what is too long is named.

They are those of the model of the API (``TableInput`` in "AWS Glue API: Tables"), which botocore does not check. It
declares no maximum number of columns.
"""

from __future__ import annotations

import re

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.sync.glue.client import Json
from andes_spark.sync.glue.columns import refusal
from andes_spark.sync.glue.names import MOST_NAME

MOST_COMMENT = 255
MOST_TYPE = 131_072
MOST_LOCATION = 2_056
MOST_VALUE = 512_000
MOST_DESCRIPTION = 2_048
_LINE = re.compile("[\t -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
"""What names, comments and types may hold: no line breaks and no other control characters."""
_LINES = re.compile("[\t\r\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def check_limits(table_input: Json) -> None:
    """Check the entry of a table against the limits of the API.

    Raises:
        UnsupportedTableError: a column, comment or parameter that Glue cannot hold; ``feature``, ``column``.
        OptionError: the table's comment, or its folder, is too long.
    """
    for column in table_input["StorageDescriptor"]["Columns"]:
        _check_column(column)
    for name, value in table_input["Parameters"].items():
        if len(value) > MOST_VALUE:
            raise UnsupportedTableError(
                f"the parameter {name} has {len(value):,} characters, and Glue allows {MOST_VALUE:,}; the table has "
                "too many columns for Glue",
                feature=f"glue: parameter {name}",
            )
    location = table_input["StorageDescriptor"]["Location"]
    if len(location) > MOST_LOCATION:
        raise OptionError(
            f"the folder's URL has {len(location):,} characters, and Glue allows {MOST_LOCATION:,}; move the table",
            option="path",
        )
    description = table_input.get("Description") or ""
    if len(description) > MOST_DESCRIPTION or _LINES.fullmatch(description) is None:
        raise OptionError(
            f"the table's comment has {len(description):,} characters, and Glue allows {MOST_DESCRIPTION:,} without "
            "control characters; shorten it with alter",
            option="comment",
        )


def _check_column(column: Json) -> None:
    name = column["Name"]
    limits = {"name": (name, MOST_NAME), "type": (column["Type"], MOST_TYPE)}
    limits["comment"] = (column.get("Comment", ""), MOST_COMMENT)
    for part, (text, most) in limits.items():
        if len(text) > most:
            raise refusal(name, f"{part} length", f"has a {part} of {len(text):,} characters, more than {most:,}")
        if _LINE.fullmatch(text) is None:
            raise refusal(name, f"{part} characters", f"has a {part} with a line break or a control character")
