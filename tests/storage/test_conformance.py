"""What every store promises, run over all of them."""

from __future__ import annotations

import copy
import hashlib
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andes_spark.errors import NotFoundError, OptionError, StorageError
from andes_spark.storage.interface import PutOutcome, Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.open import open_storage

ODD_NAMES = [
    "with space/and more",
    "100%/a%20b%2Fc",
    "q'uo\"te`s",
    "größe/日本/🙂",
    "a#b?c&d=e+f",
    "k=v w/{x}[y]<z>|^~",
    "dots.../..a/.hidden",
    "-dash/_under",
    "x" * 200,
]


def paths(storage: Storage, prefix: str = "", after: str | None = None) -> list[str]:
    return [info.path for info in storage.list(prefix, after=after)]


def test_what_was_put_is_found(storage: Storage) -> None:
    storage.put("folder/name", b"one")
    assert storage.get("folder/name") == b"one"
    assert storage.find("folder/name") == b"one"
    assert storage.size("folder/name") == 3


def test_put_replaces(storage: Storage) -> None:
    storage.put("hint", b"a longer one")
    storage.put("hint", b"two", sync=False)
    assert storage.get("hint") == b"two"
    assert paths(storage) == ["hint"]


def test_absent_objects(storage: Storage) -> None:
    storage.put("a/b/c", b"")
    for absent in ("x", "a/b/x", "a/x/c", "a/b", "a/b/c/d"):
        assert storage.find(absent) is None
        assert storage.size(absent) is None
        with pytest.raises(NotFoundError) as caught:
            storage.get(absent)
        assert caught.value.path == absent
        with pytest.raises(NotFoundError) as caught:
            storage.open_input(absent)
        assert caught.value.path == absent


def test_an_empty_folder(storage: Storage) -> None:
    assert paths(storage) == []
    assert paths(storage, "mods/") == []
    assert storage.find("hint") is None
    storage.delete(["hint", "mods/x"])


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000], ids=["empty", "one", "large"])
def test_bytes_come_back(storage: Storage, data: bytes) -> None:
    assert storage.put_if_absent("data", data) is PutOutcome.CREATED
    assert storage.get("data") == data
    assert storage.size("data") == len(data)
    assert storage.open_input("data").read() == data


def test_put_if_absent_never_replaces(storage: Storage) -> None:
    assert storage.put_if_absent("log/7.json", b"first") is PutOutcome.CREATED
    assert storage.put_if_absent("log/7.json", b"second") is PutOutcome.EXISTS
    assert storage.get("log/7.json") == b"first"
    storage.delete(["log/7.json"])
    assert storage.put_if_absent("log/7.json", b"third") is PutOutcome.CREATED
    assert storage.get("log/7.json") == b"third"


def test_sixteen_threads_and_one_winner(storage: Storage) -> None:
    threads = 16
    barrier = threading.Barrier(threads)

    def race(number: int) -> list[PutOutcome]:
        outcomes = []
        for version in range(20):
            barrier.wait()
            outcomes.append(storage.put_if_absent(f"log/{version}", b"%d" % number * 1000))
        return outcomes

    with ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(race, range(threads)))
    for version in range(20):
        winners = [n for n in range(threads) if outcomes[n][version] is PutOutcome.CREATED]
        losers = [n for n in range(threads) if outcomes[n][version] is PutOutcome.EXISTS]
        assert len(winners) == 1
        assert len(losers) == threads - 1
        assert storage.get(f"log/{version}") == b"%d" % winners[0] * 1000
    assert len(paths(storage)) == 20


def test_delete(storage: Storage) -> None:
    for name in ("a/1", "a/2", "b/1", "c"):
        storage.put(name, b"x")
    storage.delete(iter(["b/1", "a/1", "missing", "no/such/folder", "c"]))
    assert paths(storage) == ["a/2"]
    storage.delete([])


def test_a_bad_path_deletes_nothing(storage: Storage) -> None:
    storage.put("a", b"x")
    with pytest.raises(OptionError):
        storage.delete(["a", "../b"])
    assert paths(storage) == ["a"]


def test_list_tells_size_and_time(storage: Storage) -> None:
    before = time.time_ns() // 1_000_000
    storage.put("a", b"12345")
    storage.put("b", b"")
    first, second = storage.list()
    assert (first.path, first.size, second.path, second.size) == ("a", 5, "b", 0)
    # Stores tell whole seconds, and the clock of a file system may tick late.
    assert before - 1100 <= first.modified_ms <= time.time_ns() // 1_000_000 + 1000


def test_list_is_ordered_by_path_not_by_folder(storage: Storage) -> None:
    names = ["a-b", "a.b/x", "a/b", "a/b-c", "a/b/c", "a0", "a", "B", "é", "z", "日", "\U0001f642", "ﬀ"]
    if not isinstance(storage, MemoryStorage) and storage.url.startswith("/"):
        names = [name for name in names if name not in ("a", "a/b")]  # a folder on disk is no file
    for name in names:
        storage.put(name, b"x")
    assert paths(storage) == sorted(names)
    for after in [*names, "", "a/", "a/b/", "a//", "zz", "\x01", "a\\"]:
        assert paths(storage, after=after) == sorted(name for name in names if name > after), after


def test_list_takes_whole_segments(storage: Storage) -> None:
    for name in ("mods/1", "mods/x/2", "mods2/3", "mod", "other"):
        storage.put(name, b"x")
    assert paths(storage, "mods") == paths(storage, "mods/") == ["mods/1", "mods/x/2"]
    assert paths(storage, "mods/x") == ["mods/x/2"]
    assert paths(storage, "mo") == []
    assert paths(storage, "mods", after="mods/1") == ["mods/x/2"]
    assert paths(storage, "mods", after="a") == ["mods/1", "mods/x/2"]
    assert paths(storage, "mods", after="mods2") == []
    with pytest.raises(OptionError):
        storage.list("../mods")


def test_list_beyond_a_page(storage: Storage) -> None:
    names = [f"log/{number:05}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.put(name, b"", sync=False), names[:3] + names[-3:]))
        list(pool.map(lambda name: storage.put(name, b"x", sync=False), names[3:-3]))
    assert paths(storage, "log") == names
    assert paths(storage, "log", after="log/01095") == names[1096:]
    storage.delete(names)
    assert paths(storage) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(
        st.lists(st.sampled_from(["a", "b", "a-", "a0", "é"]), min_size=1, max_size=3).map("/".join),
        max_size=6,
    ),
    prefix=st.sampled_from(["", "a", "a/", "a/b", "é"]),
    after=st.none() | st.lists(st.sampled_from(["a", "b", "a-", "-", "é"]), max_size=3).map("/".join),
)
def test_list_equals_its_definition(
    make_storage: Callable[[], Storage], names: set[str], prefix: str, after: str | None
) -> None:
    kept = {name for name in names if not any(other.startswith(name + "/") for other in names)}
    storage = make_storage()
    for name in kept:
        storage.put(name, b"x", sync=False)
    folder = prefix.removesuffix("/")
    expected = sorted(
        name for name in kept if (not folder or name.startswith(folder + "/")) and (after is None or name > after)
    )
    assert paths(storage, prefix, after) == expected


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(storage: Storage, name: str) -> None:
    data = name.encode()
    assert storage.put_if_absent(name, data) is PutOutcome.CREATED
    assert storage.put_if_absent(name, data) is PutOutcome.EXISTS
    assert storage.get(name) == data
    assert storage.open_input(name).read() == data
    assert paths(storage) == [name]
    assert paths(storage, after=name) == []
    storage.delete([name])
    assert storage.find(name) is None


BAD_PATHS = ["", "/etc/passwd", "../x", "a/../b", "a/..", ".", "a/./b", "a//b", "a/", "a\\b", "a\0b", "a\nb",
             "\x7f", "a\ud800", "x" * 1025, ".andes_tmp-1", "a/.andes_tmp-x/b"]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths_are_refused_everywhere(storage: Storage, path: str) -> None:
    for call in (
        lambda: storage.get(path),
        lambda: storage.find(path),
        lambda: storage.size(path),
        lambda: storage.put(path, b"x"),
        lambda: storage.put_if_absent(path, b"x"),
        lambda: storage.delete([path]),
        lambda: storage.open_input(path),
        lambda: storage.open_output(path),
    ):
        with pytest.raises(OptionError, match="cannot be used"):
            call()
    assert storage.counts.snapshot().requests == 0


def test_output_and_its_checksum(storage: Storage) -> None:
    pieces = [b"abc", bytearray(b"de"), memoryview(b"f" * 100), pa.py_buffer(b"gh"), b""]
    expected = b"".join(bytes(piece) for piece in pieces)
    with storage.open_output("mods/1") as output:
        assert [output.write(piece) for piece in pieces] == [3, 2, 100, 2, 0]
        assert output.tell() == output.bytes_written == len(expected)
        states = [output.closed]
        with pytest.raises(OptionError, match="checksum"):
            output.sha256  # noqa: B018
    assert [*states, output.closed] == [False, True]
    assert output.sha256 == hashlib.sha256(expected).hexdigest()
    assert storage.get("mods/1") == expected
    output.close()
    output.abort()
    assert storage.get("mods/1") == expected
    with pytest.raises(OptionError, match="closed"):
        output.write(b"more")


def test_an_empty_output(storage: Storage) -> None:
    with storage.open_output("empty") as output:
        pass
    assert output.sha256 == hashlib.sha256(b"").hexdigest()
    assert storage.get("empty") == b""


def test_a_large_output(storage: Storage) -> None:
    piece = bytes(range(251)) * 4001
    with storage.open_output("large") as output:
        for _ in range(25):
            output.write(piece)
    assert output.bytes_written == 25 * len(piece) > 23 * 2**20
    assert storage.get("large") == piece * 25
    assert output.sha256 == hashlib.sha256(piece * 25).hexdigest()
    source = storage.open_input("large")
    assert source.size() == 25 * len(piece)
    assert source.read_at(10_000_000, 9_000_000) == (piece * 25)[9_000_000:19_000_000]


@pytest.mark.parametrize("size", [10, 20 * 2**20], ids=["small", "large"])
def test_an_exception_aborts_the_output(storage: Storage, size: int) -> None:
    with pytest.raises(KeyError), storage.open_output("mods/1") as output:  # noqa: PT012
        output.write(bytes(size))
        raise KeyError
    assert paths(storage) == []
    assert storage.find("mods/1") is None
    output.write(b"swallowed")
    output.close()
    assert paths(storage) == []
    with pytest.raises(OptionError):
        output.sha256  # noqa: B018


def table(rows: int) -> pa.Table:
    return pa.table({"id": range(rows), "name": [f"näme {number % 977}" for number in range(rows)]})


@pytest.mark.parametrize("rows", [0, 10, 300_000])
def test_parquet_through_output_and_input(storage: Storage, rows: int) -> None:
    written = table(rows)
    with storage.open_output("part-1.parquet") as output:
        pq.write_table(written, output, row_group_size=50_000, compression="none")
    assert storage.size("part-1.parquet") == output.bytes_written
    assert pq.read_table(storage.open_input("part-1.parquet")).equals(written)
    one = pq.ParquetFile(storage.open_input("part-1.parquet"), pre_buffer=True).read(columns=["id"])
    assert one.equals(written.select(["id"]))


def test_an_aborted_parquet_writer_is_quiet(storage: Storage) -> None:
    with pytest.raises(KeyError), storage.open_output("part-1.parquet") as output:  # noqa: PT012
        writer = pq.ParquetWriter(output, table(1000).schema)
        writer.write_table(table(1000))
        raise KeyError
    writer.close()
    assert paths(storage) == []


def test_threads_share_an_input(storage: Storage) -> None:
    data = bytes(range(251)) * 20_000
    storage.put("data", data)
    source = storage.open_input("data")

    def read(number: int) -> bool:
        start = number * 37_003 % len(data)
        return bool(source.read_at(5000, start) == data[start : start + 5000])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))


def test_ranges_of_an_object(storage: Storage) -> None:
    data = bytes(range(251)) * 12_000
    storage.put("data", data)
    ranges = storage.open_ranges("data", len(data))
    spans = [(0, 5), (3, 2_000), (2_500_000, 2_500_100), (len(data) - 7, len(data))]
    ranges.load(spans)
    assert [bytes(ranges.view(*span)) for span in spans] == [data[start:end] for start, end in spans]
    before = storage.counts.snapshot().requests
    ranges.load([(4, 1_000), (2_500_001, 2_500_002)])
    assert bytes(ranges.view(4, 1_000)) == data[4:1_000]
    assert storage.counts.snapshot().requests == before, "they are in memory"
    ranges.load([])


def test_ranges_of_what_is_not_there(storage: Storage) -> None:
    storage.put("data", bytes(100))
    with pytest.raises(NotFoundError):
        storage.open_ranges("absent", 100).load([(0, 10)])
    for size, span in ((100, (90, 101)), (300, (200, 300))):
        with pytest.raises((pa.ArrowInvalid, StorageError)):
            storage.open_ranges("data", size).load([span])
    with pytest.raises(OptionError):
        storage.open_ranges("../data", 100).load([(0, 10)])


def test_counts(storage: Storage) -> None:
    start = storage.counts.snapshot()
    storage.put("a", b"12345")
    storage.put_if_absent("b", b"123")
    storage.put_if_absent("b", b"123")
    storage.get("a")
    storage.find("x")
    storage.size("a")
    list(storage.list())
    with storage.open_output("c") as output:
        output.write(b"1234567")
    storage.delete(["a"])
    counts = storage.counts.minus(start)
    assert (counts.put, counts.put_if_absent, counts.get, counts.head, counts.list, counts.delete) == (2, 2, 2, 1, 1, 1)
    assert counts.requests == 9
    assert counts.bytes_read == 5
    assert counts.bytes_written == 5 + 3 + 3 + 7
    assert start.requests == 0
    assert counts.plus(counts).minus(counts) == counts
    assert pickle.loads(pickle.dumps(counts)) == counts


def test_pickling(storage: Storage) -> None:
    storage.put("a", b"1")
    if isinstance(storage, MemoryStorage):
        for attempt in (lambda: pickle.dumps(storage), lambda: copy.deepcopy(storage)):
            with pytest.raises(OptionError, match="one process"):
                attempt()
        return
    other = pickle.loads(pickle.dumps(storage))
    assert type(other) is type(storage)
    assert (other.url, repr(other)) == (storage.url, repr(storage))
    assert other.counts.snapshot().requests == 0
    assert other.get("a") == b"1"


def test_the_url_opens_the_same_folder(storage: Storage, request: pytest.FixtureRequest) -> None:
    if isinstance(storage, MemoryStorage):
        return
    storage.put("a", b"1")
    options = None if storage.url.startswith("/") else request.getfixturevalue("s3_server").options
    other = open_storage(storage.url, options=options)
    assert other.url == storage.url
    assert other.get("a") == b"1"
