"""Expire: deletes and truncates up to a sequence are forgotten, and later mods at or below it are set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from andes_spark.base.evaluation import quoted
from andes_spark.base.files import TableShape
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.inputs.keys import key_table
from andes_spark.log.advisory import Advisory
from andes_spark.log.commit import Draft, commit
from andes_spark.log.pending import typed_sequence
from andes_spark.model.display import Displayed
from andes_spark.model.durations import parse_duration
from andes_spark.model.events import Expire
from andes_spark.model.manifest import Manifest
from andes_spark.model.results import AdvisoryFailure, MergeResult
from andes_spark.model.upkeep_options import ExpireOptions
from andes_spark.table.maintenance.expirable import Choice, Values, choose_sequence
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.merge import merge_after_apply
from andes_spark.table.verbs.read import pin


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
        reason: why no sequence of the age was chosen; empty if one was, or ``up_to`` names it.
    """

    version: int | None
    sequence: Values | None
    cut: Values | None
    tombstones: int
    merge: MergeResult | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()
    dry_run: bool = False
    reason: str = ""

    def summary(self) -> str:
        """See ``Displayed``."""
        if self.sequence is None:
            cut = "" if self.cut is None else f"; the cut is at {_text(self.cut)}"
            reason = f": {self.reason}" if self.reason else ""
            return f"there is nothing to expire{reason}{cut}"
        mood = "would be forgotten" if self.dry_run else f"are forgotten by version {self.version}"
        return (
            f"deletes and truncates up to {_text(self.sequence)} {mood}; later mods at or below it are set aside as "
            "expired, unless they are applied as a backfill"
        )

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
    with steps.step("read log and base"):
        # A forget of another process writes manifests anew, which the choice reads; a pin does not look for that.
        open_table.check_log()
        snapshot = pin(open_table, None)
    cut = snapshot.inputs.pending.expiry.new_cut
    tombstones = sum(file.rows for file in snapshot.base.record.tombstones)
    with steps.step("choose the sequence"):
        choice = _chosen(open_table, shape, options, cut) if up_to is None else Choice(up_to)
    sequence = choice.sequence
    if sequence is None or (cut is not None and sequence <= cut):
        return ExpireResult(None, None, cut, tombstones, dry_run=options.dry_run, reason=choice.reason)
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


def _chosen(open_table: OpenTable, shape: TableShape, options: ExpireOptions, cut: Values | None) -> Choice:
    """Choose the sequence by an age: the table's lateness by default."""
    age = options.older_than
    if age is None:
        age = parse_duration(open_table.definition.lateness, option="lateness")
    return choose_sequence(open_table.log, open_table.storage, shape, age, cut)
