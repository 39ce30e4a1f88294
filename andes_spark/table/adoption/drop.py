"""Drop: the removal of a table with all its files.

It is committed as the last version, which keeps others from writing to what is being removed. The manifest of that
version is deleted last: while it is there, an interrupted drop goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

from andes_spark.delta.log import load_state
from andes_spark.delta.paths import LOG_FOLDER
from andes_spark.errors import NoSuchTableError, OptionError, TableExistsError
from andes_spark.log.commit import Draft, commit
from andes_spark.log.dropped import drops, refuse_gone
from andes_spark.model.display import Displayed, counts_text, size_text
from andes_spark.model.events import Drop
from andes_spark.model.manifest import MANIFESTS, Manifest, decode_manifest
from andes_spark.storage.interface import ObjectInfo, Storage
from andes_spark.table.maintenance.delta_history import named_by_entries
from andes_spark.table.maintenance.files_of import vectors_of
from andes_spark.table.open_table import OpenTable

_NAMED = 3
_DELETED_AT_ONCE = 1_000
_OURS = re.compile(
    rf"_andes/.*|_andes_probe-[0-9a-f]{32}|{LOG_FOLDER}/.*|_delta_index/.*|_change_data/.*|_SUCCESS"
    r"|([^_./][^/]*/)*\.?(part-[^/]*\.parquet|deletion_vector_[^/]*\.bin)(\.crc)?",
    re.DOTALL,
)
"""Files that belong to a table by their names; others do if the Delta log names them."""
_MANIFEST = re.compile(rf"{MANIFESTS}/(\d{{20}})\.json")


@dataclass(frozen=True, repr=False)
class DropResult(Displayed):
    """Result of a drop, as ``ModTable.drop`` returns it.

    Attributes:
        table: URL of the table.
        version: version that dropped the table.
        files: number of files that this call deleted.
        bytes: size of these files in bytes.
    """

    table: str
    version: int
    files: int
    bytes: int

    def summary(self) -> str:
        """See ``Displayed``."""
        removed = counts_text({"files": self.files}, none="no file")
        return f"{self.table} was dropped by version {self.version}: {removed}, {size_text(self.bytes)}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"dropped": self.summary()}


def drop(open_table: OpenTable, confirm: str) -> DropResult:
    """Drop an open table; see ``ModTable.drop``."""
    storage, log = open_table.storage, open_table.log
    _require_confirmed(storage, confirm)
    steps = open_table.begin("drop", log.head + 1)
    with steps.step("list the files"):
        is_there = storage.scheduler.ask(refuse_gone, storage, open_table.table_id)
        listed = list(storage.list())
        is_there.result()
        log.refresh()
        _refuse_others(storage, listed)
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=log.clock())
    log.drops = True
    draft = Draft(operation="drop", table_id=open_table.table_id, events=(Drop(),))

    def admit(manifest: Manifest) -> Manifest | None:
        return manifest if drops(manifest) else None

    with steps.step("commit"):
        manifest = commit(log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make)
    with steps.step("delete the files"):
        # Hints of this handle are written beside its work, and must not follow the deletion.
        storage.scheduler.settle()
        return _remove(storage, manifest.version)


def finish_drop(storage: Storage, confirm: str) -> DropResult | None:
    """Go on with a drop that was interrupted; None if the newest manifest drops nothing.

    Raises:
        OptionError: ``confirm`` is not the table.
    """
    version = max(_manifests(storage), default=None)
    if version is None:
        raise NoSuchTableError(
            f"{storage.url}: there is no table of andes_spark here; check the path", table=storage.url
        )
    path = f"{MANIFESTS}/{version:020d}.json"
    manifest = decode_manifest(storage.get(path), table=storage.url, version=version)
    if not drops(manifest):
        return None
    _require_confirmed(storage, confirm)
    return _remove(storage, version)


def _manifests(storage: Storage) -> Iterator[int]:
    for info in storage.list(MANIFESTS):
        match = _MANIFEST.fullmatch(info.path)
        if match is not None:
            yield int(match[1])


def _require_confirmed(storage: Storage, confirm: str) -> None:
    url = storage.url.rstrip("/")
    name = url.rpartition("/")[2]
    if confirm.rstrip("/").replace("s3a://", "s3://", 1) not in (name, url.replace("s3a://", "s3://", 1)):
        raise OptionError(
            f'{url}: confirm names the table that is to be dropped with all its files: confirm="{name}"',
            option="confirm",
            table=storage.url,
        )


def _refuse_others(storage: Storage, infos: Iterable[ObjectInfo]) -> None:
    """Refuse a folder with files that are no part of the table."""
    others = {info.path for info in infos if not _OURS.fullmatch(info.path)}
    if others:
        # Files of a converted table have any names.
        for path in _named_by_delta(storage):
            others.discard(path)
            folder, slash, name = path.rpartition("/")
            others.discard(f"{folder}{slash}.{name}.crc")
    if others:
        some = sorted(others)[:_NAMED]
        raise TableExistsError(
            f"{storage.url}: the folder holds files that are no part of the table ({', '.join(some)}"
            f"{', ...' if len(others) > _NAMED else ''}); move them away, and drop the table then",
            table=storage.url,
            paths=tuple(some),
        )


def _named_by_delta(storage: Storage) -> Iterator[str]:
    """Files that the Delta log names: live ones, and those of its entries."""
    for path, file in load_state(storage).files.items():
        yield from (path, *vectors_of({path: file}))
    yield from named_by_entries(storage)


def _remove(storage: Storage, version: int) -> DropResult:
    """Delete all files: data, the Delta log, the log of mods, and the manifest of the drop at the end."""
    files = size = 0
    last = f"{MANIFESTS}/{version:020d}.json"
    infos = list(storage.list())

    def place(info: ObjectInfo) -> int:
        prefixes = (LOG_FOLDER, "_andes", MANIFESTS)
        within = [at + 1 for at, prefix in enumerate(prefixes) if info.path.startswith(f"{prefix}/")]
        return len(prefixes) + 1 if info.path == last else max(within, default=0)

    for _, group in groupby(sorted(infos, key=place), key=place):
        while some := list(islice(group, _DELETED_AT_ONCE)):
            storage.delete([info.path for info in some])
            files, size = files + len(some), size + sum(info.size for info in some)
    return DropResult(storage.url, version, files, size)
