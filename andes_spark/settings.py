"""Settings of the process, passed in and never global; what belongs to a table is stored with the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from andes_spark.errors import OptionError

Metrics = Callable[[str, float, Mapping[str, str]], object]
"""Called with the name, the value and the labels of each metric when a verb ends."""

MIB = 1024 * 1024
STORE_SECONDS = 120.0
_LEAST = {
    "threads": 1,
    "target_file_bytes": 1,
    "commit_attempts": 1,
    "merge_rounds": 1,
    "checkpoint_interval": 1,
    "compact_files": 2,
}


@dataclass(frozen=True)
class Settings:
    """Settings of this process. They do not change the content of a table.

    Attributes:
        byte_budget: estimated Arrow bytes that one operation may hold in the calling process. Work above
            it runs in Spark tasks, or part by part where there is no Spark. 0 forces the parts.
        broadcast_bytes: winners up to this size are handed to every task; above it keys are bucketed.
        key_cache_bytes: keys and deletion vectors of the base, and tombstones, that an open table keeps in memory, so
            that its next merge need not read them again; 0 keeps none.
        key_folder: private folder on a local disk for keys of the base, in place of ``key_cache_bytes`` of memory:
            more keys fit, and new processes find them there. Tables and processes may share it, and it may be emptied
            at any time. None: no folder.
        key_folder_bytes: size of that folder; beyond it the files that were used least recently are deleted.
        threads: threads of the calling process for files that are read or written side by side.
        target_file_bytes: size at which files of the base and of mods are split.
        commit_attempts: number of attempts after lost races before ``CommitConflictError``.
        commit_seconds: how long a put that commits is repeated while the store throttles or does not say what became
            of it, before ``CommitUnknownError``.
        store_seconds: time for which any other request is repeated while the store throttles, fails or does not
            answer, before ``ThrottledError`` or ``StoreUnavailableError``; not for a store that is passed as an object.
            A store that has never answered this process is given a few seconds only.
        merge_rounds: maximum number of rounds of a merge.
        checkpoint_interval: Delta commits between two checkpoints of the base. None: 5 on a remote store, where each
            commit after the checkpoint costs its readers a request, else 10.
        compact_files: small files of about one size that are packed together.
        compact_dead_ratio: share of deleted rows at which a file of the base is written anew, with the newer rows of
            its range of keys.
        compact_bytes: bytes of files that one merge may write anew to keep reads fast; 0 rewrites nothing.
        auto_merge_reads: for the merge policy ``"auto"``: expected number of reads between two versions.
        auto_merge_seconds: for the merge policy ``"auto"``: time after which pending versions are merged at the latest,
            by the next apply or ``andes table merge --if-due``.
        metrics: called with name, value and labels of each metric when a verb ends, on the caller's thread. It stays
            in this process: settings that travel to tasks have none.
    """

    byte_budget: int = 512 * MIB
    broadcast_bytes: int = 64 * MIB
    key_cache_bytes: int = 256 * MIB
    key_folder: str | None = None
    key_folder_bytes: int = 16 * 1024 * MIB
    threads: int = 4
    target_file_bytes: int = 128 * MIB
    commit_attempts: int = 100
    commit_seconds: float = 30.0
    store_seconds: float = STORE_SECONDS
    merge_rounds: int = 3
    checkpoint_interval: int | None = None
    compact_files: int = 4
    compact_dead_ratio: float = 0.2
    auto_merge_reads: float = 0.1
    auto_merge_seconds: float = 900.0
    compact_bytes: int = 512 * MIB
    metrics: Metrics | None = None

    def __post_init__(self) -> None:
        """Refuse values that no work can be done with.

        Raises:
            OptionError: ``option`` names the first.
        """
        if self.metrics is not None and not callable(self.metrics):
            raise OptionError(
                f"Settings: metrics is a function of name, value and labels, and {self.metrics!r} was given",
                option="metrics",
            )
        if self.key_folder is not None and not (isinstance(self.key_folder, str) and self.key_folder):
            raise OptionError(
                f"Settings: key_folder is the path of a folder, and {self.key_folder!r} was given", option="key_folder"
            )
        for field in (setting for setting in fields(self) if setting.name not in ("metrics", "key_folder")):
            if field.name == "checkpoint_interval" and self.checkpoint_interval is None:
                continue
            value, least = getattr(self, field.name), _LEAST.get(field.name, 0)
            kinds = (int, float) if field.type == "float" else (int,)
            if not isinstance(value, kinds) or isinstance(value, bool) or not value >= least:
                raise OptionError(
                    f"Settings: {field.name} is a number, {least} or more, and {value!r} was given", option=field.name
                )

    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "metrics"}
        return (_settings, (values,))


def _settings(values: dict[str, Any]) -> Settings:
    return Settings(**values)
