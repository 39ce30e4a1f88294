"""Verification of the log: stored manifests, their chain, and the files that they name."""

from __future__ import annotations

from functools import partial

from andes_spark.errors import LogDamagedError
from andes_spark.model.documents import digest_of
from andes_spark.model.events import files_of
from andes_spark.model.manifest import Manifest, decode_manifest, manifest_path
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.open_table import OpenTable


def check_log(open_table: OpenTable, head: int, findings: Findings) -> list[Manifest] | None:
    """Check manifests 0 to ``head`` and the checksums of their files, independently of each other.

    Returns:
        The manifests; None if one of them is missing or damaged.
    """
    manifests: list[Manifest] = []
    before: str | None = None
    for version in range(head + 1):
        data = findings.get(partial(_read, open_table, version))
        manifest = None
        if data is not None:
            manifest = findings.get(partial(decode_manifest, data, table=open_table.table, version=version))
        if manifest is not None:
            manifests.append(manifest)
            if before is not None and manifest.previous != before:
                findings.check(partial(_refuse_chain, open_table, version))
        before = None if data is None else digest_of(data)
    for manifest in manifests:
        _check_files(open_table, manifest, findings)
    return manifests if len(manifests) == head + 1 else None


def _read(open_table: OpenTable, version: int) -> bytes:
    path = manifest_path(version)
    data = open_table.storage.find(path)
    if data is None:
        raise LogDamagedError(
            f"{open_table.table}: {path} is missing; restore it", table=open_table.table, path=path, version=version
        )
    return data


def _refuse_chain(open_table: OpenTable, version: int) -> None:
    path = manifest_path(version - 1)
    raise LogDamagedError(
        f"{open_table.table}: {path} is not what version {version} was committed on: one of the two manifests was "
        "edited; restore it",
        table=open_table.table,
        path=path,
        version=version - 1,
    )


def _check_files(open_table: OpenTable, manifest: Manifest, findings: Findings) -> None:
    for entry in files_of(manifest.events):
        findings.checksum(open_table.storage, entry.path, entry.sha256)
    for ledger in manifest.roll_up.ledger if manifest.roll_up else []:
        findings.checksum(open_table.storage, ledger.path, ledger.sha256)
