"""The table in errors about a batch or an option."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from andes_spark.errors import OptionError, SchemaMismatchError, SequenceTieError


@contextmanager
def about(table: str) -> Iterator[None]:
    """Add the table to errors about a batch or an option that were raised without it."""
    try:
        yield
    except (SchemaMismatchError, SequenceTieError, OptionError) as error:
        if error.table is not None:
            raise
        message = error.message if error.message.startswith(table) else f"{table}: {error.message}"
        raise type(error)(message, **{**error.fields, "table": table}) from error
