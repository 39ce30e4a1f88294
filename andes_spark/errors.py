"""Every error of the library, in one tree.

    AndesError
    ├ OptionError                     also ValueError: an argument, option or name that cannot be used
    ├ SchemaMismatchError             columns of a batch against those of the table
    ├ NotFoundError
    │  ├ NoSuchTableError
    │  ├ NoSuchVersionError
    │  └ VersionExpiredError
    ├ TableExistsError
    ├ BadModsError                    more bad mods than ``max_quarantined``
    ├ SequenceTieError                two different mods of one key at one sequence in one batch
    ├ DuplicateKeyError               rows of an initial load, or of a base, that share a key
    ├ BatchConflictError              a batch id seen before with other content
    ├ UnsupportedTableError           a format, feature or type that this release does not handle
    ├ ForeignWriteError               another writer changed the rows of the base
    ├ DamagedError                    what is stored is not what was written
    │  ├ LogDamagedError
    │  └ FileDamagedError
    ├ CommitError
    │  ├ CommitConflictError          retryable: another writer was first, too often
    │  └ CommitUnknownError           nobody can say yet whether the commit happened
    ├ MissingPackageError             a package that this call needs is not installed
    ├ TaskError                       a part of the work failed in a worker
    └ StorageError
       ├ ThrottledError               retryable
       ├ AccessDeniedError
       └ StorageFullError

Every error carries keyword fields (``table``, ``version``, ``keys``, ``column`` ...), all of them in
``fields`` and as attributes; an attribute that was not given is ``None``. Errors survive pickling, so
that a task can raise them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class AndesError(Exception):
    """Root of the tree: catch it to catch everything that this library raises on purpose."""

    retryable = False

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        # Only asked for names that normal look-up did not find. Dunder and private names must fail, or
        # copy and pickle would take None for a method.
        if name.startswith("_") or name in ("fields", "message"):
            raise AttributeError(name)
        return self.fields.get(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.fields))


def _rebuild(kind: type[AndesError], message: str, fields: dict[str, Any]) -> AndesError:
    return kind(message, **fields)


class OptionError(AndesError, ValueError):
    """An argument, option or name that cannot be used."""


class SchemaMismatchError(AndesError):
    """Columns of a batch that do not fit the table: ``missing``, ``extra``, ``wrong_type``."""


class NotFoundError(AndesError):
    """Something that was named does not exist."""


class NoSuchTableError(NotFoundError):
    """The folder holds no table of this library."""


class NoSuchVersionError(NotFoundError):
    """The version was never committed."""


class VersionExpiredError(NotFoundError):
    """The version is below the floor: its mods are vacuumed."""


class TableExistsError(AndesError):
    """The folder already holds a table."""


class BadModsError(AndesError):
    """More bad mods than ``max_quarantined``; ``reasons`` counts them, ``examples`` shows some."""


class SequenceTieError(AndesError):
    """Two different mods of one key at one sequence in one batch; ``keys`` names some."""


class DuplicateKeyError(AndesError):
    """Rows that share a primary key; ``keys`` names some."""


class BatchConflictError(AndesError):
    """A batch id that was applied before, with other content."""


class UnsupportedTableError(AndesError):
    """A format, table feature or type that this release does not handle; ``feature`` names it."""


class ForeignWriteError(AndesError):
    """A writer that is not this library changed the rows of the base; ``delta_version`` names where."""


class DamagedError(AndesError):
    """What is stored is not what was written."""


class LogDamagedError(DamagedError):
    """A hole, a broken chain or an edited manifest in the log."""


class FileDamagedError(DamagedError):
    """A data file whose checksum, row count or form is wrong; ``path`` names it."""


class CommitError(AndesError):
    """A commit that did not happen, or may not have."""


class CommitConflictError(CommitError):
    """Other writers were first, more often than we tried."""

    retryable = True


class CommitUnknownError(CommitError):
    """The store did not say whether the commit happened: read the log before trying again."""


class MissingPackageError(AndesError, ImportError):
    """A package that this call needs is not installed where it runs; ``package`` names it."""


class TaskError(AndesError):
    """A part of the work failed in a worker."""


class StorageError(AndesError):
    """The store failed; ``path`` names the object."""


class ThrottledError(StorageError):
    """The store asked us to slow down, longer than its client retries."""

    retryable = True


class AccessDeniedError(StorageError):
    """The store refused us."""


class StorageFullError(StorageError):
    """No space left where the table lives."""


@contextmanager
def about(table: str) -> Iterator[None]:
    """Let errors of a batch or an option that are raised inside, where no table is known, say which table it is."""
    try:
        yield
    except (SchemaMismatchError, SequenceTieError, OptionError) as error:
        if error.table is not None:
            raise
        message = error.message if error.message.startswith(table) else f"{table}: {error.message}"
        raise type(error)(message, **{**error.fields, "table": table}) from error
