"""What stays after the release of earlier versions, written anew without what names keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from andes_spark.base.records import read_record
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.log import read_commit
from andes_spark.delta.paths import LOG_FOLDER, entry_path
from andes_spark.log.mod_files import read_entry, write_quarantine
from andes_spark.model.documents import encode
from andes_spark.model.files import Entry
from andes_spark.model.manifest import Manifest, decode_manifest, manifest_path
from andes_spark.model.merge_record import MERGES
from andes_spark.run.steps import Steps
from andes_spark.storage.interface import ObjectInfo
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.forgetting.mentions import Keys, named_rows
from andes_spark.table.forgetting.proof import Removed, Rewritten
from andes_spark.table.forgetting.redaction import redacted_entry, redacted_manifest
from andes_spark.table.maintenance.delta_history import entry_versions, named_by_first_checkpoints
from andes_spark.table.maintenance.files_of import named_by_manifest, named_by_record
from andes_spark.table.maintenance.vacuum import Plan
from andes_spark.table.open_table import OpenTable

_QUARANTINE = "_andes/quarantine"
_CHANGES = "_change_data"
"""Change data of Delta, from before a table was converted."""
_NUMBERED = re.compile(r"_andes/quarantine/(\d{20})-[^/]*\.parquet")
_RECORD = re.compile(rf"{MERGES}/(\d{{20}})-([0-9a-f-]+)\.json")
_DERIVED = re.compile(rf"{LOG_FOLDER}/\.?(\d{{20}})\.(?!json$).*")
"""Checkpoints, compacted entries, checksums and remains of them: all are made from the entries again."""
_SIDE = re.compile(rf"{LOG_FOLDER}/_(sidecars|staged_commits|commits)/.*")


class Sweep:
    """One pass over the objects of a table that deletes or rewrites those that name keys.

    Args:
        open_table: the table.
        steps: collector of steps.
        keys: keys that are forgotten.

    Attributes:
        removed: objects that were deleted.
        rewritten: objects that were written anew, by path.
    """

    def __init__(self, open_table: OpenTable, steps: Steps, keys: Keys) -> None:
        self._open_table = open_table
        self._storage = open_table.storage
        self._steps = steps
        self._keys = keys
        self.removed: list[Removed] = []
        self.rewritten: dict[str, Rewritten] = {}

    def run(self, plan: Plan, version: int) -> None:
        """Write anew what stays below a version that a forget committed.

        Args:
            plan: what was deleted.
            version: the version.
        """
        with self._steps.step("write manifests anew"):
            manifests = self._manifests(version, plan.needed.floor)
        with self._steps.step("delete what no version names"):
            self._delete(self._void_records(manifests))
            self._delete(self._unnamed_quarantine(manifests, fence=plan.limits.fence))
        with self._steps.step("write the Delta log anew"):
            self._delta_log(plan)

    def _manifests(self, version: int, floor: int) -> dict[int, Manifest]:
        """Write manifests anew without ranges of keys and refused rows of the keys; return all."""
        manifests: dict[int, Manifest] = {}
        changed: list[tuple[str, bytes]] = []
        replaced: dict[str, Entry | None] = {}

        def read(number: int) -> bytes:
            return self._storage.get(manifest_path(number))

        def refused(entry: Entry) -> Entry | None:
            if entry.path not in replaced:
                replaced[entry.path] = self._without_refused(entry, version)
            return replaced[entry.path]

        for number, answer in in_windows(self._storage.scheduler, read, range(version + 1)):
            data = answer.result()
            manifest = decode_manifest(data, table=self._open_table.table, version=number)
            new = redacted_manifest(manifest, data, floor=floor, refused=refused)
            if new is not manifest:
                changed.append((manifest_path(number), encode(new)))
            manifests[number] = new
        self._storage.scheduler.barrier()
        self._put(changed)
        self._open_table.log.read_again()
        self._delete(
            self._infos([path for path, new_entry in replaced.items() if new_entry is None or new_entry.path != path])
        )
        return manifests

    def _without_refused(self, entry: Entry, version: int) -> Entry | None:
        """Write a file of refused rows without those of the keys; return its entry, None if no row is left."""
        rows = read_entry(self._storage, entry, table=self._open_table.table)
        named = named_rows(rows["row"].to_pylist(), self._keys)
        if not named:
            return entry
        kept = np.ones(rows.num_rows, np.bool_)
        kept[named] = False
        if not kept.any():
            return None
        rest = rows.filter(pa.array(kept))
        new = write_quarantine(self._storage, rest, head=version, schema_id=entry.schema_id)
        self.rewritten[new.path] = Rewritten(new.path, new.sha256)
        return new

    def _void_records(self, manifests: dict[int, Manifest]) -> Iterator[ObjectInfo]:
        """Merge records of writers that lost the race for a version."""
        for info in self._storage.list(MERGES):
            match = _RECORD.fullmatch(info.path)
            manifest = manifests.get(int(match[1])) if match is not None else None
            if match is not None and manifest is not None and manifest.commit_id != match[2]:
                yield info

    def _unnamed_quarantine(self, manifests: dict[int, Manifest], *, fence: int) -> Iterator[ObjectInfo]:
        """Files of refused rows that no version names, of writers that began below the fence."""
        named = {path for manifest in manifests.values() for path in named_by_manifest(manifest)}
        table_id = self._open_table.table_id
        for info in self._storage.list(MERGES):
            match = _RECORD.fullmatch(info.path)
            if match is not None:
                named.update(named_by_record(read_record(self._storage, table_id, int(match[1]), match[2])))
        for info in self._storage.list(_QUARANTINE):
            match = _NUMBERED.fullmatch(info.path)
            if match is not None and int(match[1]) < fence and info.path not in named:
                yield info

    def _delta_log(self, plan: Plan) -> None:
        """Write entries anew, and a checkpoint in the place of all earlier ones."""
        low, storage = plan.needed.low, self._storage
        self._delete(self._infos(sorted(named_by_first_checkpoints(storage) - plan.needed.files)))
        written = write_checkpoint(storage, low.state, now_ms=self._open_table.log.clock())
        assert written, "checked before anything was changed"
        self._open_table.base.checkpoint = low.version
        versions = sorted(number for number in entry_versions(storage) if number <= low.version)

        def entries() -> Iterator[tuple[str, bytes]]:
            for number, answer in in_windows(storage.scheduler, partial(read_commit, storage), versions):
                commit = answer.result()
                data = None if commit is None else redacted_entry(commit, low.state.files)
                if data is not None:
                    yield entry_path(number), data

        self._put(entries())
        self._delete(self._derived(low.version))

    def _derived(self, version: int) -> Iterator[ObjectInfo]:
        """Files that are made from entries up to a version, other than its own checkpoint."""
        yield from self._storage.list(_CHANGES)
        for info in self._storage.list(LOG_FOLDER):
            match = _DERIVED.fullmatch(info.path)
            own = info.path == f"{LOG_FOLDER}/{version:020d}.checkpoint.parquet"
            if (match is not None and int(match[1]) <= version and not own) or _SIDE.fullmatch(info.path):
                yield info

    def _put(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write objects anew, several beside each other."""

        def put(entry: tuple[str, bytes]) -> None:
            self._storage.put(*entry)

        for (path, data), answer in in_windows(self._storage.scheduler, put, objects):
            answer.result()
            self.rewritten[path] = Rewritten(path, hashlib.sha256(data).hexdigest())

    def _infos(self, paths: Sequence[str]) -> Iterator[ObjectInfo]:
        for info in map(self._storage.info, paths):
            if info is not None:
                yield info

    def _delete(self, infos: Iterable[ObjectInfo]) -> None:
        deleted = list(infos)
        self._storage.delete(info.path for info in deleted)
        self.removed += [Removed(info.path, info.size) for info in deleted]
