"""The verbs of ``ModTable`` on its versions: lists of them, their names, and the way back to one."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from andes_spark.model.display import Listing
from andes_spark.model.history import HistoryEntry, MergeEntry
from andes_spark.model.history_options import TAG_NAME, RestoreOptions, TagOptions, UntagOptions
from andes_spark.model.manifest import Manifest
from andes_spark.model.options import INTEGER, NAME, require
from andes_spark.model.read_options import HistoryOptions
from andes_spark.table.about import about
from andes_spark.table.history.restore import RestoreResult, restore
from andes_spark.table.history.tags import TableTag, TagResult, tag_version, tags, untag
from andes_spark.table.observed import observe
from andes_spark.table.verbs import reports

if TYPE_CHECKING:
    from andes_spark.table.open_table import OpenTable


class TableVersions:
    """The verbs that list the versions of a table, name them by tags, and restore them."""

    _open_table: OpenTable

    def history(self, *, limit: int | None = None) -> Listing[HistoryEntry]:
        """Return the versions, newest first. Reads the log only, and runs no Spark job.

        Args:
            limit: maximum number of versions; by default all.
        """
        options = HistoryOptions.checked(limit=limit)
        return observe(self._open_table, "history", lambda: reports.history(self._open_table, limit=options.limit))

    def merges(self, *, limit: int | None = None) -> Listing[MergeEntry]:
        """Return the merges of the base with their counts, newest first; ``limit`` as for ``history``.

        Reads the logs only, and runs no Spark job.
        """
        return reports.merges(self._open_table, limit=HistoryOptions.checked(limit=limit).limit)

    def manifest(self, version: int) -> Manifest:
        """Return the manifest of a version, as it is stored. Runs no Spark job.

        Raises:
            NoSuchVersionError: the version does not exist.
        """
        version = require("version", version, INTEGER)
        if version > self._open_table.log.head:
            self._open_table.log.refresh()
        return self._open_table.log.manifest(version)

    def restore(
        self,
        version: int | None = None,
        *,
        timestamp: str | datetime.date | None = None,
        tag: str | None = None,
        merge: bool | None = None,
    ) -> RestoreResult:
        """Give the table the rows of an earlier version again, as a new version from which it goes on.

        The versions between take no part any more: neither their mods and truncates nor what they set aside. Reads of
        these versions are as before, and any of them can be restored later. Their batch ids stay known: a batch that is
        to be applied again needs a new one. Runs Spark jobs only for the merge, as ``merge`` does.

        Args:
            version: version below the newest; or by ``timestamp`` or ``tag``, as for ``to_arrow``.
            timestamp: the newest version of this time or before it.
            tag: the version that this tag stands for.
            merge: merge now or not; by default unless merges are manual. Until then each read starts from an older
                state of the base.

        Raises:
            OptionError: the version is the newest; none or several of version, timestamp and tag.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
            CommitConflictError: another writer committed a version meanwhile, which would be left out unseen.
        """
        options = RestoreOptions.checked(version=version, timestamp=timestamp, tag=tag, merge=merge)
        return observe(self._open_table, "restore", lambda: restore(self._open_table, options))

    def tag(
        self,
        name: str,
        version: int | None = None,
        expires: datetime.timedelta | datetime.date | str | None = None,
        *,
        replace: bool = False,
    ) -> TagResult:
        """Give a version a name, as a new version that changes no rows. Runs no Spark job.

        A call that repeats what is stored commits nothing. Of writers that set a tag at the same time, one succeeds.

        Args:
            name: 1 to 100 ASCII letters, digits, dots, dashes and underscores; it begins with a letter or digit, and is
                no number.
            version: version to tag; by default the newest, without versions after it that only change tags.
            expires: duration such as ``"90 days"``, or time, after which the tag keeps no file; by default never. The
                tag can be read until a vacuum removes what it needs.
            replace: move a tag that exists, or change its expiry: a duration counts from now again.

        Raises:
            OptionError: the name is not allowed, or taken without ``replace``; an expiry in the past.
            NoSuchVersionError, VersionExpiredError: the version does not exist, or is not kept any more.
            CommitConflictError: another writer changed the tag at the same time.
        """
        options = TagOptions.checked(version=version, expires=expires, replace=replace)
        with about(self._open_table.table):
            require("name", name, TAG_NAME)
            return observe(self._open_table, "tag", lambda: tag_version(self._open_table, name, options))

    def untag(self, name: str, *, if_exists: bool = False) -> TagResult:
        """Remove a tag, as a new version. Runs no Spark job.

        Args:
            name: name of the tag.
            if_exists: do nothing if there is no such tag.

        Raises:
            OptionError: there is no such tag.
            CommitConflictError: another writer moved the tag at the same time.
        """
        options = UntagOptions.checked(if_exists=if_exists)
        require("name", name, NAME)
        return observe(self._open_table, "untag", lambda: untag(self._open_table, name, if_exists=options.if_exists))

    def tags(self) -> Listing[TableTag]:
        """Return the tags, in the order of their names; one request or more, and no Spark job."""
        return tags(self._open_table)
