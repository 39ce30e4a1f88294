"""Results in a few lines for people; JSON output has all of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from andes_spark.cli.output import Output
from andes_spark.cli.plain import plain
from andes_spark.model.manifest import COUNTED, Counts, Manifest
from andes_spark.model.results import ApplyResult, MergeCounts, MergeResult, Step
from andes_spark.table.maintenance.set_aside import SetAsideResult


def apply_summary(result: ApplyResult, *, dry_run: bool = False) -> str:
    """What an apply did, or would do: version, counts, the merge that followed."""
    first = f"version {result.version}: {_counts(result.counts, COUNTED)}"
    if result.replayed:
        return f"nothing to do: applied before, as {first}"
    if dry_run:
        return f"would become {first}"
    lines = [first]
    steps = list(result.steps)
    if result.merge is not None:
        lines.append(_merged(result.merge))
        steps += result.merge.steps
    return "\n".join([*lines, _spent(steps)])


def merge_summary(result: MergeResult) -> str:
    """What a merge did."""
    return "\n".join([_merged(result), _spent(result.steps)])


def set_aside_summary(result: SetAsideResult, *, dry_run: bool = False) -> str:
    """What setting a version aside did, or would do."""
    if result.repeated:
        return f"nothing to do: version {result.version} was set aside by version {result.committed}"
    mood = "would be" if dry_run else "is"
    return f"version {result.version} {mood} set aside by version {result.committed}: {result.mods} mods"


def show_manifest(output: Output, manifest: Manifest) -> None:
    """A manifest: as it is stored for programs, its fields and a table of its files for people."""
    content = plain(manifest)
    if output.is_json:
        output.document(content)
        return
    events = content.pop("events", [])
    content["time"] = iso_time(manifest.time)
    output.fields(content)
    files = [{"event": event["type"], **file} for event in events for file in event.pop("files", [])]
    for event in events:
        if len(event) > 1:
            output.fields({event.pop("type"): event})
    if files:
        columns = ["event", "rows", "upserts", "deletes", "truncates", "partial", "bytes", "path"]
        output.table([{name: file.get(name, 0) for name in columns} for file in files], columns=columns, wide=100)


def iso_time(milliseconds: int) -> str:
    """A time of the log, milliseconds since 1970, in UTC."""
    text: str = plain(datetime.fromtimestamp(milliseconds / 1000, UTC))
    return text


def _merged(result: MergeResult) -> str:
    if result.status == "failed":
        return f"merge: failed, the next one takes the mods: {result.error}"
    if result.status == "skipped":
        return "merge: skipped, another one is under way and takes the mods along"
    if result.status == "nothing":
        return f"merge: nothing was pending, the base contains version {result.applied}"
    text = f"merge: the base contains version {result.applied}: {_counts(result.counts, vars(result.counts))}"
    if result.compaction.files_removed:
        text += f"; {result.compaction.files_removed} small files packed into {result.compaction.files_added}"
    return text if result.warning is None else f"{text}\nwarning: {result.warning}"


def _counts(counts: Counts | MergeCounts, names: Iterable[str]) -> str:
    found: dict[str, Any] = {name: getattr(counts, name) for name in names}
    return ", ".join(f"{value} {name}" for name, value in found.items() if value) or "no mods"


def _spent(steps: Iterable[Step]) -> str:
    done = list(steps)
    seconds, requests = sum(step.seconds for step in done), sum(step.requests for step in done)
    written, jobs = sum(step.bytes_written for step in done), sum(step.spark_jobs for step in done)
    return f"{seconds:.2f} s, {requests} requests, {written:,} bytes written" + (f", {jobs} Spark jobs" if jobs else "")
