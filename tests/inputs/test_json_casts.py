"""Casts of JSON lines: text of values, and values beside one that does not fit."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from andes_spark.errors import SchemaMismatchError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
NAN = pytest.approx(float("nan"), nan_ok=True)


def applied(folder: Path, kind: str, values: list[str], **options: Any) -> tuple[dict[int, Any], list[str]]:
    """Values by the number of their line, and the refused lines as the quarantine shows them."""
    path = folder / "rows.jsonl"
    path.write_text("".join(f'{{ "id" : {number}, "V": {value} }}\n\n' for number, value in enumerate(values)))
    table = ModTable.create(MemoryStorage(), f"id BIGINT, v {kind}", primary_key="id")
    options = {"cast": True, "max_quarantined": len(values), **options}
    table.apply(path, batch_id=("s", 1), **options)
    kept = {row["id"]: row["v"] for row in table.to_arrow().to_pylist()}
    return kept, table.quarantined()["row"].to_pylist()


def test_text_is_as_it_is_written(tmp_path: Path) -> None:
    written = ["true", '{"a":1.50, "b":null,"c":{}}', '[1,"x",[]]', "1e2", "-0", "1E400", "12345678901234567890.10"]
    kept, refused = applied(tmp_path, "STRING", [*written, "null", '"true, \\u00e9"'])
    assert [kept[number] for number in range(len(written))] == written
    assert (kept[7], kept[8], refused) == (None, "true, é", [])


@pytest.mark.parametrize(
    ("kind", "good", "expected", "bad"),
    [
        ("BOOLEAN", ["true", "false"], [True, False], ['"x"', "1"]),
        ("DECIMAL(10,2)", ["1e2", '"-0.10"'], [Decimal("100.00"), Decimal("-0.10")], ["1.005", "true"]),
        ("DOUBLE", ["1e2", '"NaN"', "NaN", "1e-7"], [100.0, NAN, NAN, 1e-7], ["1e400", "[1]"]),
        ("FLOAT", ["0.1", "16777217.0000001"], [pytest.approx(0.1), 16777218.0], ['"x"']),
        ("INT", ["7", "1.0", "1e2", '"8"'], [7, 1, 100, 8], ["1.5", "2147483648", "1e400", "true"]),
        ("DATE", ['"20260102"', '"2026-01-02"'], [MOMENT.date()] * 2, ['"x"', "5"]),
        ("TIMESTAMP", ['"20260102T030400Z"', '"2026-01-02T03:04+00:00"'], [MOMENT] * 2, ['"2026-01-02T03:04"', "1"]),
        ("TIMESTAMP_NTZ", ['"2026-01-02T03:04"'], [MOMENT.replace(tzinfo=None)], ['"2026-01-02T03:04Z"', '"x"']),
    ],
)  # fmt: skip
def test_values_beside_one_that_does_not_fit(
    kind: str, good: list[str], expected: list[Any], bad: list[str], tmp_path: Path
) -> None:
    kept, refused = applied(tmp_path, kind, [*good, *bad, "null"])
    assert [kept.pop(number) for number in range(len(good))] == expected
    assert kept == {len(good) + len(bad): None}
    assert len(refused) == len(bad)


def test_local_times_in_a_zone_beside_one_that_does_not_fit(tmp_path: Path) -> None:
    kept, refused = applied(
        tmp_path, "TIMESTAMP", ['"20260102T0404"', '"2026-01-02T03:04Z"', '"x"'], time_zone="Europe/Berlin"
    )
    assert (list(kept.values()), len(refused)) == ([MOMENT, MOMENT], 1)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [("BINARY", "5"), ("ARRAY<INT>", '["1"]'), ("MAP<STRING,INT>", "[1]"), ("MAP<STRING,INT>", "[[1]]")],
)
@pytest.mark.parametrize("cast", [False, True])
def test_a_value_that_has_no_cast_is_named(kind: str, bad: str, cast: bool, tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError, match=r"column 'V': .* is no .*mend it or take its row out") as caught:
        applied(tmp_path, kind, ["null", bad], cast=cast)
    assert caught.value.fields["column"] == "V"


def test_bytes_of_csv_are_read_with_a_cast_too(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,V\n1,\u00e9\nx,y\n")
    table = ModTable.create(MemoryStorage(), "id BIGINT, v BINARY", primary_key="id")
    table.apply(tmp_path / "rows.csv", batch_id=("s", 1), cast=True, max_quarantined=1)
    assert table.to_arrow()["v"].to_pylist() == ["é".encode()]


def test_a_column_of_several_types_that_the_table_lacks(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "op": 1}\n{"id": 2, "op": "D"}\n{"id": 3, "op": {"a": 1.0}}\n')
    choices: list[dict[str, Any]] = [
        {},
        {"apply_as_deletes": "op = 'D'"},
        {"apply_as_deletes": "op = '{\"a\": 1.0}'"},
    ]
    for options in choices:
        table = ModTable.create(MemoryStorage(), "id BIGINT", primary_key="id")
        result = table.apply(path, batch_id=("s", 1), extra="drop", **options)
        assert (result.upserts, result.deletes) == ((2, 1) if options else (3, 0))
