"""What became of the last synchronization with each target: a small file for each, which ``status`` shows.

The files are advisory: no verb but ``status`` reads them, and one that is lost or damaged is written by the next run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from andes_spark.model.display import moment, time_text
from andes_spark.storage.interface import Storage

TARGETS = "targets"
"""Folder below ``_andes``."""
_FOLDER = f"_andes/{TARGETS}"


@dataclass(frozen=True)
class TargetOutcome:
    """Outcome of the last synchronization with a target.

    Attributes:
        target: system and name of what shows the table, such as ``glue sales.orders``.
        form: form of the table there.
        time: when it ended, in milliseconds since 1970.
        applied: version of the table that the target shows; None if it is not known.
        error: what failed; None if nothing did.
    """

    target: str
    form: str
    time: int
    applied: int | None = None
    error: str | None = None

    def text(self) -> str:
        """Return the outcome as one line."""
        if self.error is not None:
            return f"FAILED {time_text(moment(self.time))}: {self.error}"
        return f"{self.form}, shows version {self.applied}, synchronized {time_text(moment(self.time))}"


def write_outcome(storage: Storage, outcome: TargetOutcome) -> None:
    """Store the outcome of a synchronization in the place of the one before; one request."""
    storage.put(_path(outcome.target), json.dumps(asdict(outcome), ensure_ascii=False).encode(), sync=False)


def read_outcomes(storage: Storage) -> Sequence[TargetOutcome]:
    """Read the outcomes of all targets, in the order of their names; files that cannot be read are left out."""
    answers = [storage.scheduler.ask(storage.find, info.path) for info in list(storage.list(_FOLDER))]
    outcomes = (_outcome(answer.result()) for answer in answers)
    return sorted((outcome for outcome in outcomes if outcome is not None), key=lambda outcome: outcome.target)


def _path(target: str) -> str:
    """The name of a target may hold what a path may not."""
    return f"{_FOLDER}/{hashlib.sha256(target.encode()).hexdigest()[:32]}.json"


def _outcome(data: bytes | None) -> TargetOutcome | None:
    try:
        document = json.loads(data or b"")
        return TargetOutcome(
            str(document["target"]),
            str(document["form"]),
            int(document["time"]),
            None if document["applied"] is None else int(document["applied"]),
            None if document["error"] is None else str(document["error"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
