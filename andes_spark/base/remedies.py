"""Remedies that messages about damage name: a repair knows better where it could not help."""

from __future__ import annotations

BY_REPAIR = "repair() makes it again, or says what is lost with it"
BY_BACKUP = "restore it from a backup or from an earlier object version"


def without_repair(message: str) -> str:
    """Return the message of damage that a repair could not mend."""
    return message.replace(BY_REPAIR, BY_BACKUP)
