"""The archive: what is in it, and a job that runs with it on a cluster where nothing of it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyspark
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.errors import MissingPackageError, OptionError
from andes_spark.package import archive
from andes_spark.package.archive import build_archive
from andes_spark.spark.jars import delta_jars
from tests.spark.cluster import Cluster
from tests.wheels import build_wheel

ROOT = Path(__file__).parents[2]
HOME = Path(pyspark.__file__).parent
MEGABYTES = 250


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def python_without_packages(folder: Path) -> Path:
    """A folder with ``python3.11`` alone, of an environment without any package."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "bare"], check=True)
    path = folder / "path"
    path.mkdir()
    launcher = path / f"python{version}"
    launcher.write_text(f'#!/bin/sh\nexec {folder}/bare/bin/python "$@"\n')
    launcher.chmod(0o755)
    return path


@pytest.mark.slow
@pytest.mark.spark
def test_a_job_runs_with_it_on_a_bare_cluster(wheel: Path, jars_dir: Path, tmp_path: Path) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    out = tmp_path / "out"
    outcome = CliRunner().invoke(
        andes,
        ["package", str(ROOT / "tests/package/job.py"), "--target", "emr-ec2", "--location", "s3://lake/jobs",
         "--arch", os.uname().machine, "--python", python, "--wheel", str(wheel), "--out", str(out),
         "--output", "json", "--", "orders", "--limit", "5"],
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    shown = json.loads(outcome.output)
    assert sorted(shown["files"]) == sorted(path.name for path in out.iterdir())
    assert shown["bytes"] < MEGABYTES * 1_000_000
    assert (out / "spark-submit.txt").read_text().endswith("s3://lake/jobs/job.py orders --limit 5\n")
    built = next(out.glob("*.tar.gz"))
    with tarfile.open(built) as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "driver", filter="data")
    assert not [name for name in names if name.startswith(("lib/pyspark", "lib/delta/", "lib/bin/"))]
    assert {"lib/andes_spark/__init__.py", "lib/polars/__init__.py", "lib/pandas/__init__.py"} <= set(names)

    path = f"{python_without_packages(tmp_path)}:/usr/bin:/bin"
    settings = {
        "spark.archives": f"{built}#environment",
        "spark.jars": ",".join(map(str, delta_jars(cache_dir=jars_dir))),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.pyspark.python": "./environment/bin/python",
        "spark.pyspark.driver.python": str(tmp_path / "driver/bin/python"),
        "spark.executorEnv.PATH": path,
        "spark.executor.memory": "512m",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    confs = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    environment = {"PATH": path, "SPARK_HOME": str(HOME), "JAVA_HOME": os.environ.get("JAVA_HOME", "")}
    with Cluster(tmp_path, 2) as cluster:
        submitted = subprocess.run(
            [HOME / "bin/spark-submit", "--master", cluster.url, *confs, out / "job.py", tmp_path / "orders", "2000"],
            env={name: value for name, value in environment.items() if value},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert submitted.returncode == 0, submitted.stderr[-5000:]
    report = json.loads(submitted.stdout.splitlines()[-1])
    assert (report["upserts"], report["rows"], report["ok"]) == (2000, 2000, True)
    assert report["files"]
    assert all(
        "/environment/lib/andes_spark/" in file and file.startswith(f"{tmp_path}/work") for file in report["files"]
    )


def test_a_machine_without_the_python_of_the_archive_says_so(tmp_path: Path) -> None:
    launcher = tmp_path / "bin" / "python"
    launcher.parent.mkdir()
    launcher.write_text(archive._LAUNCHER.format(python="3.99"))
    launcher.chmod(0o755)
    process = subprocess.run([launcher, "-V"], capture_output=True, text=True)
    assert (process.returncode, "has no python3.99" in process.stderr) == (127, True)


def test_a_file_that_is_no_wheel_of_this_library(tmp_path: Path) -> None:
    wrong = tmp_path / "other.whl"
    wrong.write_bytes(b"no zip")
    with pytest.raises(OptionError, match="is no wheel: build one by make wheel"):
        build_archive(wrong, tmp_path, arch="x86_64")
    with zipfile.ZipFile(wrong, "w") as content:
        content.writestr("other-1.dist-info/METADATA", "Name: other\nVersion: 1\n")
    with pytest.raises(OptionError, match="a wheel of other, not of andes_spark"):
        build_archive(wrong, tmp_path, arch="x86_64")
    assert [path.name for path in tmp_path.iterdir()] == ["other.whl"]


def test_packages_that_are_not_there_are_named(tmp_path: Path) -> None:
    wheel = tmp_path / "andes_spark-9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        name = "andes_spark-9.dist-info"
        lines = "Metadata-Version: 2.1\nName: andes_spark\nVersion: 9\nRequires-Python: >=4\n"
        content.writestr(f"{name}/METADATA", lines)
        content.writestr(
            f"{name}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content.writestr(f"{name}/RECORD", "")
    with pytest.raises(MissingPackageError, match=r"Python 3\.11 on aarch64: .*[Pp]ython"):
        build_archive(wheel, tmp_path / "out", arch="aarch64")
    assert not (tmp_path / "out").exists()


def test_bad_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("")
    command = ["package", "job.py", "--target", "emr-eks"]
    outcome = CliRunner().invoke(andes, [*command, "--location", "/tmp"])
    assert (outcome.exit_code, "is an S3 folder such as s3://bucket/jobs" in outcome.output) == (2, True)
    outcome = CliRunner().invoke(andes, [*command, "--location", "s3://lake"])
    assert (outcome.exit_code, "dist/ has no wheel of andes_spark" in outcome.output) == (2, True)
    outcome = CliRunner().invoke(andes, [*command, "--location", "/tmp", "--output", "json"])
    assert json.loads(outcome.stderr)["error"] == "OptionError"
    outcome = CliRunner().invoke(andes, ["package", "gone.py", "--target", "emr-eks", "--location", "s3://lake"])
    assert outcome.exit_code == 2
