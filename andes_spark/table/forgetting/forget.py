"""Forget: keys are removed from all that is stored.

The order makes it safe, and each step can be done again, so that a call that was interrupted is made up for by the same
call:

0. the Iceberg face is dropped: the next ``sync_iceberg`` makes it anew, or the end where the definition asks for it;
1. all versions are merged, the rows of the keys are deleted by an apply, and a version with the event ``forget`` puts
   salted hashes in the place of the tombstones; it is merged too. From here on no row and no state names the keys, and
   mods that come late lose;
2. files of the base that hold deleted rows of the keys are written anew;
3. a version raises the floor to what the base contains, as a vacuum does, and what no version needs any more is
   deleted. Versions that other writers commit meanwhile may follow only if they do not bring the keys;
4. what stays of earlier versions is written anew without what names keys: manifests, refused rows, entries of the Delta
   log; and a new checkpoint takes the place of the old ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.base.forgotten import new_salt, write_forgotten
from andes_spark.base.tombstones import named_by_tombstones
from andes_spark.errors import CommitConflictError, OptionError, UnsupportedTableError
from andes_spark.inputs.keys import key_table
from andes_spark.log.clock import CheckedClock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.pins import stored_pins
from andes_spark.log.readable import floor_of
from andes_spark.log.tags import current_tags
from andes_spark.model.events import Alter, Forget, Mods, Quarantine, Tag, Truncate, Vacuum
from andes_spark.model.features import HASHED_TOMBSTONES
from andes_spark.model.manifest import Manifest
from andes_spark.model.options import ApplyOptions
from andes_spark.model.read_options import GetOptions, ReadOptions
from andes_spark.model.upkeep_options import ForgetOptions
from andes_spark.run.steps import Steps
from andes_spark.storage.interface import ObjectInfo
from andes_spark.sync.iceberg.files import FACE_FOLDER
from andes_spark.table.forgetting.mentions import Keys
from andes_spark.table.forgetting.proof import Checked, ForgetResult, Removed, check
from andes_spark.table.forgetting.release import Release
from andes_spark.table.forgetting.rewriting import rewrite_base
from andes_spark.table.forgetting.sweep import Sweep
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.after_merge import begin_faces, without_faces
from andes_spark.table.verbs.apply import apply_batch
from andes_spark.table.verbs.get import get_rows
from andes_spark.table.verbs.merge import run_merge
from andes_spark.table.verbs.read import scan


def forget(open_table: OpenTable, keys: Any, options: ForgetOptions) -> ForgetResult:
    """Forget keys; see ``ModTable.forget``."""
    steps = open_table.begin("forget", open_table.log.head + 1)
    if not options.dry_run:
        _require_confirmed(open_table, options.confirm)
    with steps.step("read the log"):
        open_table.check_log()
    work = _Forgetting(open_table, steps, _keys(open_table, keys, options))
    with steps.step("look for the keys"):
        infos: list[ObjectInfo] = []
        before = check(open_table.storage, work.keys, seen=infos.append)
        in_the_way = _in_the_way(open_table, open_table.log.clock())
        _require_checkpoint(open_table)
    if options.dry_run or before.ok:
        return work.result(before, before, None, in_the_way=in_the_way, dry_run=options.dry_run)
    if in_the_way:
        raise _kept(open_table, in_the_way)
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=open_table.log.clock())
    has_faces = bool(open_table.definition.faces)
    with without_faces(open_table):
        with steps.step("drop the Iceberg face"):
            work.drop_face([info for info in infos if info.path.startswith(f"{FACE_FOLDER}/")])
        version = work.run(clock)
    with steps.step("look for the keys"):
        left = check(open_table.storage, work.keys)
    if has_faces:  # The definition is not read again: the run has dropped what was in memory.
        begin_faces(open_table)
    return work.result(before, left, version)


def _require_confirmed(open_table: OpenTable, confirm: str | None) -> None:
    url = open_table.table.rstrip("/").replace("s3a://", "s3://", 1)
    name = url.rpartition("/")[2]
    if confirm is None or confirm.rstrip("/").replace("s3a://", "s3://", 1) not in (name, url):
        raise OptionError(
            f'{open_table.table}: confirm names the table in which keys are forgotten for good: confirm="{name}"; '
            "dry_run=True only tells what names them",
            option="confirm",
            table=open_table.table,
        )


def _require_checkpoint(open_table: OpenTable) -> None:
    base = open_table.base.snapshot()
    open_table.base.require_writable(base)
    if base.state.unwritten_actions:
        raise UnsupportedTableError(
            f"{open_table.table}: the Delta log has actions that this library writes no checkpoint of, so that the "
            "keys cannot be removed from it; nothing was changed: copy the other rows into a new table, and drop this "
            "one",
            table=open_table.table,
            feature="checkpoint",
        )


def _keys(open_table: OpenTable, keys: Any, options: ForgetOptions) -> Keys:
    """Keys that are given, or those of the rows that meet the condition."""
    shape = open_table.shape()
    if set(shape.columns.key) <= set(shape.partition_by):
        raise UnsupportedTableError(
            f"{open_table.table}: names of folders hold the keys, since the table is partitioned by its whole primary "
            "key; copy the other rows into a table that is partitioned otherwise, and drop this one",
            table=open_table.table,
            feature="forget",
        )
    if options.condition is not None:
        if keys is not None:
            raise OptionError("keys and condition both say what to forget; leave one of them out", option="condition")
        names = list(shape.columns.key)
        rows = scan(open_table, ReadOptions.checked(columns=names, filter=options.condition)).read_all()
    else:
        rows = key_table([] if keys is None else keys, shape.schema.select(shape.columns.key))
    frame = pl.from_arrow(rows.select(list(shape.columns.key)))
    assert isinstance(frame, pl.DataFrame)
    if keys is None and options.condition is None:
        raise OptionError("say what to forget: keys, or a condition on the rows", option="keys")
    return Keys(frame.unique(maintain_order=True), shape)


def _in_the_way(open_table: OpenTable, now: int) -> tuple[str, ...]:
    """Tags and pins that keep versions, described; all versions up to now are released."""
    log = open_table.log
    tags = [
        f"tag {name} on version {tag.event.version}"
        for name, tag in current_tags(log).items()
        if tag.event.expires is None or tag.event.expires > now
    ]
    pins = {(pin.version, pin.until) for pin in stored_pins(log.storage) if pin.holds(now)}
    return (*tags, *(f"pin of version {version} until {until}" for version, until in sorted(pins)))


def _kept(open_table: OpenTable, in_the_way: Collection[str]) -> OptionError:
    return OptionError(
        f"{open_table.table}: versions with the keys are kept by {', '.join(in_the_way)}; remove these by untag() and "
        "unpin(), then forget again",
        table=open_table.table,
        option="keys",
        problems=tuple(in_the_way),
    )


class _Forgetting:
    """One call of ``forget``."""

    def __init__(self, open_table: OpenTable, steps: Steps, keys: Keys) -> None:
        self._open_table = open_table
        self._steps = steps
        self.keys = keys
        self._rows = 0
        self._removed: dict[str, Removed] = {}
        self._sweep = Sweep(open_table, steps, keys)

    def drop_face(self, infos: Sequence[ObjectInfo]) -> None:
        """Delete the Iceberg face: its manifests hold bounds of keys. Metadata goes first, so that none is found."""
        for group in (True, False):
            paths = [info.path for info in infos if info.path.endswith((".text", ".json")) is group]
            if paths:
                self._open_table.storage.delete(paths)
        self._removed |= {info.path: Removed(info.path, info.size) for info in infos}

    def run(self, clock: CheckedClock) -> int:
        """Forget the keys; return the version that released all earlier ones.

        Args:
            clock: clock that dates the versions.

        Raises:
            CommitConflictError: other writers brought the keys again each time, or merges were first.
        """
        for _ in range(self._open_table.settings.commit_attempts):
            merged = self._delete_rows(clock)
            with self._steps.step("write files of the base anew"):
                rewrite_base(self._open_table, self.keys)
            released = Release(self._open_table, self._steps, clock, self.keys, merged).run()
            if released is not None:
                version, plan = released
                self._removed |= {file.path: Removed(file.path, file.bytes) for file in plan.released.files}
                self._sweep.run(plan, version)
                return version
        raise CommitConflictError(
            f"{self._open_table.table}: other writers brought the keys again each time; stop them, and forget again",
            table=self._open_table.table,
        )

    def _delete_rows(self, clock: CheckedClock) -> int:
        """Delete the rows of the keys, and put hashes in the place of their tombstones.

        Returns:
            Version up to which all is merged, without a row or tombstone of the keys.
        """
        with self._steps.step("delete rows"):
            self._merge()
            rows, tombstones = self._state()
            # Files of interrupted writers have numbers up to that of the next version: it is always committed.
            for _ in range(self._open_table.settings.commit_attempts):
                if self._apply(rows):
                    self._commit(rows, tombstones, clock)
                merged = self._merge()
                rows, tombstones = self._state()
                if not rows.height and not tombstones.height:
                    return merged
        raise CommitConflictError(
            f"{self._open_table.table}: other writers brought the keys again each time; stop them, and forget again",
            table=self._open_table.table,
        )

    def _merge(self) -> int:
        """Merge all versions; return the newest one that the base contains."""
        open_table = self._open_table
        merged = run_merge(open_table)
        if merged.status == "skipped":
            raise CommitConflictError(
                f"{open_table.table}: another merge is under way; forget again when it has ended",
                table=open_table.table,
            )
        return open_table.base.in_memory().applied

    def _state(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Key and sequence of the rows of the keys, and of the newest tombstones that hold the keys themselves."""
        open_table, columns = self._open_table, self.keys.shape.columns
        key_rows = self.keys.frame.to_arrow()
        rows = pl.from_arrow(get_rows(open_table, key_rows, GetOptions.checked(columns=columns.narrow)))
        assert isinstance(rows, pl.DataFrame)
        if not columns.sequence:
            return rows, rows.clear()
        record, shape = open_table.base.in_memory().record, open_table.shape()
        return rows, named_by_tombstones(open_table.storage, record.tombstones, shape, self.keys.frame)

    def _apply(self, rows: pl.DataFrame) -> bool:
        """Delete rows by mods at their sequences: a delete wins against an upsert there, and against no later one.

        Returns:
            False if a vacuum deleted the files of the mods before they were committed.
        """
        if not rows.height:
            return True
        schema = self._open_table.shape().schema
        op = next(name for name in ("op", *(f"op{number}" for number in range(1_000))) if name not in schema)
        mods = rows.to_arrow().cast(pa.schema([schema.to_arrow().field(name) for name in rows.columns]))
        options = ApplyOptions.checked(
            apply_as_deletes=f"{op} = 'D'",
            at_least_once=True,
            merge=False,
            job="forget",
            # Rows at or below the cut of an expire are deleted too.
            backfill=bool(self._open_table.shape().columns.sequence),
        )
        try:
            apply_batch(self._open_table, mods.append_column(op, pa.repeat(pa.scalar("D"), mods.num_rows)), options)
        except CommitConflictError:
            return False
        self._rows += rows.height
        return True

    def _commit(self, rows: pl.DataFrame, tombstones: pl.DataFrame, clock: CheckedClock) -> None:
        """Commit hashed tombstones at the sequences of rows and tombstones.

        Again if a vacuum came first, which may delete the file; not if a version came first that may bring the rows
        back, since the tombstones would stand over them.
        """
        open_table, shape = self._open_table, self._open_table.shape()
        log, record = open_table.log, open_table.base.in_memory().record
        salt = next((file.salt for file in record.tombstones if file.salt is not None), None) or new_salt()
        named = pl.concat([rows, tombstones]).sort(shape.columns.sequence or shape.columns.key, descending=True)
        deleted = named.unique(shape.columns.key, keep="first", maintain_order=True)
        for _ in range(open_table.settings.commit_attempts):
            written = None
            if shape.columns.sequence:
                written = write_forgotten(open_table.storage, deleted, shape, salt=salt, head=log.head)
            open_table.storage.scheduler.barrier()
            draft = Draft(
                operation="forget",
                table_id=open_table.table_id,
                events=(Forget(tombstones=[] if written is None else [written]),),
                features=(HASHED_TOMBSTONES,),
            )
            try:
                commit(log, draft, clock=clock, admit=_admit, roll_up=open_table.roll_ups.make)
                return
            except (_VacuumedError, _BroughtBackError) as error:
                open_table.storage.delete([] if written is None else [written.path])
                if isinstance(error, _BroughtBackError):
                    return
        raise CommitConflictError(f"{log.table}: vacuums were first each time; forget again", table=log.table)

    def result(
        self,
        before: Checked,
        left: Checked,
        version: int | None,
        *,
        in_the_way: tuple[str, ...] = (),
        dry_run: bool = False,
    ) -> ForgetResult:
        """Return the proof."""
        removed = self._removed | {removed.path: removed for removed in self._sweep.removed}
        return ForgetResult(
            version,
            floor_of(self._open_table.log),
            self.keys.size,
            self._rows,
            before.mentions,
            tuple(removed.values()),
            tuple(self._sweep.rewritten.values()),
            left,
            in_the_way if dry_run else (),
            dry_run,
            (self._open_table.storage, self.keys),
        )


class _VacuumedError(Exception):
    """A vacuum was committed that may delete a file that no version names yet."""


class _BroughtBackError(Exception):
    """A version was committed that may bring deleted rows back: one that goes back to earlier versions."""


def _admit(manifest: Manifest) -> None:
    if any(isinstance(event, Vacuum) for event in manifest.events):
        raise _VacuumedError
    if not all(isinstance(event, Mods | Quarantine | Truncate | Tag | Alter) for event in manifest.events):
        raise _BroughtBackError
