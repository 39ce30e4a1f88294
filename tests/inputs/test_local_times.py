"""Times without a zone in files, for columns of times with one."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from andes_spark.cli.wording import worded
from andes_spark.errors import SchemaMismatchError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

MOMENT = datetime.datetime(2026, 1, 2, 3, 0, tzinfo=datetime.UTC)
LOCAL, ZONED = "2026-01-02T04:00:00", "2026-01-02T03:00:00Z"
SKIPPED = "2026-03-29T02:30:00"


def written(folder: Path, form: str, times: list[str]) -> Path:
    path = folder / f"rows.{form}"
    lines = [
        f"{number},{time}" if form == "csv" else f'{{"ID": {number}, "At": "{time}"}}'
        for number, time in enumerate(times)
    ]
    path.write_text("\n".join([*(["ID,At"] if form == "csv" else []), *lines]) + "\n")
    return path


def create() -> ModTable:
    return ModTable.create(MemoryStorage(), "id BIGINT, at TIMESTAMP", primary_key="id")


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("times", [[LOCAL], [LOCAL, ZONED], [ZONED]])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_they_are_of_the_zone_of_the_options(form: str, times: list[str], cast: bool, tmp_path: Path) -> None:
    table, path = create(), written(tmp_path, form, times)
    table.apply(path, batch_id=("s", 1), time_zone="Europe/Berlin", cast=cast)
    assert table.to_arrow()["at"].to_pylist() == [MOMENT] * len(times)
    loaded = ModTable.create(
        MemoryStorage(), "id BIGINT, at TIMESTAMP", primary_key="id", data=path, time_zone="Europe/Berlin", cast=cast
    )
    assert loaded.to_arrow()["at"].to_pylist() == [MOMENT] * len(times)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_they_are_refused_without_a_zone(form: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError, match=f"'At': '{LOCAL}' has no time zone; give time_zone") as caught:
        create().apply(written(tmp_path, form, [ZONED, LOCAL]), batch_id=("s", 1))
    assert "assume" not in caught.value.message
    shown = worded(caught.value.message)
    assert "give --time-zone for" in shown
    assert shown.endswith("by --cast and --max-quarantined")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_time_that_the_clocks_skip_is_refused_or_set_aside(form: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_id": ("s", 1), "time_zone": "Europe/Berlin"}
    with pytest.raises(SchemaMismatchError, match="'2026-03-29 02:30:00' is skipped or repeated"):
        create().apply(written(tmp_path, form, [ZONED, SKIPPED]), **options)
    for cast in (False, True):
        table = create()
        result = table.apply(written(tmp_path, form, [LOCAL, SKIPPED]), **options, cast=cast, max_quarantined=1)
        assert (result.upserts, result.quarantined) == (1, 1)
