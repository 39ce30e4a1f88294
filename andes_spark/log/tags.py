"""Current tags of a table: from the newest roll-up and the manifests since, which an open table has in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.model.events import CurrentTag, Tag
from andes_spark.model.manifest import Manifest


def current_tags(log: Log) -> dict[str, CurrentTag]:
    """Return the tags as of the head, by name, in the order of names."""
    roll_up = log.manifest(log.last_roll_up).roll_up
    rolled = {tag.event.name: tag for tag in roll_up.tags} if roll_up is not None else {}
    return with_events(rolled, log.manifests(log.last_roll_up, log.head))


def with_events(tags: Mapping[str, CurrentTag], manifests: Iterable[Manifest]) -> dict[str, CurrentTag]:
    """Return the tags after the events of later manifests, oldest first."""
    current = dict(tags)
    for manifest in manifests:
        for event in manifest.events:
            if isinstance(event, Tag):
                current.pop(event.name, None)
                if event.version is not None:
                    current[event.name] = CurrentTag(committed=manifest.version, event=event)
    return dict(sorted(current.items()))


def tags_before(log: Log, version: int) -> dict[str, CurrentTag]:
    """Return the tags as of the version before one; sends no request if no roll-up above that version names tags."""
    first = version - version % ROLL_UP_INTERVAL
    if first < version and log.last_roll_up <= version:
        return {}
    roll_up = log.manifest(first).roll_up
    rolled = {tag.event.name: tag for tag in roll_up.tags} if roll_up is not None else {}
    return with_events(rolled, log.manifests(first, version - 1) if first < version else ())
