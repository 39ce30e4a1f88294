"""What a cluster's own Spark brings: its settings are read, and no jar is brought that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from andes_spark.errors import MissingPackageError
from andes_spark.spark import class_path, hadoop, jars
from andes_spark.spark import session as sessions

EMR = """
# Of EMR 7.12 on EC2, shortened.
spark.master                     yarn
spark.driver.extraClassPath      /usr/lib/hadoop-lzo/lib/*:/usr/lib/hadoop/hadoop-aws.jar:/usr/share/aws/aws-java-sdk/*

spark.sql.extensions=org.example.Other
spark.hadoop.empty
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a Spark without configuration and jars."""
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    for name in ("conf", "jars"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_the_configuration_of_a_cluster(home, monkeypatch, tmp_path):
    assert class_path.configured_settings() == {}
    (home / "conf" / "spark-defaults.conf").write_text(EMR)
    settings = class_path.configured_settings()
    assert settings["spark.master"] == "yarn"
    assert settings["spark.sql.extensions"] == "org.example.Other"
    assert settings["spark.hadoop.empty"] == ""
    assert len(settings) == 4
    assert sessions._is_local(settings) is False
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path / "nowhere"))
    assert class_path.configured_settings() == {}


@pytest.mark.parametrize(
    ("settings", "has"),
    [
        ({}, (False, False)),
        ({"spark.jars": "/a/delta-spark_2.13-4.0.1.jar, s3://b/hadoop-aws-3.4.1.jar"}, (True, True)),
        ({"spark.jars": "/usr/share/aws/delta/lib/delta-spark.jar"}, (True, False)),
        ({"spark.jars.packages": "io.delta:delta-spark_2.12:3.3.2,org.apache.hadoop:hadoop-aws:3.3.4"}, (True, True)),
        ({"spark.driver.extraClassPath": "/hadoop-aws/other.jar:/usr/lib/hadoop/hadoop-aws.jar"}, (False, True)),
    ],
)
def test_jars_of_the_class_path(home, monkeypatch, settings, has):
    monkeypatch.setattr(jars, "delta_jars", lambda version, cache_dir: [Path("/cache/delta.jar")])
    monkeypatch.setattr(jars, "s3a_jars", lambda version, cache_dir: [Path("/cache/s3a.jar")])
    paths = sessions._with_jars(settings, "4.2.0", s3=True, cache_dir=None).split(",")
    assert [f"file:///cache/{name}.jar" not in paths for name in ("delta", "s3a")] == list(has)


@pytest.mark.parametrize(("s3", "hint"), [(None, True), (True, False)])
def test_where_the_jars_of_s3_cannot_be_fetched(home, monkeypatch, s3, hint):
    def unreachable(version, cache_dir):
        raise MissingPackageError("could not fetch them", package="hadoop-aws")

    monkeypatch.setattr(jars, "delta_jars", lambda version, cache_dir: [])
    monkeypatch.setattr(jars, "s3a_jars", unreachable)
    with pytest.raises(MissingPackageError, match="could not fetch them") as caught:
        sessions._with_jars({}, "4.2.0", s3=s3, cache_dir=None)
    assert ("spark_session(s3=False)" in str(caught.value)) == hint
    assert sessions._with_jars({}, "4.2.0", s3=False, cache_dir=None) == ""


def test_jars_of_folders(home):
    (home / "jars" / "delta-spark_2.12-3.3.2-amzn-1.jar").touch()
    (home / "lib").mkdir()
    (home / "lib" / "hadoop-aws-3.4.1-amzn-1.jar").touch()
    assert class_path.provides("delta-spark", {})
    assert not class_path.provides("hadoop-aws", {})
    assert class_path.provides("hadoop-aws", {"spark.driver.extraClassPath": f"{home}/lib/*"})


def test_credentials_are_no_arguments_of_the_jvm():
    settings = {
        "spark.hadoop.fs.s3a.secret.key": "a",
        "spark.hadoop.fs.s3a.bucket.a.b-c.session.token": "b",
        "spark.hadoop.fs.s3a.access.key": "c",
        "spark.hadoop.fs.s3a.endpoint": "d",
        "spark.app.secret.key": "e",
    }
    visible, secret = hadoop.without_secrets(settings)
    assert sorted(visible.values()) == ["d", "e"]
    assert secret == {
        "fs.s3a.secret.key": "a",
        "fs.s3a.bucket.a.b-c.session.token": "b",
        "fs.s3a.access.key": "c",
    }
