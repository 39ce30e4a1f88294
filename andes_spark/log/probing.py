"""Search for manifests by name, several in parallel, up to the first missing one; the log is never listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from andes_spark.errors import LogDamagedError, NoSuchTableError
from andes_spark.model.documents import is_sealed, seal
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked

HINT = "_andes/hint"


def ask_manifests(storage: Storage, versions: Iterable[int]) -> list[Asked[bytes | None]]:
    """Request manifests, without waiting for the answers: None for those that do not exist."""
    return [storage.scheduler.ask(storage.find, manifest_path(version)) for version in versions]


def fetch(storage: Storage, versions: Iterable[int]) -> list[bytes | None]:
    """Read manifests in parallel; None for those that do not exist."""
    return [answer.result() for answer in ask_manifests(storage, versions)]


def consecutive(
    storage: Storage, versions: Sequence[int], answers: Sequence[bytes | None]
) -> Iterator[tuple[int, bytes]]:
    """Yield consecutive versions with their bytes, up to the first missing one.

    Args:
        storage: the table's folder.
        versions: requested versions, ascending.
        answers: bytes of each, None if missing.

    Raises:
        LogDamagedError: a version is missing although a later one exists.
    """
    for index, (version, data) in enumerate(zip(versions, answers, strict=True)):
        if data is None:
            # Other writers may have committed between the answers.
            later = any(answer is not None for answer in answers[index + 1 :])
            data = storage.find(manifest_path(version)) if later else None
            if data is None and later:
                raise hole(storage.url, version)
        if data is None:
            return
        yield version, data


def read_hint(storage: Storage) -> int | None:
    """Return the version in the hint; None if the hint is missing or not as it was written."""
    data = storage.find(HINT)
    return None if data is None or not is_sealed(data) else int(msgspec.json.decode(data)["version"])


def write_hint(storage: Storage, version: int) -> None:
    """Write the newest version for the next reader; without it, opening takes more requests."""
    storage.put(HINT, seal(msgspec.json.encode({"version": version})), sync=False)


def gallop(storage: Storage) -> int:
    """Find the newest version without a hint, by exponential and binary search: about 2 log2(versions) requests.

    Raises:
        NoSuchTableError: there is no manifest 0.
    """

    def exists(version: int) -> bool:
        return storage.size(manifest_path(version)) is not None

    if not exists(0):
        raise _no_table(storage)
    low, step = 0, 1
    while exists(low + step):
        low += step
        step *= 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exists(middle) else (low, middle)
    return low


def hole(table: str, version: int) -> LogDamagedError:
    """Return the error for a missing manifest below the head."""
    return LogDamagedError(
        f"{table}: {manifest_path(version)} is missing, though later versions exist; restore it, or repair() "
        "names what is lost with it",
        table=table,
        version=version,
    )


def hinted_is_gone(table: str, version: int) -> LogDamagedError:
    """Return the error for a hint to a missing manifest."""
    return LogDamagedError(
        f"{table}: {HINT} has seen version {version}, but its manifest is gone; restore it, or "
        "repair() names what is lost with it",
        table=table,
        version=version,
    )


def _no_table(storage: Storage) -> NoSuchTableError:
    if next(storage.list("_delta_log"), None) is None:
        text = "there is no table of andes_spark here; check the path, or create the table"
    else:
        text = (
            "this is a Delta table without a log of mods; take it in by ModTable.convert() with its keys, or create a "
            "table in another folder, with the rows of this one as data"
        )
    return NoSuchTableError(f"{storage.url}: {text}", table=storage.url)
