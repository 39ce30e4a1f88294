"""A store that replaces what it should keep is refused when a table comes to it, with nothing left there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import UnsupportedTableError
from andes_spark.schema.schema import Schema
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.wrapped import WrappedStorage
from andes_spark.testing.tables import create, rows
from tests.doctor.test_store_checks import Overwriting
from tests.foreign_tables import ForeignTable


class Unanswered(WrappedStorage):
    """A store that never tells the outcome of the first conditional put of a name."""

    def __init__(self, storage: Any) -> None:
        super().__init__(storage)
        self.requested: set[str] = set()

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        outcome = super().put_if_absent(path, data)
        first = path not in self.requested
        self.requested.add(path)
        return PutOutcome.UNKNOWN if first else outcome


def loaded(storage: Any) -> None:
    create(storage, data=rows((1, 1, "x")))


def converted(storage: Any) -> None:
    foreign = ForeignTable(storage, Schema.from_ddl("id BIGINT, seq BIGINT"), vectors=False)
    foreign.create()
    foreign.append(pa.table({"id": [1], "seq": [1]}))
    ModTable.convert(storage, primary_key="id", sequence_by="seq")


def cloned(storage: Any) -> None:
    create(MemoryStorage(), data=rows((1, 1, "x"))).clone(storage)


@pytest.mark.parametrize("come", [create, loaded, converted, cloned])
def test_a_store_that_overwrites_is_refused(come: Callable[[Any], object]) -> None:
    stored = MemoryStorage()
    with pytest.raises(UnsupportedTableError, match=r"If-None-Match.*Use Amazon S3") as caught:
        come(Overwriting(stored))
    assert caught.value.feature == "conditional put"
    left = {info.path.partition("/")[0] for info in stored.list()}
    assert "_andes" not in left
    assert come is converted or left == set()


def test_an_outcome_that_is_unknown_is_no_fault() -> None:
    assert create(Unanswered(MemoryStorage())).version == 0
