"""What operators see: log records of verbs and steps, metrics, and nothing that is secret."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import AndesError, OptionError, SchemaMismatchError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tapped import TappedStorage

CANARY = "c4n4ry-secret"
METRICS = {
    "advisory_failures",
    "bytes",
    "conflicts",
    "merged_mods",
    "requests",
    "rows",
    "seconds",
    "spark_jobs",
    "version",
}


class Recorder:
    """A metrics hook that keeps what it is called with."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float, dict[str, str]]] = []

    def __call__(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        assert name.startswith("andes_spark.")
        self.sent.append((name.removeprefix("andes_spark."), value, dict(labels)))

    def value(self, name: str, **labels: str) -> float:
        return sum(
            value for sent, value, labels_sent in self.sent if sent == name and labels.items() <= labels_sent.items()
        )


def table_of(metrics: Any = None, **options: Any) -> ModTable:
    settings = Settings(metrics=metrics)
    return ModTable.create(
        MemoryStorage(), "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"], settings=settings, **options
    )


def test_verbs_begin_and_end_at_info_and_steps_are_debug(caplog):
    caplog.set_level(logging.DEBUG, "andes_spark")
    table = table_of()
    table.apply([{"id": 1, "seq": 1}, {"id": 1, "seq": 1}])
    table.to_arrow()
    table.verify()
    message = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    for verb in ("create", "apply", "read", "verify"):
        assert sum(f": {verb} begins" in text for text in message) == 1, verb
        (ends,) = [text for text in message if f": {verb} ends: ok, version " in text]
        assert table.url in ends
        assert " s, " in ends
        assert ends.endswith("requests")
    (apply,) = [text for text in message if "apply ends" in text]
    assert "version 1, 2 received, 1 upserts, 1 collapsed, 1 inserted" in apply
    steps = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    assert any("write mods" in text for text in steps)
    assert all(record.name.startswith("andes_spark.") for record in caplog.records)


def test_every_verb_is_measured() -> None:
    recorder = Recorder()
    table = table_of(recorder)
    table.apply([{"id": 1, "seq": 1}])
    verbs: dict[str, Callable[[], object]] = {
        "get": lambda: table.get(1),
        "mods": table.mods,
        "quarantined": table.quarantined,
        "status": table.status,
        "history": table.history,
        "tag": lambda: table.tag("x", 1),
        "untag": lambda: table.untag("x"),
        "pin": lambda: table.pin(1),
        "unpin": lambda: table.unpin(1),
        "alter": lambda: table.alter.add_column("v", "INT"),
        "restore": lambda: table.restore(1),
        "compact": table.compact,
        "vacuum": table.vacuum,
        "expire": lambda: table.expire(0),
        "maintain": table.maintain,
        "forget": lambda: table.forget([2], dry_run=True),
        "repair": table.repair,
        "verify": table.verify,
    }
    for verb, act in verbs.items():
        act()
        assert recorder.value("seconds", verb=verb, outcome="ok") > 0, verb
    assert recorder.value("rows", verb="get", kind="read") == 1


def test_a_verb_that_fails_ends_with_the_class_of_its_error(caplog):
    caplog.set_level(logging.INFO, "andes_spark")
    recorder = Recorder()
    table = table_of(recorder)
    with pytest.raises(SchemaMismatchError):
        table.apply([{"nothing": 1}])
    assert "apply ends: SchemaMismatchError" in caplog.records[-1].getMessage()
    assert recorder.value("seconds", verb="apply", outcome="SchemaMismatchError") > 0
    assert recorder.value("rows", verb="apply") == 0


def test_metrics_of_verbs():
    recorder = Recorder()
    table = table_of(recorder)
    result = table.apply([{"id": 1, "seq": 1}, {"id": 2, "seq": 1}], batch_id=("s", 1))
    labels = {"verb": "apply", "table": table.url}
    assert recorder.value("rows", kind="received", **labels) == 2
    assert recorder.value("merged_mods", kind="inserted", **labels) == 2
    assert recorder.value("version", **labels) == 1
    assert recorder.value("bytes", kind="written", **labels) > 0
    assert recorder.value("requests", kind="put_if_absent", **labels) >= 2
    assert recorder.value("conflicts", **labels) == result.conflicts == 0
    assert {name for name, _, _ in recorder.sent} == METRICS
    before = recorder.value("rows", kind="received")
    assert table.apply([{"id": 1, "seq": 1}, {"id": 2, "seq": 1}], batch_id=("s", 1)).replayed
    assert recorder.value("rows", kind="received") == before
    table.to_arrow()
    assert recorder.value("rows", kind="read", verb="read") == 2


def test_lost_races_are_conflicts(caplog):
    caplog.set_level(logging.DEBUG, "andes_spark.log.commit")
    recorder = Recorder()
    table = table_of(recorder, merge="manual")
    other = ModTable.open(table._open_table.storage)
    requests: list[int] = []

    def tap(method: str, path: str) -> None:
        if method == "put_if_absent" and "manifests" in path and not requests:
            requests.append(1)
            other.apply([{"id": 7, "seq": 1}])

    tapped: Any = TappedStorage(table._open_table.storage)
    handle = ModTable.open(tapped, settings=Settings(metrics=recorder))
    tapped.tap = tap
    result = handle.apply([{"id": 8, "seq": 1}])
    assert (result.version, result.conflicts) == (2, 1)
    assert recorder.value("conflicts", verb="apply") == 1
    assert any("another writer first" in record.getMessage() for record in caplog.records)


def test_a_hook_that_fails_is_a_warning_and_the_verb_is_done(caplog):
    def broken(name: str, value: float, labels: Mapping[str, str]) -> None:
        raise RuntimeError("the collector is gone")

    table = table_of(broken)
    assert table.apply([{"id": 1, "seq": 1}]).version == 1
    assert any("metrics hook failed" in record.getMessage() for record in caplog.records)


def test_the_hook_stays_in_this_process():
    settings = Settings(byte_budget=7, metrics=lambda name, value, labels: None)
    assert pickle.loads(pickle.dumps(settings)) == Settings(byte_budget=7)
    with pytest.raises(OptionError) as caught:
        Settings(metrics=7)  # type: ignore[arg-type]
    assert caught.value.option == "metrics"


def test_steps_that_repeat_are_one():
    table = table_of()
    names = [step.name for step in table.apply([{"id": 1, "seq": 1}]).steps]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket/t", {"aws_access_key_id": "AKIA", "aws_secret_access_key": CANARY, "aws_endpoint": "http://[::1]:1",
                           "aws_allow_http": "true", "aws_region": "eu-west-1"}),
        (f"s3://AKIA:{CANARY}@bucket/t", {}),
        ("s3://bucket/t", {"aws_secret_access_key": CANARY}),
        ("s3://bucket/t", {CANARY: "x"}),
    ],
)  # fmt: skip
def test_nothing_secret_is_logged_or_sent(caplog, monkeypatch, url, options):
    monkeypatch.setattr("andes_spark.storage.s3.S3Storage.__init__.__kwdefaults__", {"timeout": 1.0, "retries": 0})
    caplog.set_level(logging.DEBUG)
    recorder = Recorder()
    settings = Settings(metrics=recorder)
    calls: list[Callable[[], ModTable]] = [
        lambda: ModTable.open(url, storage_options=options, settings=settings),
        lambda: ModTable.create(
            url, "id BIGINT", primary_key=["id"], data=[{"id": 1}], storage_options=options, settings=settings
        ),
    ]
    for call in calls:
        with pytest.raises(AndesError) as caught:
            call()
        if CANARY not in options:
            assert CANARY not in str(caught.value) + repr(caught.value.fields)
    assert CANARY not in caplog.text
    assert CANARY not in repr(recorder.sent)
