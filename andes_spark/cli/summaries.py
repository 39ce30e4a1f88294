"""Text of results for people; JSON output has all fields."""

from __future__ import annotations

from typing import Any

from andes_spark.cli.output import Output
from andes_spark.cli.plain import plain
from andes_spark.model.display import size_text
from andes_spark.model.history import HistoryEntry
from andes_spark.model.manifest import Manifest
from andes_spark.model.results import ApplyResult
from andes_spark.table.evolution.alter import AlterResult
from andes_spark.table.history.restore import RestoreResult
from andes_spark.table.history.tags import TagResult
from andes_spark.table.maintenance.set_aside import SetAsideResult


def apply_summary(result: ApplyResult) -> str:
    """Describe the effect of an apply in a dry run."""
    return f"nothing to do: {result.summary()}" if result.replayed else f"would become {result.summary()}"


def set_aside_summary(result: SetAsideResult, *, dry_run: bool = False) -> str:
    """Describe the effect of setting a version aside, in a dry run or done."""
    if result.repeated:
        return f"nothing to do: version {result.version} was set aside by version {result.committed}"
    mood = "would be" if dry_run else "is"
    return f"version {result.version} {mood} set aside by version {result.committed}: {result.mods} mods"


def restore_summary(result: RestoreResult) -> str:
    """Describe the effect of a restore in a dry run."""
    return f"would become: {result.summary()}"


def alter_summary(result: AlterResult) -> str:
    """Describe a change of the definition in a dry run."""
    if result.version is None:
        return "nothing to do: the table is like that already"
    if "columns" not in result.changed:
        return f"would change: {', '.join(result.changed)}"
    return "\n".join(["would become:", *(f"  {column}" for column in result.columns)])


def tag_summary(result: TagResult, *, dry_run: bool = False) -> str:
    """Describe the change of a tag, in a dry run or done."""
    if result.repeated:
        return f"nothing to do: {result.summary()}"
    return result.summary().replace(" was ", " would be ", 1) if dry_run else result.summary()


def _event_name(event: dict[str, Any]) -> str:
    return f"event {event['type']}" + (f" of batch {event['batch']}" if event.get("batch") else "")


def show_manifest(output: Output, manifest: Manifest) -> None:
    """Print a manifest: the stored document as JSON, or its fields and a table of its files as text."""
    content = plain(manifest)
    if output.is_json:
        output.document(content)
        return
    events = content.get("events", [])
    others: dict[str, Any] = {
        _event_name(event): {name: value for name, value in event.items() if name not in ("type", "files")}
        for event in events
        if set(event) - {"type", "files"}
    }
    output.fields(
        {
            **HistoryEntry.of(manifest).details(),
            "commit id": manifest.commit_id,
            "previous": manifest.previous,
            "features": manifest.reader_features + manifest.writer_features or None,
            **others,
            "definition": None if manifest.definition is None else "set by this version",
            "roll-up": None if manifest.roll_up is None else "repeats what is pending",
        }
    )
    files = [{"event": event["type"], **file} for event in events for file in event.get("files", [])]
    if files:
        output.say("")
        columns = ["event", "rows", "upserts", "deletes", "truncates", "partial", "size", "path"]
        columns = [name for name in columns if any(file.get(name) for file in files) or name == "size"]
        rows = [{**dict.fromkeys(columns, 0), **file, "size": size_text(file["bytes"])} for file in files]
        output.table(rows, columns=columns, wide=200)
