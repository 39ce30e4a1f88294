"""Results, status and history as people see them: in one line, in a few, and in a notebook."""

from __future__ import annotations

import datetime
from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from andes_spark.model.display import count_text, fields_text, size_text, span_text, table_text
from andes_spark.model.results import CompactResult, MergeCounts, MergeResult, Step
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.table.verbs.read import pin

NASTY = "<script>alert'&'</script>"


class Text(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def mods(*rows: tuple[int, str, int, str]) -> pa.Table:
    return pa.table(dict(zip(("id", NASTY, "seq", "op"), zip(*rows, strict=True), strict=True)))


@pytest.fixture
def table() -> ModTable:
    created = ModTable.create(
        MemoryStorage(), f"id BIGINT, `{NASTY}` STRING, seq BIGINT", primary_key=["id"], sequence_by=["seq"],
        merge="manual",
    )  # fmt: skip
    created.apply(
        mods((1, "a", 1, "U"), (2, "b", 2, "U")), apply_as_deletes="op = 'D'", batch_id=("shop", 7), job="night"
    )
    created.merge()
    created.apply(mods((1, "c", 3, "U"), (2, "b", 4, "D")), apply_as_deletes="op = 'D'", batch_id=(NASTY, "x"))
    return created


def test_results_are_short_and_leave_out_zeros(table):
    result = table.apply(mods((5, "a", 1, "U")), apply_as_deletes="op = 'D'", merge=True)
    assert repr(result) == "<ApplyResult: version 3: 1 received, 1 upsert>"
    lines = str(result).splitlines()
    assert [line.split()[0] for line in lines] == ["apply", "merge", "took"]
    assert "the base contains version 3: 1 inserted, 1 updated, 1 deleted" in lines[1]
    assert "0" not in lines[0]
    assert " written" in lines[2]
    repeat = table.apply(mods((1, "c", 3, "U"), (2, "b", 4, "D")), apply_as_deletes="op = 'D'", batch_id=(NASTY, "x"))
    assert repr(repeat).startswith("<ApplyResult: applied before, as version 2: 2 received")
    assert repr(table.merge()) == "<MergeResult: nothing was pending, the base contains version 3>"


def test_a_merge_says_what_it_rewrote_and_why_it_failed():
    merged = MergeResult("merged", 7, 9, MergeCounts(inserted=2, late=1), CompactResult(3, 1), (Step("commit", 0.5),))
    assert merged.summary() == "the base contains version 7: 2 inserted, 1 late; 3 files rewritten as 1"
    failed = replace(merged, status="failed", error=OSError("no space"))
    assert "no space" in repr(failed)


def test_status_tells_ages_and_sizes(table):
    status = table.status()
    now = datetime.datetime.now(datetime.UTC)
    for time in (status.last_apply, status.last_merge, status.pending_since):
        assert now - datetime.timedelta(minutes=5) < time <= now + datetime.timedelta(minutes=5)
    assert status.pending_age < datetime.timedelta(minutes=5)
    assert 0 < status.mod_bytes < status.log_bytes
    text = str(status)
    assert "1 version, 2 mods, " in text
    assert "contains version 1, last merge 20" in text
    assert "quarantined" not in text
    assert len(repr(status)) < 200
    table.merge()
    merged = table.status()
    assert (merged.pending_since, merged.pending_age) == (None, None)
    assert "pending      nothing" in str(merged)
    assert "tombstones   1" in str(merged)


def test_a_foreign_write_is_shown_first(table):
    status = replace(table.status(), foreign=9, stopped="Delta version 9 changed rows")
    assert str(status).splitlines()[0].startswith("MERGES ARE STOPPED  Delta version 9")
    assert "MERGES ARE STOPPED" in repr(status)


def test_history_and_merges_are_tables_with_times(table):
    history = table.history()
    assert [entry.version for entry in history] == [2, 1, 0]
    assert history[0].time.tzinfo is datetime.UTC
    assert (history[1].job, history[1].batches[0].source) == ("night", "shop")
    lines = repr(history).splitlines()
    assert lines[0].split() == ["version", "time", "operation", "rows", "batch", "job"]
    assert "2 received, 1 upsert, 1 delete" in lines[2]
    assert "shop 7" in lines[3]
    assert repr(history[2]).startswith("<HistoryEntry: version 0, create, 20")
    merges = table.merges()
    assert (merges[0].from_version, merges[0].to_version, merges[0].inserted) == (1, 1, 2)
    assert merges[0].time.tzinfo is datetime.UTC
    assert "2 inserted" in repr(merges)
    assert repr(table.history(limit=0)) == "[]"


def test_documents_and_snapshots_are_one_line(table):
    assert repr(table.manifest(1)).startswith("<Manifest: version 1, apply, 20")
    assert repr(pin(table._open_table, None)) == "<Snapshot: version 2, Delta version 1, 2 pending mods>"
    assert len(repr(table)) < 100
    assert repr(table.verify()).startswith("<VerifyResult: nothing is wrong; version 2, ")


def test_notebooks_show_tables_with_escaped_text(table):
    shown = [table, table.status(), table.history(), table.merges(), table.verify(), table.merge()]
    for displayed in shown:
        page = Text(displayed._repr_html_())
        assert page.tags[0] == "table"
        assert set(page.tags) <= {"table", "caption", "tr", "th", "td"}
    assert NASTY in Text(table._repr_html_()).text
    assert NASTY in Text(table.history()._repr_html_()).text


def test_showing_a_table_asks_nothing(table):
    before = table._open_table.storage.counts.snapshot()
    repr(table), table._repr_html_()
    assert table._open_table.storage.counts.minus(before).requests == 0


def test_numbers_have_units():
    assert [size_text(size) for size in (0, 1, 1023, 1536, 5 * 2**30)] == [
        "0 bytes", "1 byte", "1,023 bytes", "1.5 KiB", "5.0 GiB",
    ]  # fmt: skip
    assert [count_text(count, "mods") for count in (0, 1, 1234)] == ["0 mods", "1 mod", "1,234 mods"]
    spans = [span_text(datetime.timedelta(seconds=seconds)) for seconds in (-5, 1, 60, 7200, 200_000)]
    assert spans == ["0 seconds", "1 second", "1 minute", "2 hours", "2 days"]


def test_words_are_never_broken():
    long = "a" * 50
    fields = fields_text({"name": f"one two three four five {long}", "other": "x"}, width=30)
    assert {"one", "two", "three", "four", "five", long} <= set(fields.split())
    rows = [["1", "2026-01-28 03:04:05 UTC", long], ["2", "𠮷", "b"]]
    narrow = table_text(["n", "time", "text"], rows, width=40)
    assert set(narrow.split()) >= {"1", "2026-01-28", "03:04:05", "UTC", long, "𠮷"}
    wide = table_text(["n", "time", "text"], rows, right=["n"])
    assert len({len(line) for line in wide.splitlines()[1:3]}) == 1
