"""Changes of the definition that a base lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from andes_spark.model.events import Alter, PendingVersion


@dataclass(frozen=True)
class Alteration:
    """Changes of the definition that a base lacks.

    Attributes:
        before: id of the schema of the base.
        changed: names of the changed members of the definition.
    """

    before: int
    changed: frozenset[str]


def alteration_of(versions: Sequence[PendingVersion]) -> Alteration | None:
    """Return the changes in versions, oldest first; None if there are none. A restore leaves none of them out."""
    events = [event for version in versions for event in version.events if isinstance(event, Alter)]
    if not events:
        return None
    return Alteration(events[0].before, frozenset(name for event in events for name in event.changed))
