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
    ├ ForeignWriteError               another writer changed the rows of the base, or an entry of a catalog
    ├ DamagedError                    what is stored is not what was written: LogDamagedError, FileDamagedError
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
    """An argument, option or name cannot be used.

    Attributes:
        option: name of the argument or option.
        value: value that was passed.
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
    """Columns of a batch do not fit the table.

    Attributes:
        missing: names of the columns of the table that the batch lacks.
        extra: names of the columns of the batch that the table lacks.
        wrong_type: by name of the column, the type that it has and the type that it should have.
        duplicate: names that several columns of the batch have.
        column: name of the column with a value that does not fit.
        value: value that does not fit.
        keys: keys of rows with such values.
        path: path of the file with such values.
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
        version: version that was requested.
        newest: newest version that was committed.
    """

    version: int | None = None
    newest: int | None = None


class VersionExpiredError(NotFoundError):
    """The version is below the floor: its mods are vacuumed.

    Attributes:
        version: version that was requested.
        floor: oldest version that can be read.
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
    """A batch has more bad mods than ``max_quarantined``.

    Attributes:
        quarantined: number of bad mods.
        reasons: number of bad mods by reason.
        examples: some of the rows, as text.
    """

    quarantined: int | None = None
    reasons: Mapping[str, int] | None = None
    examples: tuple[str, ...] | None = None


class DuplicateKeyError(OfKeys, AndesError):
    """Several rows have the same primary key."""


class SequenceTieError(OfKeys, AndesError):
    """A batch has two different mods of one key at one sequence."""


class BatchConflictError(AndesError):
    """The id of a batch was applied before, with other content.

    Attributes:
        version: version that has the batch.
        batch_id: source and id of the batch.
    """

    version: int | None = None
    batch_id: Any = None


class UnsupportedTableError(FromStore, FromFeed, AndesError):
    """This release does not handle a format, table feature or type.

    Attributes:
        feature: name of the format, feature or type.
        column: name of the column.
        version: version that uses the feature.
        keys: keys of rows of a change feed that need it.
        supported: names of what is supported instead.
    """

    feature: str | None = None
    column: str | None = None
    version: int | None = None
    keys: Sequence[Any] | None = None
    supported: Any = None


class ForeignWriteError(AndesError):
    """A writer that is not this library changed the rows of the base, or what shows the table to others.

    Attributes:
        delta_version: version of the Delta table with the change.
        operation: name of the operation, as its writer noted it.
        problems: what is not as this library left it, one text each.
    """

    delta_version: int | None = None
    operation: str | None = None
    problems: tuple[str, ...] | None = None


class DamagedError(FromStore, FromFeed, AndesError):
    """A stored object differs from the one that was written."""


class LogDamagedError(DamagedError):
    """The log has a hole, a broken chain or an edited manifest.

    Attributes:
        version: version of the log.
        applied: version of the log that the base contains.
        delta_version: version of the base's Delta table.
    """

    version: int | None = None
    applied: int | None = None
    delta_version: int | None = None


class FileDamagedError(DamagedError):
    """A data file has a wrong checksum, row count or form.

    Attributes:
        expected: checksum that the file should have.
        actual: checksum that the file has.
    """

    expected: str | None = None
    actual: str | None = None


class CommitError(AndesError):
    """A commit did not happen, or may not have.

    Attributes:
        version: version of the log that was to be committed.
        delta_version: version of the base's Delta table that was to be committed.
        commit_id: id of the commit.
    """

    version: int | None = None
    delta_version: int | None = None
    commit_id: str | None = None


class CommitConflictError(CommitError):
    """Other writers committed first, each time that the commit was tried."""

    retryable = True


class AppendError(CommitError):
    """Batches of an appender failed.

    Attributes:
        failures: pairs of the id of a batch, None without one, and its error.
    """

    failures: tuple[tuple[Any, BaseException | None], ...] | None = None


class CommitUnknownError(CommitError):
    """The outcome of a commit stayed unknown for ``Settings.commit_seconds``; the operation can be repeated."""

    retryable = True


class MergeBlockedError(AndesError):
    """The mods of ``version`` cannot be written to the base, so that no later version can be merged.

    Attributes:
        version: version that stops merges.
    """

    version: int | None = None


class ClockError(AndesError):
    """This machine's clock, or the time of the newest version, is far from the store's.

    Attributes:
        off_seconds: seconds by which the clock is ahead of the store's; below 0 if it is behind.
        version: version that is dated in the future, if it is not this machine's clock.
    """

    off_seconds: float | None = None
    version: int | None = None


class MissingPackageError(AndesError, ImportError):
    """A package that this call needs is not installed where it runs.

    Attributes:
        package: name of the package.
    """

    package: str | None = None


class TaskError(AndesError):
    """A task of Spark failed otherwise than by an error of this library, which keeps its class.

    Attributes:
        step: name of the step.
    """

    step: str | None = None


class StorageError(FromStore, AndesError):
    """A request to the store failed, for a reason that no other error of the store names."""


class StoreUnavailableError(StorageError):
    """The store did not answer, or failed, for ``Settings.store_seconds``."""

    retryable = True


class ThrottledError(StoreUnavailableError):
    """The store asked for fewer requests, for ``Settings.store_seconds``."""


class AccessDeniedError(StorageError):
    """The store refused a request: credentials or permissions are missing or wrong."""


class StorageFullError(StorageError):
    """The store has no space left for the table."""
