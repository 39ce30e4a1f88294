"""Tags: names for versions. Each change of a tag is a version of its own, which changes no rows."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from andes_spark.errors import CommitConflictError, OptionError, VersionExpiredError
from andes_spark.log.commit import Draft, commit
from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.readable import check_readable, floor_of
from andes_spark.log.tags import current_tags, with_events
from andes_spark.model.display import Displayed, Listing, moment, time_text
from andes_spark.model.events import QUIET, CurrentTag, Tag
from andes_spark.model.history_options import TagOptions
from andes_spark.model.manifest import Manifest
from andes_spark.model.moments import milliseconds
from andes_spark.table.history.expired import or_expired
from andes_spark.table.history.travel import evaluable
from andes_spark.table.open_table import OpenTable

MOST_TAGS = 1_000
"""Maximum number of tags of a table: each roll-up repeats all."""
_LAST = 253_402_300_799_999
"""Last millisecond of the year 9999."""
_SHOWN = 10


@dataclass(frozen=True, repr=False)
class TableTag(Displayed):
    """A tag of a table, as ``ModTable.tags`` lists it.

    Attributes:
        name: name of the tag.
        version: version that it stands for.
        committed: version of the log that holds the tag.
        expires: time after which the tag keeps no file, UTC; None for never. Until a vacuum the tag can be read.
    """

    name: str
    version: int
    committed: int
    expires: datetime.datetime | None = None

    @classmethod
    def of(cls, tag: CurrentTag) -> TableTag:
        """Create the tag from its event."""
        assert tag.event.version is not None
        return cls(tag.event.name, tag.event.version, tag.committed, moment(tag.event.expires))

    def summary(self) -> str:
        """See ``Displayed``."""
        return f"{self.name}: version {self.version}{_until(self.expires)}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        expires = "never" if self.expires is None else time_text(self.expires)
        return {"tag": self.name, "version": str(self.version), "expires": expires, "tagged by": str(self.committed)}


@dataclass(frozen=True, repr=False)
class TagResult(Displayed):
    """Result of a change of a tag, as ``ModTable.tag`` and ``untag`` return it.

    Attributes:
        name: name of the tag.
        version: version that it stands for; None if it was removed.
        committed: version with the change; None if there was no tag to remove.
        expires: time after which the tag keeps no file, UTC; None for never.
        repeated: whether nothing had to be changed, so that no version was committed.
    """

    name: str
    version: int | None
    committed: int | None
    expires: datetime.datetime | None = None
    repeated: bool = False

    def summary(self) -> str:
        """See ``Displayed``."""
        if self.committed is None:
            return f"there is no tag {self.name}"
        before = "before, " if self.repeated else ""
        if self.version is None:
            return f"tag {self.name} was removed {before}by version {self.committed}"
        until = _until(self.expires)
        return f"version {self.version} was tagged {self.name} {before}by version {self.committed}{until}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"tag": self.summary()}


def tag_version(open_table: OpenTable, name: str, options: TagOptions) -> TagResult:
    """Tag a version; see ``ModTable.tag``."""
    log = open_table.log
    steps = open_table.begin("tag", log.head + 1)
    with steps.step("read the log"):
        open_table.check_log()
        version = _newest_of_rows(log) if options.version is None else options.version
        check_readable(log, version)
        if version < floor_of(log):
            # A pin may have come too late: the files must exist.
            with or_expired(open_table, version):
                evaluable(open_table, open_table.base.snapshot_at(version), version)
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=log.clock())
    requested = _event(name, version, options, clock.now())
    before = current_tags(log).get(name)
    if before is not None and _is_same(before.event, requested) and not (options.replace and requested.duration):
        return _tagged(before, repeated=True)
    if before is not None and not options.replace:
        raise _taken(log.table, before, requested)
    _refuse_more(log, name)

    def admit(manifest: Manifest) -> Manifest | None:
        check_readable(log, version)
        now = current_tags(log).get(name)
        if now == before:
            _refuse_more(log, name)
            return None
        if now is not None and _is_same(now.event, requested):
            return log.manifest(now.committed)
        raise _moved(log.table, name, now) if options.replace or now is None else _taken(log.table, now, requested)

    draft = Draft(operation="tag", table_id=open_table.table_id, events=(requested,))
    try:
        with steps.step("commit"):
            manifest = commit(log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make, head_checked=True)
    except VersionExpiredError:
        if options.version is not None:
            raise
        return tag_version(open_table, name, options)  # the newest version is another one now
    tag = with_events({}, [manifest])[name]
    return _tagged(tag, repeated=manifest.commit_id != draft.commit_id)


def untag(open_table: OpenTable, name: str, *, if_exists: bool) -> TagResult:
    """Remove a tag; see ``ModTable.untag``."""
    log = open_table.log
    steps = open_table.begin("untag", log.head + 1)
    with steps.step("read the log"):
        open_table.check_log()
    before = current_tags(log).get(name)
    if before is None:
        if if_exists:
            return TagResult(name, None, None, repeated=True)
        raise unknown_tag(log, name)
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=log.clock())
    removal = Tag(name=name)

    def admit(manifest: Manifest) -> Manifest | None:
        now = current_tags(log).get(name)
        if now is not None and now != before:
            raise _moved(log.table, name, now)
        return manifest if removal in manifest.events else None

    draft = Draft(operation="untag", table_id=open_table.table_id, events=(removal,))
    with steps.step("commit"):
        manifest = commit(log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make, head_checked=True)
    return TagResult(name, None, manifest.version, repeated=manifest.commit_id != draft.commit_id)


def tags(open_table: OpenTable) -> Listing[TableTag]:
    """Return the tags of a table; see ``ModTable.tags``."""
    open_table.log.refresh()
    return Listing(map(TableTag.of, current_tags(open_table.log).values()))


def tagged_version(log: Log, name: str) -> int:
    """Return the version that a tag stands for now; one request or more.

    Raises:
        OptionError: there is no such tag; ``option``, ``value``, ``suggestion``.
    """
    log.refresh()
    tag = current_tags(log).get(name)
    if tag is None or tag.event.version is None:
        raise unknown_tag(log, name)
    return tag.event.version


def unknown_tag(log: Log, name: str) -> OptionError:
    """Return the error for a tag that does not exist, with names that are close."""
    names = list(current_tags(log))
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    return OptionError(
        f'{log.table}: there is no tag "{name}"; {_advice(names, close)}',
        table=log.table,
        option="tag",
        value=name,
        **({"suggestion": close[0]} if close else {}),
    )


def _advice(names: Collection[str], close: Collection[str]) -> str:
    if not names:
        return "the table has no tags"
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = ", ".join(list(names)[:_SHOWN])
    return f"tags are {shown}" + (f" and {len(names) - _SHOWN} more, see tags()" if len(names) > _SHOWN else "")


def _newest_of_rows(log: Log) -> int:
    """Newest version that is more than a change of tags or a vacuum: later ones have the same rows.

    The floor, if it is above that.
    """
    last, floor = log.head, floor_of(log)
    while last > floor:
        first = last - last % ROLL_UP_INTERVAL
        for manifest in reversed(log.manifests(first, last)):
            if not manifest.events or not all(isinstance(event, QUIET) for event in manifest.events):
                return max(floor, manifest.version)
        last = first - 1
    return floor


def _event(name: str, version: int, options: TagOptions, now: int) -> Tag:
    """Event of a tag.

    Raises:
        OptionError: it would expire at once, or in no year that can be shown.
    """
    if options.expires is None:
        return Tag(name=name, version=version)
    duration = None
    if isinstance(options.expires, datetime.timedelta):
        duration = options.expires // datetime.timedelta(milliseconds=1)
        expires = now + duration
    else:
        expires = milliseconds(options.expires, "expires")
    if not now < expires <= _LAST:
        raise OptionError(
            "expires is a duration above zero, or a time in the future and before the year 10000; leave it out for a "
            "tag that never expires",
            option="expires",
            value=options.expires,
        )
    return Tag(name=name, version=version, expires=expires, duration=duration)


def _is_same(stored: Tag, requested: Tag) -> bool:
    """Whether a tag is as it is asked for; a duration counts from the first time."""
    same = (stored.version, stored.duration) == (requested.version, requested.duration)
    return same and (requested.duration is not None or stored.expires == requested.expires)


def _tagged(tag: CurrentTag, *, repeated: bool) -> TagResult:
    return TagResult(tag.event.name, tag.event.version, tag.committed, moment(tag.event.expires), repeated)


def _refuse_more(log: Log, name: str) -> None:
    known = current_tags(log)
    if name not in known and len(known) >= MOST_TAGS:
        raise OptionError(
            f"{log.table}: there are {len(known):,} tags, and a table has at most {MOST_TAGS:,}; remove one by untag()",
            table=log.table,
            option="name",
            value=name,
        )


def _taken(table: str, tag: CurrentTag, requested: Tag) -> OptionError:
    stored = tag.event
    state = f"stands for version {stored.version}"
    if stored.version == requested.version:
        state = f"is on version {stored.version} already, and expires {_when(stored.expires)}"
    return OptionError(
        f"{table}: the tag {stored.name} {state}, by version {tag.committed}; replace=True changes it",
        table=table,
        option="name",
        value=stored.name,
    )


def _moved(table: str, name: str, tag: CurrentTag | None) -> CommitConflictError:
    now = "it is removed" if tag is None else f"it stands for version {tag.event.version}"
    return CommitConflictError(
        f"{table}: the tag {name} was changed by another writer at the same time, now {now}; try again if that is "
        "not what it should be",
        table=table,
    )


def _until(expires: datetime.datetime | None) -> str:
    return "" if expires is None else f", expires {time_text(expires)}"


def _when(expires: int | None) -> str:
    return "never" if expires is None else time_text(moment(expires))
