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
    │  ├ AppendError                  batches of an appender, each with its error
    │  └ CommitUnknownError           retryable: nobody can say yet whether the commit happened
    ├ MergeBlockedError               a version whose mods cannot be written to the base
    ├ ClockError                      a clock, or the time of a version, that is far from the store's
    ├ MissingPackageError             a package that this call needs is not installed
    ├ TaskError                       a part of the work failed in a worker
    └ StorageError
       ├ StoreUnavailableError        retryable: the store does not answer, or fails
       │  └ ThrottledError            the store asks for fewer requests
       ├ AccessDeniedError
       └ StorageFullError

Each class declares fields for programs: attributes, None if it lacks them; ``fields`` contains those that it has. An
undeclared name is a TypeError where the error is raised. Errors can be pickled, so that a task can raise them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar


class AndesError(Exception):
    """Root of the tree: catch it to catch everything that this library raises on purpose.

    Attributes:
        message: description of the failure, its object and the remedy.
        fields: the declared fields that this error has, by name.
        table: URL of the table, or name of the table in a change feed.
        retryable: whether the same call may succeed if it is made again.
    """

    message: str
    fields: dict[str, Any]
    table: str | None = None
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **fields: Any) -> None:
        unknown = sorted(fields.keys() - declared_fields(type(self)))
        if unknown:
            raise TypeError(f"{type(self).__name__} declares no field {unknown[0]!r}")
        super().__init__(message)
        self.message = message
        self.fields = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), self.message, **self.fields), ())


def declared_fields(kind: type[AndesError]) -> frozenset[str]:
    """Return the names of the fields of errors of a class: its annotated attributes and those of its bases."""
    names = {name for base in kind.__mro__ for name in inspect.get_annotations(base)}
    return frozenset(names - {"message", "fields", "retryable"})


class FromStore:
    """Fields of errors that a store can be the origin of.

    Attributes:
        url: URL of the folder.
        path: path of the object in it, or of a file that was given.
        status: status of the HTTP answer.
        code: error code of the S3 answer.
        errno: error number of the operating system.
    """

    url: str | None = None
    path: str | None = None
    status: int | None = None
    code: str | None = None
    errno: int | None = None


class FromFeed:
    """Fields of errors that a change feed can be the origin of.

    Attributes:
        line: number of the line in the feed, from 1.
        lsn: log sequence number of the change.
    """

    line: int | None = None
    lsn: int | None = None


class OfKeys:
    """Fields of errors about some keys of a table.

    Attributes:
        keys: some of the keys, with their sequences if these matter.
    """

    keys: Sequence[Any] | None = None


class OptionError(FromStore, FromFeed, AndesError, ValueError):
    """An argument, option or name that cannot be used.

    Attributes:
        option: name of the argument or option.
        value: its value.
        column: name of the column.
        problems: everything that is wrong, one text each.
        position: position of the first wrong character in a text, from 0.
        suggestion: a known name that is close to an unknown one.
        settings: Spark settings that are needed, with their values.
    """

    option: str | None = None
    value: Any = None
    column: str | None = None
    problems: tuple[str, ...] | None = None
    position: int | None = None
    suggestion: str | None = None
    settings: Mapping[str, str] | None = None


class SchemaMismatchError(FromFeed, AndesError):
    """Columns of a batch that do not fit the table.

    Attributes:
        missing: columns of the table that the batch lacks.
        extra: columns of the batch that the table lacks.
        wrong_type: by column, the type it has and the type it should have.
        duplicate: names that several columns of the batch have.
        column: name of the column with a value that does not fit.
        value: that value.
        keys: keys of rows with such values.
        path: file with such values.
    """

    missing: tuple[str, ...] | None = None
    extra: tuple[str, ...] | None = None
    wrong_type: Mapping[str, Any] | None = None
    duplicate: tuple[str, ...] | None = None
    column: str | None = None
    value: Any = None
    keys: Sequence[Any] | None = None
    path: str | None = None


class NotFoundError(FromStore, AndesError):
    """Something that was named does not exist."""


class NoSuchTableError(NotFoundError):
    """The folder holds no table of this library."""


class NoSuchVersionError(NotFoundError):
    """The version was never committed.

    Attributes:
        version: the version asked for.
        newest: the newest one that there is.
    """

    version: int | None = None
    newest: int | None = None


class VersionExpiredError(NotFoundError):
    """The version is below the floor: its mods are vacuumed.

    Attributes:
        version: the version asked for.
        floor: the oldest readable one.
    """

    version: int | None = None
    floor: int | None = None


class TableExistsError(AndesError):
    """The folder already holds a table, or other files.

    Attributes:
        paths: some of the files in it.
    """

    paths: tuple[str, ...] | None = None


class BadModsError(AndesError):
    """More bad mods than ``max_quarantined``.

    Attributes:
        quarantined: number of bad mods.
        reasons: number of bad mods by reason.
        examples: some of the rows, as text.
    """

    quarantined: int | None = None
    reasons: Mapping[str, int] | None = None
    examples: tuple[str, ...] | None = None


class DuplicateKeyError(OfKeys, AndesError):
    """Rows that share a primary key."""


class SequenceTieError(OfKeys, AndesError):
    """Two different mods of one key at one sequence in one batch."""


class BatchConflictError(AndesError):
    """A batch id that was applied before, with other content.

    Attributes:
        version: the version that has the batch.
        batch_id: its source and id.
    """

    version: int | None = None
    batch_id: Any = None


class UnsupportedTableError(FromStore, FromFeed, AndesError):
    """A format, table feature or type that this release does not handle.

    Attributes:
        feature: its name.
        column: name of the column.
        version: the version that uses it.
        keys: keys of rows of a change feed that need it.
        supported: supported alternative.
    """

    feature: str | None = None
    column: str | None = None
    version: int | None = None
    keys: Sequence[Any] | None = None
    supported: Any = None


class ForeignWriteError(AndesError):
    """A writer that is not this library changed the rows of the base.

    Attributes:
        delta_version: version of the Delta table with that change.
        operation: name of the operation, as its writer noted it.
    """

    delta_version: int | None = None
    operation: str | None = None


class DamagedError(FromStore, FromFeed, AndesError):
    """A stored object differs from the one that was written."""


class LogDamagedError(DamagedError):
    """A hole, a broken chain or an edited manifest in the log.

    Attributes:
        version: version of the log.
        applied: version of the log that the base contains.
        delta_version: version of the base's Delta table.
    """

    version: int | None = None
    applied: int | None = None
    delta_version: int | None = None


class FileDamagedError(DamagedError):
    """A data file whose checksum, row count or form is wrong.

    Attributes:
        expected: checksum that the file should have.
        actual: checksum that it has.
    """

    expected: str | None = None
    actual: str | None = None


class CommitError(AndesError):
    """A commit that did not happen, or may not have.

    Attributes:
        version: version of the log that was to be committed.
        delta_version: version of the base's Delta table that was to be committed.
        commit_id: id of the commit.
    """

    version: int | None = None
    delta_version: int | None = None
    commit_id: str | None = None


class CommitConflictError(CommitError):
    """Other writers were first, more often than we tried."""

    retryable = True


class AppendError(CommitError):
    """Batches of an appender failed.

    Attributes:
        failures: id of each batch, None without one, and its error.
    """

    failures: tuple[tuple[Any, BaseException | None], ...] | None = None


class CommitUnknownError(CommitError):
    """The outcome of a commit stayed unknown for ``Settings.commit_seconds``; the operation can be repeated."""

    retryable = True


class MergeBlockedError(AndesError):
    """The mods of ``version`` cannot be written to the base, so that no later version can be merged.

    Attributes:
        version: the version that stops merges.
    """

    version: int | None = None


class ClockError(AndesError):
    """This machine's clock, or the time of the newest version, is far from the store's.

    Attributes:
        off_seconds: seconds ahead of the store's; below 0 where it is behind.
        version: the version that is dated in the future, where it is not this machine's clock.
    """

    off_seconds: float | None = None
    version: int | None = None


class MissingPackageError(AndesError, ImportError):
    """A package that this call needs is not installed where it runs.

    Attributes:
        package: its name.
    """

    package: str | None = None


class TaskError(AndesError):
    """A part of the work failed in a worker.

    Attributes:
        step: name of the step.
    """

    step: str | None = None


class StorageError(FromStore, AndesError):
    """The store failed."""


class StoreUnavailableError(StorageError):
    """The store did not answer, or failed, for ``Settings.store_seconds``."""

    retryable = True


class ThrottledError(StoreUnavailableError):
    """The store asked for fewer requests, for ``Settings.store_seconds``."""


class AccessDeniedError(StorageError):
    """The store refused us."""


class StorageFullError(StorageError):
    """No space left where the table lives."""
