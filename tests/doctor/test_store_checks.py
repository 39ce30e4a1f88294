"""Checks of stores: those that tables can trust pass, and each planted fault is found."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from andes_spark.doctor import store_checks
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import ObjectInfo, PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.wrapped import WrappedStorage


@pytest.fixture(params=["memory", "disk"])
def storage(request, tmp_path) -> Any:
    return MemoryStorage() if request.param == "memory" else DiskStorage(str(tmp_path / "t"))


def test_stores_of_tables_pass(storage):
    for check in (store_checks.conditional_put, store_checks.listing, store_checks.clock):
        assert check(storage).status == "ok", check


class Overwriting(WrappedStorage):
    """A store that ignores the condition of a put."""

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        self._storage.put(path, data)
        return PutOutcome.CREATED


class Unordered(WrappedStorage):
    """A store whose listings are in no order."""

    def list(self, prefix: str = "", *, after: str | None = None) -> Any:
        return iter(sorted(self._storage.list(prefix, after=after), key=lambda info: info.path[::-1]))


class Late(WrappedStorage):
    """A store whose listings lack the newest object."""

    def list(self, prefix: str = "", *, after: str | None = None) -> Any:
        return iter(list(self._storage.list(prefix, after=after))[:-1])


class Ahead(WrappedStorage):
    """A store whose clock is an hour ahead."""

    def info(self, path: str) -> ObjectInfo | None:
        return ObjectInfo(path, 1, int(time.time() * 1000) + 3_600_000)


@pytest.mark.parametrize(
    ("store", "check", "detail"),
    [
        (Overwriting, store_checks.conditional_put, "8 of 8 writers created the same object"),
        (Unordered, store_checks.listing, "not in the order"),
        (Late, store_checks.listing, "24 and 14 of them"),
        (Ahead, store_checks.clock, "3[56]\\d\\d s from the store's"),
    ],
)
def test_faults_of_a_store_are_found(store, check, detail):

    finding = check(store(MemoryStorage()))
    assert finding.status == "failed"
    assert re.search(detail, finding.detail), finding.detail
