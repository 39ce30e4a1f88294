"""Verification: comparison of all stored files with the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.log import first_loadable, load_state
from andes_spark.errors import AndesError, LogDamagedError
from andes_spark.log.line import taken_in
from andes_spark.log.origin import origin_of
from andes_spark.log.readable import floor_of
from andes_spark.model.display import Displayed, count_text
from andes_spark.model.manifest import MANIFESTS, decode_manifest, manifest_path
from andes_spark.model.merge_record import MERGES, no_record
from andes_spark.schema.schema import Schema, simple_string
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.needed import Needed, needed_files
from andes_spark.table.maintenance.unused import unused_files
from andes_spark.table.maintenance.verify_checkpoints import check_checkpoints
from andes_spark.table.maintenance.verify_kept import check_tagged
from andes_spark.table.maintenance.verify_log import Expects, LogSummary, check_log
from andes_spark.table.maintenance.verify_past import PastCheck, newest_entry
from andes_spark.table.maintenance.verify_rows import SHARE, RowCheck
from andes_spark.table.maintenance.verify_since import check_since
from andes_spark.table.open_table import OpenTable, shape_of


@dataclass(frozen=True, repr=False)
class VerifyResult(Displayed):
    """Result of a verification, as ``ModTable.verify`` returns it.

    Attributes:
        version: newest version of the log.
        applied: version that the base contains.
        files: number of files whose checksums were compared.
        rows: number of rows of the base compared with the law's evaluation.
        problems: messages of the problems; empty if there are none.
        missing: data files and deletion vectors of older states of the base that no longer exist, as after a VACUUM
            with a retention. They do not affect the newest version.
        unused: files that no version names: of interrupted writers, of lost races, or of a write under way. They do no
            harm. Empty if there are problems, since a damaged document may name some.
    """

    version: int
    applied: int
    files: int
    rows: int
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no problem was found; missing and unused files are none."""
        return not self.problems

    def summary(self) -> str:
        """See ``Displayed``."""
        result = "nothing is wrong" if self.ok else count_text(len(self.problems), "problems")
        return f"{result}; version {self.version}, {count_text(self.files, 'files')}, {count_text(self.rows, 'rows')}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        fields = {
            "problems": "\n".join(self.problems) or "none",
            "version": f"{self.version}; the base contains version {self.applied}",
            "checked": f"{count_text(self.files, 'files')}, {count_text(self.rows, 'rows')} of the base",
        }
        if self.problems:
            fields["remedy"] = "repair(), which makes again what the log tells, and names what is lost"
        lists = {"missing": self.missing, "unused": self.unused}
        return fields | {name: "\n".join(paths) for name, paths in lists.items() if paths}


def verify(open_table: OpenTable, since: int | None = None) -> VerifyResult:
    """Verify a table; see ``ModTable.verify``."""
    findings = Findings()
    if since is not None:
        return _verify_since(open_table, since, findings)
    return examine(open_table, findings)


def examine(open_table: OpenTable, findings: Findings) -> VerifyResult:
    """Verify a whole table, and keep what was found."""
    storage, begun = open_table.storage, time.time_ns() // 1_000_000
    # The base is read first: with concurrent writers, it must not contain more than the log that is read.
    base = findings.get(open_table.base.snapshot)
    findings.check(open_table.log.refresh)
    head = open_table.log.head
    needed = None
    reach = Reach(-1, floor_of(open_table.log)) if base is None else findings.get(partial(_reach, open_table))
    floor = floor_of(open_table.log) if reach is None else reach.floor
    if base is not None and base.applied <= head and floor:
        needed = findings.get(partial(_needed, open_table, floor))
    summary = check_log(storage, range(head + 1), findings, expects=_in_log(floor, needed))
    known = needed is not None or not floor
    first = -1 if needed is None else needed.low.applied
    known = known and not any(version > first for version in summary.unknown)
    compared = base is not None and base.applied <= head and summary.complete and known
    if base is not None:
        _check_base(open_table, base, findings)
        if compared:
            begins = _first(summary) if reach is None else max(_first(summary), reach.delta_version)
            findings.check(partial(_compare, open_table, summary, base, needed, begins, findings))
        elif base.applied > head:
            findings.check(partial(open_table.log.pending, base.applied, head))
    past = PastCheck(
        storage,
        open_table.table_id,
        open_table.shape(),
        compared=base.state.files if base is not None and compared else (),
        expects=_in_base(floor, needed),
        batch_bytes=open_table.settings.byte_budget // SHARE,
        findings=findings,
    )
    past.name_before(_first(summary), floor=floor)
    last = newest_entry(storage) if base is None else base.version
    past.run(range(_first(summary), 1 + last), cleaned=-1 if reach is None else reach.delta_version)
    findings.check(partial(check_checkpoints, storage, findings))
    if compared and findings.missing:
        check_tagged(open_table, findings)
    unused = findings.get(partial(unused_files, storage, open_table.table_id, findings, before_ms=begun))
    return _result(head, -1 if base is None else base.applied, findings, unused or ())


def _verify_since(open_table: OpenTable, since: int, findings: Findings) -> VerifyResult:
    base = findings.get(open_table.base.snapshot)
    findings.check(open_table.log.refresh)
    head = open_table.log.head
    if base is not None:
        foreign = findings.get(partial(open_table.base.taken_foreign, base))
        if foreign is not None:
            findings.problems.append(foreign.error(open_table.table).message)
        check_since(open_table, base, since, findings)
    return _result(head, -1 if base is None else base.applied, findings, ())


def verify_damaged(storage: Storage, settings: Settings, error: AndesError) -> VerifyResult:
    """Verify what is stored of a table that cannot be opened: each document and file for itself.

    Args:
        storage: the table's folder.
        settings: of the process.
        error: of the open; raised again if the folder holds no manifest.
    """
    findings = Findings()
    versions = list(_stored_versions(storage))
    if not versions:
        raise error
    # First all checks of single documents, which name each damaged one; the error of the open may say the same.
    floor = _newest_floor(storage, versions)
    summary = check_log(storage, versions, findings, expects=_in_log(floor, None))
    shape = None if summary.definition is None else shape_of(summary.definition, storage.url)
    past = PastCheck(
        storage,
        summary.table_id or "",
        shape,
        compared=(),
        expects=_in_base(floor, None),
        batch_bytes=settings.byte_budget // SHARE,
        findings=findings,
    )
    past.run(range(_first(summary), 1 + newest_entry(storage)))
    findings.check(partial(check_checkpoints, storage, findings))
    findings.check(partial(_raise, error))
    return _result(versions[-1], -1, findings, ())


def _stored_versions(storage: Storage) -> Iterator[int]:
    """Versions of the stored manifests, ascending, and the first missing version of each gap between them."""
    following = 0
    for info in storage.list(MANIFESTS):
        name = info.path.removeprefix(f"{MANIFESTS}/")
        if name[20:] != ".json" or not name[:20].isdigit():
            continue
        version = int(name[:20])
        if version > following:
            yield following
        yield version
        following = version + 1


def _first(summary: LogSummary) -> int:
    """Delta version at the start of the log: what is before it is the history of a converted table."""
    return summary.origin.delta_version if summary.origin is not None else 0


def _raise(error: AndesError) -> None:
    raise error


def _check_base(open_table: OpenTable, base: BaseSnapshot, findings: Findings) -> None:
    foreign = findings.get(partial(open_table.base.taken_foreign, base))
    if foreign is not None:
        findings.problems.append(foreign.error(open_table.table).message)
    for path, file in base.state.files.items():
        if file.footer is not None:
            findings.check(partial(findings.page_index, open_table.storage, path, file.footer))


@dataclass(frozen=True)
class Reach:
    """What Delta's own clean-up of the log left of it.

    Attributes:
        delta_version: oldest Delta version that can be loaded with all later ones; -1 if no entry was deleted.
        floor: oldest version of the log that can be read.
    """

    delta_version: int
    floor: int


def _reach(open_table: OpenTable) -> Reach:
    origin, floor = origin_of(open_table.log).delta_version, floor_of(open_table.log)
    first = first_loadable(open_table.storage, origin)
    if first is None or first == origin:
        return Reach(-1, floor)
    state = load_state(open_table.storage, version=first)
    return Reach(first, max(floor, state.txns.get(open_table.table_id, 0)))


def _needed(open_table: OpenTable, floor: int) -> Needed:
    # Pins are no part of the log: what they keep is not expected, and may be gone if one came too late.
    return needed_files(open_table, floor, pins=())


def _newest_floor(storage: Storage, versions: Sequence[int]) -> int:
    """Floor of the newest manifest that can be read."""
    for version in reversed(versions):
        data = storage.find(manifest_path(version))
        with suppress(AndesError):
            if data is not None:
                return decode_manifest(data, table=storage.url, version=version).floor
    return 0


def _in_log(floor: int, needed: Needed | None) -> Expects:
    """Which files that manifests name a vacuum with this floor has not deleted; it deletes no refused rows."""

    def expects(version: int, path: str) -> bool:
        if not floor or path.startswith("_andes/quarantine/"):
            return True
        if needed is None:
            return version > floor
        # Tombstones of a take-in below are those of a merge record, which may have been written anew with it.
        also = path in needed.files and not path.startswith("_andes/tombstones/")
        return version > needed.low.applied or also

    return expects


def _in_base(floor: int, needed: Needed | None) -> Expects:
    """Which files that entries of the Delta log name, and which merge records, it has not deleted."""

    def expects(delta_version: int, path: str) -> bool:
        if not floor:
            return True
        if needed is not None:
            return delta_version > needed.low.version or path in needed.files
        return not path.startswith(MERGES) or path >= f"{MERGES}/{floor:020d}"

    return expects


def _compare(
    open_table: OpenTable,
    summary: LogSummary,
    base: BaseSnapshot,
    needed: Needed | None,
    begins: int,
    findings: Findings,
) -> None:
    """Compare the base with its definition, and with the evaluation of all mods from the state at the floor on.

    Args:
        open_table: the table.
        summary: of the log.
        base: newest state of the base.
        needed: what the readable versions need; None for all.
        begins: Delta version at the start of the log, which contains no mods, or a later one that contains none.
        findings: collector of problems.
    """
    findings.check(partial(_compare_columns, open_table, base))
    if needed is None:
        state = load_state(open_table.storage, version=begins)
        origin = BaseSnapshot(state, 0, no_record(open_table.table_id))
        take_in = taken_in(summary.changes_up_to(base.applied))
        origin = origin if take_in is None else open_table.base.after_take_in(*take_in)
    else:
        origin, _ = open_table.evaluable(needed.low, base.applied)
    RowCheck(
        open_table.storage,
        open_table.shape(),
        summary,
        origin,
        base,
        byte_budget=open_table.settings.byte_budget,
        findings=findings,
    ).run()


def _compare_columns(open_table: OpenTable, base: BaseSnapshot) -> None:
    """Compare the columns of the base with those of the version that it contains.

    Raises:
        LogDamagedError: they differ.
    """
    stored = Schema.from_json(base.state.metadata.schema_json)
    schema = open_table.shape_at(base.applied).schema
    columns, expected = ([(f.name, simple_string(f.type)) for f in fields] for fields in (stored, schema))
    if columns != expected:
        raise LogDamagedError(
            f"{open_table.table}: the columns of the base are {stored.to_ddl()}, and version {base.applied}, which it "
            f"contains, has {schema.to_ddl()}; another writer changed the schema of the Delta table",
            table=open_table.table,
            applied=base.applied,
        )


def _result(version: int, applied: int, findings: Findings, unused: tuple[str, ...]) -> VerifyResult:
    return VerifyResult(
        version,
        applied,
        findings.files,
        findings.rows,
        tuple(findings.problems),
        tuple(findings.missing),
        () if findings.problems else unused,
    )
