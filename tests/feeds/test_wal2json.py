"""Batches, files and schemas; tests/feeds/test_captured_feed.py decodes a whole feed."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import DamagedError, FileDamagedError, NotFoundError, OptionError
from andes_spark.feeds import wal2json
from andes_spark.schema.schema import Schema
from andes_spark.storage.memory import MemoryStorage
from tests.feeds.feed_lines import ROW, SCHEMA, change, decode, delete, insert, transaction, update


class TestBatches:
    def test_never_split_a_transaction_and_are_named_by_their_commits(self):
        lines = (
            transaction("0/A", insert(ROW))
            + transaction("0/B", *[update(ROW, ROW)] * 5)
            + transaction("0/C", insert({}, table="public.other"))
            + transaction("0/D", delete(ROW))
        )
        batches = list(wal2json.batches(lines, SCHEMA, table="public.t", primary_key=["id"], changes_per_batch=2))
        assert [(batch.batch_id, batch.mods.num_rows) for batch in batches] == [("10-11", 6), ("13-13", 1)]
        everything = pa.concat_tables(batch.mods for batch in batches)
        assert everything.to_pylist() == decode(lines)

    def test_that_are_cut_elsewhere_change_nothing(self):
        lines = [transaction(f"0/{lsn:X}", insert({**ROW, "id": lsn})) for lsn in range(1, 5)]
        target = ModTable.create(
            MemoryStorage(), wal2json.table_schema(SCHEMA), primary_key=["id"], sequence_by=["lsn", "ordinal"]
        )
        for first, last, size in ((0, 3, 10), (1, 4, 10), (2, 4, 10), (0, 4, 1), (0, 4, 3)):
            sent = [line for transaction_lines in lines[first:last] for line in transaction_lines]
            for batch in wal2json.batches(sent, SCHEMA, table="public.t", primary_key=["id"], changes_per_batch=size):
                target.apply(
                    batch.mods,
                    apply_as_deletes="op = 'D'",
                    columns_to_update="columns_to_update",
                    batch_id=("feed", batch.batch_id),
                )
        assert sorted(target.to_arrow()["id"].to_pylist()) == [1, 2, 3, 4]

    def test_of_less_than_one_change_are_refused(self):
        with pytest.raises(OptionError, match="changes_per_batch"):
            list(wal2json.batches([], SCHEMA, table="public.t", primary_key=["id"], changes_per_batch=0))

    def test_come_as_soon_as_they_are_complete(self):
        def endless() -> Any:
            lsn = 0
            while True:
                lsn += 1
                yield from transaction(f"0/{lsn:X}", insert(ROW))

        stream = wal2json.batches(endless(), SCHEMA, table="public.t", primary_key=["id"], changes_per_batch=3)
        assert [next(stream).batch_id, next(stream).batch_id] == ["1-3", "4-6"]


class TestFiles:
    @pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
    def test_are_read_plain_and_compressed(self, tmp_path: Path, suffix, pack):
        lines = transaction("0/A", insert(ROW))
        path = tmp_path / f"feed.jsonl{suffix}"
        path.write_bytes(pack("".join(lines).encode()))
        assert list(wal2json.read_lines(path)) == [line.encode() for line in lines]
        table = wal2json.read_changes(path, SCHEMA, table="public.t", primary_key=["id"])
        assert table.to_pylist() == decode(lines)

    def test_an_empty_file_is_a_table_without_rows(self, tmp_path: Path):
        path = tmp_path / "feed.jsonl"
        path.touch()
        table = wal2json.read_changes(path, SCHEMA, table="public.t", primary_key=["id"])
        assert table.num_rows == 0
        assert table.column_names == [*SCHEMA.names, "lsn", "ordinal", "op", "columns_to_update"]

    def test_follow_each_other(self, tmp_path: Path):
        paths = [tmp_path / "1.jsonl", tmp_path / "2.jsonl.gz"]
        paths[0].write_text("a\n")
        paths[1].write_bytes(gzip.compress(b"b\n"))
        assert list(wal2json.read_lines(*paths)) == [b"a\n", b"b\n"]

    def test_a_missing_file_is_named(self, tmp_path: Path):
        with pytest.raises(NotFoundError) as caught:
            list(wal2json.read_lines(tmp_path / "none.jsonl"))
        assert caught.value.path == str(tmp_path / "none.jsonl")

    @pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
    @pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: b"plain" + data])
    def test_a_damaged_file_is_named(self, tmp_path: Path, suffix, pack, harm):
        path = tmp_path / f"feed.jsonl{suffix}"
        path.write_bytes(harm(pack(b"x" * 1000)))
        with pytest.raises(FileDamagedError) as caught:
            list(wal2json.read_lines(path))
        assert caught.value.path == str(path)


class TestInferSchema:
    def test_takes_the_types_of_the_first_insert(self):
        types: dict[str, str] = {
            "id": "bigint",
            "n": "numeric(12,2)",
            "at": "timestamp with time zone",
            "local": "timestamp(3) without time zone",
            "day": "date",
            "raw": "bytea",
            "tags": "text[]",
            "mood": "public.mood",
        }
        fields: list[dict[str, Any]] = [{"name": name, "type": type_, "value": None} for name, type_ in types.items()]
        fields[1]["optional"] = False
        lines = transaction("0/A", update({"id": 1}, {"id": 1}), change("I", columns=fields))
        schema = wal2json.infer_schema(lines, table="public.t", primary_key=["id"])
        assert schema.to_arrow() == pa.schema(
            [
                pa.field("id", pa.int64(), nullable=False),
                pa.field("n", pa.decimal128(12, 2), nullable=False),
                ("at", pa.timestamp("us", "UTC")),
                ("local", pa.timestamp("us")),
                ("day", pa.date32()),
                ("raw", pa.binary()),
                ("tags", pa.string()),
                ("mood", pa.string()),
            ]
        )

    def test_needs_types(self):
        lines = transaction("0/A", change("I", columns=[{"name": "id", "value": 1}]))
        with pytest.raises(DamagedError, match="include-types=true"):
            wal2json.infer_schema(lines, table="public.t", primary_key=["id"])

    def test_needs_an_insert(self):
        with pytest.raises(NotFoundError) as caught:
            wal2json.infer_schema(transaction("0/A", delete(ROW)), table="public.t", primary_key=["id"])
        assert caught.value.table == "public.t"


def test_records_are_json_as_wal2json_writes_them():
    """Lines of wal2json 2.5 on PostgreSQL 15: a composite key, quoted names, default replica identity."""
    lines = [
        '{"action":"B","xid":733,"lsn":"0/1932A58","nextlsn":"0/1932A88"}',
        '{"action":"U","xid":733,"lsn":"0/19329B0","schema":"my.s","table":"t\\"x","columns":['
        '{"name":"a","type":"integer","value":1},{"name":"b","type":"character varying(3)","value":"z"},'
        '{"name":"we ird","type":"text","value":"x"},{"name":"n","type":"numeric","value":1.50},'
        '{"name":"ts","type":"timestamp with time zone","value":"1890-01-01 00:00:00+00:53:28"}],'
        '"identity":[{"name":"a","type":"integer","value":1},'
        '{"name":"b","type":"character varying(3)","value":"a"}],'
        '"pk":[{"name":"a","type":"integer"},{"name":"b","type":"character varying(3)"}]}',
        '{"action":"C","xid":733,"lsn":"0/1932A58","nextlsn":"0/1932A88"}',
    ]
    schema = Schema.from_arrow(
        pa.schema(
            [
                ("a", pa.int32()),
                ("b", pa.string()),
                ("we ird", pa.string()),
                ("n", pa.string()),
                ("ts", pa.timestamp("us", "UTC")),
            ]
        )
    )
    old, new = decode(lines, schema, table=("my.s", 't"x'), primary_key=["a", "b"])
    assert (old["op"], old["a"], old["b"], old["n"]) == ("D", 1, "a", None)
    assert (new["op"], new["a"], new["b"], new["n"]) == ("U", 1, "z", "1.50")
    assert new["ts"].isoformat() == "1889-12-31T23:06:32+00:00"
    assert json.loads(lines[0])["lsn"] == "0/1932A58"
    assert new["lsn"] == 0x1932A58
