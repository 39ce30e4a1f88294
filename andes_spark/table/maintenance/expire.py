"""Expire: deletes and truncates up to a sequence are forgotten, and mods that come later are above it or set aside."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from andes_spark.base.evaluation import quoted
from andes_spark.base.files import TableShape
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.inputs.keys import key_table
from andes_spark.log.advisory import Advisory
from andes_spark.log.commit import Draft, commit
from andes_spark.log.log import Log
from andes_spark.log.pending import typed_sequence
from andes_spark.model.display import Displayed
from andes_spark.model.durations import parse_duration
from andes_spark.model.events import Event, Expire, Mods
from andes_spark.model.manifest import Manifest
from andes_spark.model.results import AdvisoryFailure, MergeResult
from andes_spark.model.upkeep_options import ExpireOptions
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.merge import merge_after_apply
from andes_spark.table.verbs.read import pin

_AT_ONCE = 256
"""Number of manifests that are read at a time, from the newest downwards."""

Values = tuple[object, ...]


@dataclass(frozen=True, repr=False)
class ExpireResult(Displayed):
    """Result of an expire.

    Attributes:
        version: version with its event; None if there was nothing to expire, or in a dry run.
        sequence: sequence up to which it forgets; None if there is none.
        cut: sequence at or below which later mods are set aside, from now on; in a dry run as it is.
        tombstones: rows of the tombstone files before it.
        merge: result of the merge, None without one.
        advisory: failed steps after the commit, which do not affect the expire.
        dry_run: whether nothing was written.
    """

    version: int | None
    sequence: Values | None
    cut: Values | None
    tombstones: int
    merge: MergeResult | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()
    dry_run: bool = False

    def summary(self) -> str:
        """See ``Displayed``."""
        if self.sequence is None:
            cut = "" if self.cut is None else f"; the cut is at {_text(self.cut)}"
            return f"there is nothing to expire{cut}"
        mood = "would be forgotten" if self.dry_run else f"are forgotten by version {self.version}"
        return f"deletes and truncates up to {_text(self.sequence)} {mood}, and mods that come later are above it"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        details = {"expire": self.summary(), "tombstones before": f"{self.tombstones:,}"}
        return details if self.merge is None else {**details, "merge": self.merge.summary()}


def _text(sequence: Values) -> str:
    return ", ".join(map(str, sequence))


def expire(open_table: OpenTable, options: ExpireOptions) -> ExpireResult:
    """Forget deletes up to a sequence; see ``ModTable.expire``."""
    steps = open_table.begin("expire", open_table.log.head + 1)
    log, shape = open_table.log, open_table.shape()
    _require_tombstones(shape)
    up_to = None if options.up_to is None else _sequence_of(options.up_to, shape)
    with steps.step("read the log"):
        open_table.check_log()
        sequence = _oldest_cut(log, shape, _age(open_table, options)) if up_to is None else up_to
    with steps.step("read the base"):
        snapshot = pin(open_table, None)
    cut = snapshot.inputs.pending.expiry.new_cut
    tombstones = sum(file.rows for file in snapshot.base.record.tombstones)
    if sequence is None or (cut is not None and sequence <= cut):
        return ExpireResult(None, None, cut, tombstones, dry_run=options.dry_run)
    if options.dry_run:
        return ExpireResult(None, sequence, cut, tombstones, dry_run=True)
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=log.clock())
    event = Expire(sequence=quoted(sequence, shape))
    draft = Draft(operation="expire", table_id=open_table.table_id, events=(event,))
    advisory = Advisory(open_table.table)

    def admit(other: Manifest) -> Manifest | None:
        # Mods that came first are judged by what was before the expire; another expire may have done it all.
        return other if any(sequence <= cut for cut in _cuts(other, shape)) else None

    with steps.step("commit"):
        manifest = commit(log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make, advisory=advisory)
    if manifest.commit_id != draft.commit_id:
        return ExpireResult(None, None, max(_cuts(manifest, shape)), tombstones)
    merged = merge_after_apply(open_table, None, requested=None, in_memory={}, advisory=advisory)
    failures = advisory.report("the expire is committed")
    return ExpireResult(manifest.version, sequence, sequence, tombstones, merged, failures)


def _cuts(manifest: Manifest, shape: TableShape) -> list[Values]:
    """Sequences of the expires of a version."""
    events = (event for event in manifest.events if isinstance(event, Expire))
    return [typed_sequence(event.sequence, shape.arrow, shape.columns) for event in events]


def _require_tombstones(shape: TableShape) -> None:
    """Refuse a table whose deletes are not remembered, or each in its own way.

    Raises:
        OptionError: the reason.
    """
    if not shape.columns.sequence:
        raise OptionError(
            f"{shape.table}: a table without sequence_by remembers no deletes, so that there is nothing to expire",
            table=shape.table,
            option="up_to",
        )
    both = [name for name in shape.columns.sequence if name in shape.columns.key]
    if both:
        raise OptionError(
            f"{shape.table}: {', '.join(both)} is part of the primary key too, so that all mods of a key have one "
            "sequence: such tables do not expire",
            table=shape.table,
            option="up_to",
        )


def _sequence_of(up_to: Any, shape: TableShape) -> Values:
    """A sequence of the caller, in the types of the columns."""
    schema = shape.schema.select(shape.columns.sequence)
    try:
        rows = key_table(up_to, schema).to_pylist()
    except (OptionError, SchemaMismatchError) as error:
        raise _no_sequence(up_to, shape) from error
    if len(rows) != 1:
        raise _no_sequence(up_to, shape)
    return tuple(rows[0][name] for name in shape.columns.sequence)


def _no_sequence(up_to: Any, shape: TableShape) -> OptionError:
    columns = shape.schema.select(shape.columns.sequence).nullable.to_ddl()
    form = "a value" if len(shape.columns.sequence) == 1 else "a tuple with a value for each"
    return OptionError(
        f"{shape.table}: up_to is {form} of the sequence columns {columns}, and {repr(up_to)[:200]} was given",
        table=shape.table,
        option="up_to",
        value=up_to,
    )


def _age(open_table: OpenTable, options: ExpireOptions) -> datetime.timedelta:
    """Age of the versions whose deletes may be forgotten: the table's lateness by default."""
    if options.older_than is not None:
        return options.older_than
    return parse_duration(open_table.definition.lateness, option="lateness")


def _oldest_cut(log: Log, shape: TableShape, age: datetime.timedelta) -> Values | None:
    """Sequence up to which no mods of the newest versions lie, and the versions before them do.

    One absurd sequence, such as the year 9999, does not cut off what still arrives: the cut is below all that arrived
    within the age. None if there is none.
    """
    young_since = log.clock() - int(age.total_seconds() * 1000)
    lowest: Values | None = None
    for manifest in _newest_first(log):
        for event in manifest.events:
            if not isinstance(event, Mods):
                continue
            bounds = _range(event, shape)
            if manifest.time > young_since:
                if event.backfill:
                    continue
                if bounds is None:
                    return None  # a forget removed the range
                lowest = bounds[0] if lowest is None else min(lowest, bounds[0])
            elif bounds is not None and (lowest is None or bounds[1] < lowest):
                return bounds[1]
    return None


def _range(event: Event, shape: TableShape) -> tuple[Values, Values] | None:
    """Lowest and highest sequence of the mods of an event; None if they are not known."""
    assert isinstance(event, Mods)
    lows, highs = [], []
    for entry in event.files:
        if entry.low_sequence is None or entry.high_sequence is None:
            return None
        lows.append(typed_sequence(entry.low_sequence, shape.arrow, shape.columns))
        highs.append(typed_sequence(entry.high_sequence, shape.arrow, shape.columns))
    return (min(lows), max(highs)) if lows else None


def _newest_first(log: Log) -> Iterator[Manifest]:
    for last in range(log.head, -1, -_AT_ONCE):
        yield from reversed(log.manifests(max(0, last - _AT_ONCE + 1), last))
