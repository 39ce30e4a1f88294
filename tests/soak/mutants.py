"""Mistakes that the trials must find, each with the trial that provokes it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from andes_spark.base.merge import finish
from andes_spark.errors import CommitUnknownError
from andes_spark.log import commit
from andes_spark.log.clock import CheckedClock, StoreClock
from andes_spark.log.log import Log
from andes_spark.model.manifest import Manifest, manifest_path
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.s3 import S3Storage
from andes_spark.table.verbs import append, apply
from tests.table import test_mutants as known

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the conditions of the trials that must find it, which are calm but for that."""

    plant: Callable[[Patch], None]
    conditions: dict[str, Any] = field(default_factory=dict)


def store_that_overwrites(patch: Patch) -> None:
    """A put of what exists replaces it, as on a store that ignores ``If-None-Match``."""

    def put_if_absent(self: Any, path: str, data: bytes) -> PutOutcome:
        self.scheduler.barrier()
        self.put(path, data)
        return PutOutcome.CREATED

    patch.setattr(S3Storage, "put_if_absent", put_if_absent)


def unknown_taken_for_failed(patch: Patch) -> None:
    """A commit whose answer was lost is made again under another id, without a look at what is there."""
    true = commit.commit

    def put(log: Log, manifest: Manifest, data: bytes, *arguments: Any) -> bytes:
        path = manifest_path(manifest.version)
        if log.storage.put_if_absent(path, data) is PutOutcome.UNKNOWN:
            raise CommitUnknownError("lost", table=log.table)
        return log.storage.get(path)

    def commit_again(log: Log, draft: commit.Draft, **options: Any) -> Manifest:
        try:
            return true(log, draft, **options)
        except CommitUnknownError:
            log.refresh()
            second_draft = replace(draft, commit_id=f"{draft.commit_id[:-4]}0000")
            return true(log, second_draft, **{**options, "admit": lambda manifest: None})

    patch.setattr(commit, "_put", put)
    for module in (apply, append):
        patch.setattr(module, "commit", commit_again)


def record_after_the_commit(patch: Patch) -> None:
    """A merge is committed a while before the record with its tombstones."""
    true = finish._commit

    def commit_and_rest(*arguments: Any) -> Any:
        answer = true(*arguments)
        time.sleep(0.2)
        return answer

    patch.setattr(finish, "_commit", commit_and_rest)
    known.record_after_the_commit(patch)


def clocks_that_nobody_compares(patch: Patch) -> None:
    """Versions are dated by any clock."""
    patch.setattr(StoreClock, "check", lambda self, **options: CheckedClock(self._log.clock))


def create_then_write(patch: Patch) -> None:
    """An object that is created once has its name before its content."""

    def put_if_absent(self: DiskStorage, path: str, data: bytes) -> PutOutcome:
        name = os.path.join(self.url, path)
        os.makedirs(os.path.dirname(name), exist_ok=True)
        try:
            handle = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return PutOutcome.EXISTS
        try:
            os.write(handle, data)
        except OSError:
            return PutOutcome.UNKNOWN
        finally:
            os.close(handle)
        return PutOutcome.CREATED

    patch.setattr(DiskStorage, "put_if_absent", put_if_absent)


MUTANTS: dict[str, Mutant] = {
    "store that overwrites": Mutant(store_that_overwrites),
    "exists is taken for won": Mutant(known.exists_is_taken_for_won),
    "unknown taken for failed": Mutant(unknown_taken_for_failed, {"faults": 8.0}),
    "record after the commit": Mutant(
        record_after_the_commit,
        {"store": "disk", "kills": 1.0, "sequenced": True, "roles": (*["writer"] * 4, "merger", "reader")},
    ),
    "merge that rebases": Mutant(
        known.merge_that_rebases, {"pauses": 4.0, "merge": "manual", "roles": (*["writer"] * 4, "merger", "merger")}
    ),
    "vacuum without a fence": Mutant(
        known.vacuum_without_a_fence, {"pauses": 4.0, "store": "disk", "roles": (*["writer"] * 4, "merger", "vacuumer")}
    ),
    "clocks that nobody compares": Mutant(clocks_that_nobody_compares, {"clocks": True}),
    "create then write": Mutant(create_then_write, {"store": "small disk"}),
}
