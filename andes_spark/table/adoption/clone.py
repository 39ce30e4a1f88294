"""Clone: a new table with the rows of a version, and with what mods that come late meet there.

The files of a merged version are copied, by the store itself where it can; other rows are evaluated and loaded. They
are version 0 of the new table. A version behind it has the tombstones and the truncate of the original as mods, so that
late mods lose in both. Before it comes a version with the cut of an expire, after it one with hashed tombstones, where
there are some. A clone that was interrupted is finished by the same call.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import msgspec
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluation import Snapshot, quoted
from andes_spark.base.expiring import hiding_keys
from andes_spark.base.forgotten import expire_forgotten
from andes_spark.base.metadata import base_configuration
from andes_spark.base.tombstones import hashed_files, read_tombstones, with_keys
from andes_spark.delta import paths, z85
from andes_spark.delta.actions import Action
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.entries import read_commit
from andes_spark.delta.files import Files
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import AndesError, OptionError, TableExistsError
from andes_spark.law.columns import ARRIVAL
from andes_spark.log.clock import check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.log import Log
from andes_spark.log.mod_files import new_path
from andes_spark.model.definition import Definition
from andes_spark.model.events import Event, Expire, Forget
from andes_spark.model.features import HASHED_TOMBSTONES
from andes_spark.model.files import SideFile
from andes_spark.model.manifest import Counts, Manifest, Origin, manifest_path
from andes_spark.model.mod import BatchId
from andes_spark.model.options import ApplyOptions
from andes_spark.model.read_options import ReadOptions, SnapshotOptions
from andes_spark.run.steps import Steps
from andes_spark.schema.casts import NO_CASTS
from andes_spark.storage.copying import copy_object
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.apply import apply_batch
from andes_spark.table.verbs.create import (
    create_base,
    exists,
    load,
    refuse_other_files,
    refuse_remains,
)
from andes_spark.table.verbs.merge import run_merge
from andes_spark.table.verbs.read import evaluated, pin, scan

_SOURCE = "andes_clone"
"""Parameter of the Delta entry: table and version that were cloned."""
_BATCHES = "andes_spark.clone"
"""Source of the batch of version 1."""
_COPIED = ("partitionValues", "size", "modificationTime", "stats", "tags")
"""Members of an ``add`` that the copy of its file has too."""


@dataclass(frozen=True)
class _Clone:
    """One clone.

    Attributes:
        open_table: the original.
        snapshot: version that is cloned.
        target: folder of the new table.
        definition: definition of the table as of that version.
    """

    open_table: OpenTable
    snapshot: Snapshot
    target: Storage
    definition: Definition

    @property
    def source(self) -> str:
        """Table and version."""
        return f"{self.open_table.table_id}@{self.snapshot.version}"


def clone(open_table: OpenTable, target: Storage, options: SnapshotOptions) -> OpenTable:
    """Clone a version; return the new table. See ``ModTable.clone``."""
    steps = open_table.begin("clone", open_table.log.head)
    _refuse_overlap(open_table.storage, target)
    with steps.step("read the version"):
        snapshot = pin(open_table, chosen_version(open_table, options))
        definition = open_table.log.definition_at(snapshot.version)
    work = _Clone(open_table, snapshot, target, definition)
    settings = open_table.settings
    log = _create(work, steps) if target.size(manifest_path(0)) is None else Log.open(target, settings)
    copy = OpenTable(target, settings, log, progress=open_table.progress)
    if not _is_as_cloned(copy.log, work.source):
        raise exists(target)
    with steps.step("apply tombstones"):
        _carry_cut(work, copy)
        _apply_tombstones(work, copy)
        _carry_forgotten(work, copy)
    return copy


def _is_as_cloned(log: Log, source: str) -> bool:
    """Whether a table is a clone of this source, whole or interrupted, and nothing was applied to it since."""
    first = log.manifest(0)
    if first.operation != "clone" or first.writer.get("job") != source:
        return False
    later = log.manifests(1, log.head) if log.head else []
    return len(later) <= 3 and all(
        manifest.batch(_BATCHES, BatchId(_BATCHES, source).tagged) is not None
        or _carries(manifest, Forget)
        or _carries(manifest, Expire)
        for manifest in later
    )


def _carries(manifest: Manifest, kind: type[Event]) -> bool:
    """Whether a clone carried an event of a kind over as a version."""
    return manifest.operation == "clone" and any(isinstance(event, kind) for event in manifest.events)


def _carried(log: Log, kind: type[Event]) -> bool:
    return bool(log.head) and any(_carries(manifest, kind) for manifest in log.manifests(1, log.head))


def _refuse_overlap(source: Storage, target: Storage) -> None:
    one, two = (f"{storage.url.rstrip('/')}/" for storage in (source, target))
    if one.startswith(two) or two.startswith(one):
        raise OptionError(
            f"{source.url}: the clone cannot lie in {target.url}: neither folder may be within the other",
            option="path",
            table=source.url,
        )


def _create(work: _Clone, steps: Steps) -> Log:
    """Create version 0 of the new table; return its log."""
    target, settings = work.target, work.open_table.settings
    entry = read_commit(target, 0)
    parameters = {} if entry is None else (entry.commit_info or {}).get("operationParameters", {})
    begun = entry is not None and parameters.get(_SOURCE) == work.source
    if entry is not None and not begun:
        raise _other_table(target, parameters.get(_SOURCE))
    refuse_remains(target, begun=begun)
    log = Log(target, settings)
    if not begun:
        refuse_other_files(target)
    with steps.step("check the clock"):
        clock = check_clock(log, begun=log.clock())
    if entry is None:
        table_id = str(uuid.uuid4())
        with steps.step("copy the rows"):
            adds = _adds(work)
        with steps.step("commit to Delta"):
            _commit_entry(work, table_id, adds)
        entry = read_commit(target, 0)
        assert entry is not None
    table_id = next(iter(entry.txns))
    files = (DataFile.from_add(add) for add in entry.of_kind("add"))
    rows = sum(file.live_records or 0 for file in files)
    draft = Draft(
        operation="clone",
        table_id=table_id,
        counts=Counts(received=rows, upserts=rows),
        definition=work.definition,
        origin=Origin(delta_version=0, rows=rows),
        job=work.source,
    )

    def admit(manifest: Manifest) -> Manifest | None:
        raise exists(target)

    with steps.step("commit"):
        commit(log, draft, clock=clock, admit=admit)
    return log


def _other_table(target: Storage, source: str | None) -> TableExistsError:
    problem = "there is a Delta table here; choose an empty folder"
    if source is not None:
        table_id, _, version = source.partition("@")
        problem = (
            f"a clone of version {version} of the table {table_id} was interrupted here; clone that version again to "
            "finish it, or delete the folder"
        )
    return TableExistsError(f"{target.url}: {problem}", table=target.url)


def _commit_entry(work: _Clone, table_id: str, adds: list[Action]) -> None:
    target = work.target
    created = create_base(
        target,
        work.open_table.settings,
        work.definition,
        table_id,
        base_configuration(work.definition),
        adds,
        operation="CLONE",
        parameters={_SOURCE: work.source},
    )
    if not created:
        target.delete(_new_files(adds))
        raise exists(target)


def _new_files(adds: list[Action]) -> Iterator[str]:
    for action in adds:
        file = DataFile.from_add(action["add"])
        yield file.location
        if file.vector is not None and file.vector.file_path is not None:
            yield file.vector.file_path


def _adds(work: _Clone) -> list[Action]:
    """Write the rows into the new folder, as copies of files where the base alone is the version."""
    if work.snapshot.merged and not work.snapshot.inputs.pending.rewrites:
        return _copies(work.open_table.storage, work.target, work.snapshot.base.state.files)
    rows = scan(work.open_table, ReadOptions.checked(version=work.snapshot.version))
    tables = (pa.Table.from_batches([batch], rows.schema) for batch in rows)
    return load(
        work.target,
        work.definition,
        work.open_table.settings,
        base_configuration(work.definition),
        chain([rows.schema.empty_table()], tables),
        NO_CASTS,
    )


def _copies(source: Storage, target: Storage, files: Files) -> list[Action]:
    """Copy data files and deletion vectors to new names."""
    vectors = {
        file.vector.file_path: uuid.uuid4()
        for file in files.values()
        if file.vector is not None and file.vector.file_path is not None
    }
    adds: list[Action] = []
    copies: list[tuple[str, str, int | None]] = []
    for file in files.values():
        path = f"{_partition_folders(file.location)}part-{uuid.uuid4()}.zstd.parquet"
        copies.append((file.location, path, file.size))
        adds.append(_add(file, path, vectors))
    copies += [(path, f"deletion_vector_{name}.bin", None) for path, name in vectors.items()]

    def copy(names: tuple[str, str, int | None]) -> int:
        old, new, size = names
        return copy_object(source, old, target, new, size=size)

    try:
        for _, answer in in_windows(target.scheduler, copy, copies):
            answer.result()
        target.scheduler.barrier()
    except AndesError:
        target.delete(new for _, new, _ in copies)
        raise
    return adds


def _partition_folders(path: str) -> str:
    """Folders of partitions that a file lies in, such as ``k=a/``; empty if there are none.

    Files of other writers lack the partition columns, which Polars takes from the names of the folders.
    """
    return "".join(f"{folder}/" for folder in path.split("/")[:-1] if "=" in folder)


def _add(file: DataFile, path: str, vectors: dict[str, uuid.UUID]) -> Action:
    add = {"path": paths.encode_path(path), "dataChange": True}
    add |= {name: file.add[name] for name in _COPIED if file.add.get(name) is not None}
    if file.vector is not None:
        vector: VectorDescriptor = file.vector
        if vector.file_path is not None:
            vector = replace(vector, path_or_inline=z85.encode(vectors[vector.file_path].bytes))
        add["deletionVector"] = vector.to_json()
    return {"add": add}


def _apply_tombstones(work: _Clone, copy: OpenTable) -> None:
    """Apply the deletes and the truncate that are in force, as version 1, once."""
    columns = work.snapshot.inputs.shape.columns
    if not columns.sequence:
        return
    rows = _deletes(work)
    inputs = work.snapshot.inputs
    watermark = inputs.new_watermark
    op = next(name for name in ("op", *(f"op{number}" for number in range(1_000))) if name not in copy.shape().schema)
    mods = rows.append_column(op, pa.repeat(pa.scalar("D"), rows.num_rows))
    if watermark is not None:
        truncate = {**dict.fromkeys(mods.column_names), **dict(zip(columns.sequence, watermark, strict=True)), op: "T"}
        mods = pa.concat_tables([mods, pa.Table.from_pylist([truncate], schema=mods.schema)])
    if mods.num_rows == 0:
        return
    options = ApplyOptions.checked(
        apply_as_deletes=f"{op} = 'D'",
        apply_as_truncates=f"{op} = 'T'",
        batch_id=BatchId(_BATCHES, work.source),
        backfill=inputs.pending.expiry.new_cut is not None,
        merge=True,
    )
    result = apply_batch(copy, mods, options)
    if result.merge is not None and result.merge.error is not None:
        raise result.merge.error


def _carry_forgotten(work: _Clone, copy: OpenTable) -> None:
    """Copy the hashed tombstones, as a version after the others, once."""
    inputs, log = work.snapshot.inputs, copy.log
    files = [(-1, file) for file in hashed_files(inputs.tombstones)] + list(inputs.pending.forgotten)
    if not files or _carried(log, Forget):
        return
    copied = (_copied_tombstones(work, copy, version, file) for version, file in files)
    tombstones = [file for file in copied if file is not None]
    if not tombstones:
        return
    work.target.scheduler.barrier()
    _commit(work, copy, Forget(tombstones=tombstones), features=(HASHED_TOMBSTONES,))
    run_merge(copy)


def _copied_tombstones(work: _Clone, copy: OpenTable, version: int, file: SideFile) -> SideFile | None:
    """Copy a file of hashed tombstones without what later pending expires forget; None if nothing is left."""
    inputs, source, head = work.snapshot.inputs, work.open_table.storage, copy.log.head
    sequence = inputs.pending.expiry.forgets(version)
    if sequence is not None:
        shape = inputs.shape
        keyed = with_keys(inputs.tombstones) if version < 0 else []
        keys = hiding_keys(source, keyed, shape, sequence)
        left = expire_forgotten(source, file, shape, sequence, keys, version=head, target=work.target)
        if left is not file:
            return left
    new = msgspec.structs.replace(file, path=new_path("tombstones", head))
    copy_object(source, file.path, work.target, new.path, size=file.bytes)
    return new


def _carry_cut(work: _Clone, copy: OpenTable) -> None:
    """Carry the cut over, as a version before the tombstones: some of them may be at or below it."""
    inputs = work.snapshot.inputs
    cut = inputs.pending.expiry.new_cut
    if cut is not None and not _carried(copy.log, Expire):
        _commit(work, copy, Expire(sequence=quoted(cut, inputs.shape)))
        run_merge(copy)


def _commit(work: _Clone, copy: OpenTable, event: Event, *, features: tuple[str, ...] = ()) -> None:
    log = copy.log
    draft = Draft(operation="clone", table_id=copy.table_id, events=(event,), features=features)

    def admit(manifest: Manifest) -> Manifest | None:
        raise exists(work.target)

    commit(log, draft, clock=check_clock(log, begun=log.clock()), admit=admit, roll_up=copy.roll_ups.make)


def _deletes(work: _Clone) -> pa.Table:
    """Key and sequence of the deletes in force; some may have been followed by an upsert, which stays."""
    inputs, open_table = work.snapshot.inputs, work.open_table
    shape, columns = inputs.shape, inputs.shape.columns
    names = dict(zip(columns.tombstone_sequence(), columns.sequence, strict=True))
    before = read_tombstones(open_table.storage, inputs.tombstones, shape).rename(names).select(columns.narrow)
    kept = before.with_columns(pl.lit(0).alias(ARRIVAL)).filter(inputs.pending.expiry.kept_after(columns))
    frames = [kept.select(columns.narrow)]
    evaluation = evaluated(open_table.storage, inputs, open_table.settings, columns=columns.key)
    if evaluation is not None:
        frames.append(evaluation.tombstones)
    schema = pa.schema([shape.arrow.field(name).with_nullable(True) for name in columns.narrow])
    return pl.concat(frames, how="vertical_relaxed").to_arrow().cast(schema)
