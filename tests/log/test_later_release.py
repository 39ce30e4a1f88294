"""A table that a later release wrote to: read and appended to where that is right, and refused by name where not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from andes_spark.errors import UnsupportedTableError
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.model.documents import seal
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, fill, rows

LATER = {"note": ["ß", 12345678901234567890, {"__unknown__": None}]}


def later(storage: MemoryStorage, version: int, change: Any) -> None:
    """Let the newest manifest be as a later release would have written it."""
    document = msgspec.json.decode(storage.get(manifest_path(version)))
    document.pop("checksum")
    change(document)
    storage.put(manifest_path(version), seal(msgspec.json.encode(document)))


def table_with(change: Any) -> MemoryStorage:
    storage = MemoryStorage()
    fill(create(storage), 1, 3)
    later(storage, 3, change)
    return storage


def with_members(document: dict[str, Any]) -> None:
    document |= LATER
    document["events"][0] |= LATER
    document["events"][0]["files"][0] |= LATER
    document["batches"][0] |= LATER


def test_what_is_optional_is_passed_over_and_kept_in_roll_ups() -> None:
    storage = MemoryStorage()
    create(storage)

    def definition(document: dict[str, Any]) -> None:
        document["definition"] |= LATER
        document["definition"]["schemas"][0] |= LATER

    later(storage, 0, definition)
    fill(ModTable.open(storage), 1, 3)
    later(storage, 3, with_members)
    fill(ModTable.open(storage), 4, 2 * ROLL_UP_INTERVAL + 1)
    for version in (ROLL_UP_INTERVAL, 2 * ROLL_UP_INTERVAL):
        rolled = msgspec.json.decode(storage.get(manifest_path(version)))["roll_up"]
        for part in (rolled["definition"], rolled["definition"]["schemas"][0]):
            assert part.items() >= LATER.items()
        (event,) = next(pending_version for pending_version in rolled["pending"] if pending_version["version"] == 3)[
            "events"
        ]
        assert event.items() >= LATER.items()
        assert event["files"][0].items() >= LATER.items()
    table = ModTable.open(storage)
    assert table.to_arrow().num_rows == 7
    assert table.merge().status == "merged"
    assert table.verify().ok
    assert ModTable.open(storage).apply(rows((3 % 7, 3, "x")), batch_id=("s", 3)).replayed


def test_an_unknown_writer_feature_stops_writers_alone() -> None:
    storage = table_with(lambda document: document.update(writer_features=["constraints"]))
    table = ModTable.open(storage)
    assert table.to_arrow().num_rows == 3
    assert table.status().version == 3
    for write in (lambda: table.apply(rows((1, 9, "x"))), lambda: table.set_aside(2), table.merge):
        with pytest.raises(UnsupportedTableError, match="constraints") as caught:
            write()
        assert (caught.value.feature, caught.value.version) == ("constraints", 3)
    assert ModTable.open(storage).version == 3
    assert ModTable.open(storage).status().applied == 0


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda document: document.update(reader_features=["columnSequences"]), "columnSequences"),
        (lambda document: document["events"].append({"type": "compact", "at": [5]}), "compact"),
        (lambda document: document.update(format=3), "format 3"),
    ],
    ids=["feature", "event", "format"],
)
def test_what_changes_the_rows_is_refused_by_name(change: Any, feature: str) -> None:
    storage = table_with(change)
    for use in (ModTable.open, lambda storage: ModTable.open(storage).to_arrow()):
        with pytest.raises(UnsupportedTableError) as caught:
            use(storage)
        assert (caught.value.feature, caught.value.version) == (feature, 3)


def test_features_are_repeated_by_every_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    known = frozenset({"later"})
    monkeypatch.setattr("andes_spark.model.features.READER_FEATURES", known)
    monkeypatch.setattr("andes_spark.model.features.WRITER_FEATURES", known)
    storage = table_with(lambda document: document.update(reader_features=["later"], writer_features=["later"]))
    table = ModTable.open(storage)
    table.apply(rows((1, 9, "x")))
    table.set_aside(2)
    for version in (4, 5):
        manifest = table.manifest(version)
        assert (manifest.reader_features, manifest.writer_features) == (["later"], ["later"])
