"""The jars: which ones go with which Spark, that nothing unverified is used, and that S3A works with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from andes_spark.errors import FileDamagedError, MissingPackageError, UnsupportedTableError
from andes_spark.spark import jars
from tests.s3 import bucket_of_spark


@pytest.mark.parametrize(
    ("spark_version", "coordinates"),
    [
        ("3.5.7", "io.delta:delta-spark_2.12:3.3.2"),
        ("4.0.1", "io.delta:delta-spark_2.13:4.0.1"),
        ("4.2.0", "io.delta:delta-spark_4.2_2.13:4.4.0"),
        ("4.2.0.dev1", "io.delta:delta-spark_4.2_2.13:4.4.0"),
    ],
)
def test_each_supported_spark_has_its_delta(spark_version, coordinates):
    assert jars.delta_coordinates(spark_version) == coordinates


@pytest.mark.parametrize(("spark_version", "hadoop"), [("3.5.6", "3.3.4"), ("4.0.2", "3.4.1"), ("4.2.0", "3.5.0")])
def test_each_supported_spark_has_the_s3a_of_its_hadoop(monkeypatch, spark_version, hadoop):
    monkeypatch.setattr(jars, "fetched_jars", lambda listed, cache_dir: [Path(jar.file_name) for jar in listed])
    assert Path(f"org.apache.hadoop.hadoop-aws-{hadoop}.jar") in jars.s3a_jars(spark_version)


@pytest.mark.parametrize("spark_version", ["3.4.1", "4.20.0", "5.0.0", ""])
def test_another_spark_is_refused_by_version(spark_version, tmp_path):
    with pytest.raises(UnsupportedTableError) as caught:
        jars.delta_jars(spark_version, cache_dir=tmp_path)
    assert caught.value.feature == f"Spark {spark_version}"
    assert caught.value.supported == "3.5, 4.0, 4.2"
    assert list(tmp_path.iterdir()) == []


def test_every_pinned_jar_is_named_in_full():
    sets = ["delta-3.3", "delta-4.0", "delta-4.4", "s3a-3.3", "s3a-3.4", "s3a-3.5"]
    everything = [jar for name in sets for jar in jars.pinned(name)]
    assert all(jars.pinned(name) for name in sets)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in everything)
    assert len({jar.file_name for jar in everything}) == len({jar.coordinates for jar in everything})


def planted(monkeypatch: pytest.MonkeyPatch, content: bytes) -> tuple[jars.Jar, list[list[str]]]:
    """One pinned jar, and a repository that gives ``content`` for it; the calls to it are recorded."""
    jar = jars.Jar("org.example", "thing", "1.0", hashlib.sha256(b"the jar").hexdigest())
    calls: list[list[str]] = []

    def fetch(expected: list[jars.Jar], work: Path) -> Path:
        calls.append([one.coordinates for one in expected])
        (work / "out").mkdir()
        (work / "out" / jar.file_name).write_bytes(content)
        return work / "out"

    monkeypatch.setattr(jars, "pinned", lambda name: [jar])
    monkeypatch.setattr(jars, "_fetch", fetch)
    return jar, calls


def test_a_jar_is_fetched_once(monkeypatch, tmp_path):
    jar, calls = planted(monkeypatch, b"the jar")
    cache = tmp_path / "made" / "when needed"
    assert jars.delta_jars("4.2.0", cache_dir=cache) == [cache / jar.file_name]
    assert jars.delta_jars("4.2.0", cache_dir=str(cache)) == [cache / jar.file_name]
    assert calls == [["org.example:thing:1.0"]]
    assert [path.name for path in cache.iterdir()] == [jar.file_name]


def test_a_spoiled_file_of_the_cache_is_fetched_again(monkeypatch, tmp_path):
    jar, calls = planted(monkeypatch, b"the jar")
    (tmp_path / jar.file_name).write_bytes(b"half of the j")
    (path,) = jars.delta_jars("4.2.0", cache_dir=tmp_path)
    assert path.read_bytes() == b"the jar"
    assert len(calls) == 1


def test_a_jar_with_another_checksum_is_never_kept(monkeypatch, tmp_path):
    jar, _ = planted(monkeypatch, b"another jar")
    with pytest.raises(FileDamagedError) as caught:
        jars.delta_jars("4.2.0", cache_dir=tmp_path)
    assert caught.value.path == jar.coordinates
    assert caught.value.expected == jar.sha256
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_the_users_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.default_cache_dir() == tmp_path / "andes_spark" / "jars"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert jars.default_cache_dir() == tmp_path / "home" / ".cache" / "andes_spark" / "jars"


def test_without_java_the_message_says_where_it_was_sought(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingPackageError) as caught:
        jars.delta_jars("4.2.0", cache_dir=tmp_path / "cache")
    assert caught.value.package == "java"
    assert f"JAVA_HOME={tmp_path}" in str(caught.value)


def test_a_failed_fetch_names_the_jars_and_what_to_do(monkeypatch, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho unresolved dependency\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingPackageError) as caught:
        jars.delta_jars("4.2.0", cache_dir=tmp_path / "cache")
    for expected in ("io.delta:delta-storage:4.4.0", "unresolved dependency", "by hand"):
        assert expected in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_command_prints_what_spark_submit_takes(monkeypatch, tmp_path, capsys):
    jar, _ = planted(monkeypatch, b"the jar")
    jars.main(["--s3", "--cache-dir", str(tmp_path)])
    path = str(tmp_path / jar.file_name)
    assert capsys.readouterr().out == f"{path},{path}\n"


@pytest.mark.integration
@pytest.mark.parametrize("scheme", ["s3a", "s3"])
def test_spark_writes_and_reads_s3(spark, s3_server, scheme):
    with bucket_of_spark(spark, s3_server) as bucket:
        folder = f"{scheme}://{bucket}/a table"
        spark.range(1000).write.parquet(f"{folder}/parquet")
        assert spark.read.parquet(f"{folder}/parquet").where("id >= 10").count() == 990
        spark.range(1000).write.format("delta").save(f"{folder}/delta")
        assert spark.read.format("delta").load(f"{folder}/delta").count() == 1000
