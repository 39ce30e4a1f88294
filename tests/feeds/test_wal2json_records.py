"""Framing: transactions, their order, what is torn and what is no record at all."""

from __future__ import annotations

import pytest

from andes_spark.errors import DamagedError, UnsupportedTableError
from tests.feeds.feed_lines import LEAVE, ROW, change, decode, delete, dump, insert, transaction, update


class TestTransactions:
    def test_order_is_commit_position_then_place_in_the_transaction(self):
        lines = transaction("0/FFFFFFFF", delete(ROW), insert(ROW)) + transaction("1/0", delete(ROW))
        places = [(m["lsn"], m["ordinal"], m["op"]) for m in decode(lines)]
        assert places == [(2**32 - 1, 0, "D"), (2**32 - 1, 1, "I"), (2**32, 0, "D")]

    def test_other_tables_are_skipped_but_counted_in_the_ordinal(self):
        other = insert({"x": 1}, table="public.other")
        lines = transaction("0/A", other, insert(ROW), insert(ROW, table="audit.t"), delete(ROW))
        assert [(m["op"], m["ordinal"]) for m in decode(lines)] == [("I", 1), ("D", 3)]

    def test_a_transaction_sent_twice_is_taken_once(self):
        first, second = transaction("0/A", insert(ROW)), transaction("0/B", delete(ROW))
        assert decode(first + second + first + second) == decode(first + second)

    def test_files_out_of_order_are_refused(self):
        first, second = transaction("0/A", insert(ROW)), transaction("0/B", delete(ROW))
        with pytest.raises(DamagedError, match="out of order") as caught:
            decode(second + first)
        assert caught.value.line == 6

    def test_an_unfinished_transaction_is_refused(self):
        lines = transaction("0/A", insert(ROW)) + transaction("0/B", delete(ROW))[:-1]
        with pytest.raises(DamagedError, match="ends inside the transaction that commits at 11"):
            decode(lines)

    @pytest.mark.parametrize("torn", ["", '{"action":"C","xi', b'{"action":"I","name":"\xc3'])
    def test_an_unfinished_transaction_is_left_on_request(self, torn):
        whole = transaction("0/A", insert(ROW))
        lines = whole + transaction("0/B", delete(ROW))[:-1]
        assert decode([*lines, torn], options=LEAVE) == decode(whole)

    def test_a_transaction_sent_again_from_its_begin_is_taken_whole(self):
        second = transaction("0/B", delete(ROW))
        lines = transaction("0/A", insert(ROW)) + second[:-1] + second
        assert [m["op"] for m in decode(lines, options=LEAVE)] == ["I", "D"]
        with pytest.raises(DamagedError, match="before the one before it has ended"):
            decode(lines)

    def test_a_transaction_without_its_end_is_never_skipped(self):
        lines = transaction("0/A", insert(ROW))[:-1] + transaction("0/B", delete(ROW))
        with pytest.raises(DamagedError, match="before the one before it has ended"):
            decode(lines, options=LEAVE)

    def test_a_torn_line_within_the_feed_is_never_left(self):
        lines = transaction("0/A", insert(ROW))
        with pytest.raises(DamagedError, match=r"line 2 .* not a JSON document"):
            decode([lines[0], lines[1][:20], *lines[2:]], options=LEAVE)

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            (dump([insert(ROW)]), "outside of a transaction"),
            (dump([{"action": "C", "lsn": "0/A"}]), "did not begin"),
            (dump([{"action": "B", "lsn": "0/A"}, {"action": "C", "lsn": "0/B"}]), "did not begin"),
            (dump([{"action": "B"}]), "include-lsn=true"),
            (dump([{"action": "B", "lsn": "x"}]), "include-lsn=true"),
            (dump([{"action": "B", "lsn": "FFFFFFFF/0"}]), "include-lsn=true"),
            (["{"], "not a JSON document"),
            ([b"\xff"], "not a JSON document"),
            (["[" * 100_000], "not a JSON document"),
            (['{"action":"B","lsn":NaN}'], "not a JSON document"),
            (["[]"], "format-version=2"),
            (['{"change":[]}'], "format-version=2"),
            (transaction("0/A", {"action": "I", "table": "t"}), "include-schemas=true"),
            (transaction("0/A", change("I", columns=[{"name": "id"}])), "not as wal2json writes it"),
            (transaction("0/A", change("I", columns=3)), "not as wal2json writes it"),
            (transaction("0/A", change("I", columns=["id"])), "not as wal2json writes it"),
        ],
    )
    def test_what_wal2json_does_not_write_is_refused(self, lines, problem):
        with pytest.raises(DamagedError, match=problem) as caught:
            decode(lines)
        assert caught.value.line in (1, 2)

    @pytest.mark.parametrize("record", [{"action": "M", "prefix": "heart"}, {"action": "Z"}])
    def test_what_is_no_change_is_refused_by_name(self, record):
        with pytest.raises(UnsupportedTableError, match="filter-msg-prefixes") as caught:
            decode(transaction("0/A", record))
        assert caught.value.feature == f"wal2json action {record['action']}"


def test_any_cut_of_a_feed_is_refused_or_left_at_a_transaction():
    """Whatever is cut off, what comes out is a whole number of transactions, or an error of ours."""
    text = "".join(transaction("0/A", insert(ROW), delete(ROW)) + transaction("0/B", update(ROW | {"id": 2}, ROW)))
    whole = [[m["op"] for m in decode(transaction("0/A", insert(ROW), delete(ROW)))], ["I", "D", "D", "U"]]
    for end in range(len(text)):
        lines = text[:end].splitlines(keepends=True)
        assert [m["op"] for m in decode(lines, options=LEAVE)] in ([], *whole)
        try:
            rows = decode(lines)
        except DamagedError:
            continue
        assert [m["op"] for m in rows] in ([], *whole)
