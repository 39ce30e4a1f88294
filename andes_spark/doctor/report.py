"""What an examination says: a check per line, and whether all of them passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from andes_spark.model.display import Displayed, count_text

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What a check found, without its name and time.

    Attributes:
        status: ``skipped`` if it could not be tried.
        detail: what was seen, and what to do about it.
    """

    status: Status
    detail: str


def passed(detail: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding("ok", detail)


def warned(detail: str) -> Finding:
    """Return the finding of a check that passed, with something to know."""
    return Finding("warning", detail)


def failed(detail: str) -> Finding:
    """Return the finding of a check that failed, with the remedy."""
    return Finding("failed", detail)


@dataclass(frozen=True, repr=False)
class Check(Displayed):
    """Result of one check.

    Attributes:
        name: subject of the check, such as ``conditional put``.
        status: ``skipped`` if it could not be tried.
        detail: what was seen, and for a failure what to do.
        seconds: time that the check took.
    """

    name: str
    status: Status
    detail: str
    seconds: float = 0.0

    def summary(self) -> str:
        """See ``Displayed``."""
        return f"{self.name}: {self.status}, {self.detail}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"check": self.name, "status": self.status, "seconds": f"{self.seconds:.1f}", "detail": self.detail}


@dataclass(frozen=True, repr=False)
class Report(Displayed):
    """Result of an examination, as ``andes doctor`` shows it.

    Attributes:
        checks: results of the checks, in the order in which they ran.
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed; skipped ones count as passed."""
        return all(check.status != "failed" for check in self.checks)

    def summary(self) -> str:
        """See ``Displayed``."""
        failed = [check.name for check in self.checks if check.status == "failed"]
        if failed:
            return f"{count_text(len(failed), 'checks')} failed: {', '.join(failed)}"
        passed = sum(check.status == "ok" for check in self.checks)
        return f"{passed} of {count_text(len(self.checks), 'checks')} passed, none failed"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {check.name: f"{check.status}: {check.detail}" for check in self.checks} | {"result": self.summary()}
