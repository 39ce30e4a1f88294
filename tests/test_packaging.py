"""The wheel: what it requires, what it carries, and that it works where there is no pyspark."""

from __future__ import annotations

import configparser
import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.environments import BARE, WITH_SPARK
from tests.wheels import build_wheel

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environ: str) -> str:
    process = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **environ}
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def requirements(metadata: email.message.Message) -> list[str]:
    return [str(line) for line in metadata.get_all("Requires-Dist", [])]


def test_the_bare_wheel_requires_neither_spark_nor_aws_sdk(metadata):
    bare = [line for line in requirements(metadata) if "extra ==" not in line]
    assert len(bare) > 5
    names = {line.split(">")[0].split("=")[0].split("<")[0].strip().lower() for line in bare}
    assert not names & {"pyspark", "delta-spark", "boto3", "pandas", "pytest"}


def test_every_requirement_has_both_bounds_or_is_exact(metadata):
    for line in requirements(metadata):
        version = line.split(";")[0]
        # setuptools is needed to build, where only its newest releases count.
        assert "==" in version or (">=" in version and ("<" in version or version.startswith("setuptools"))), line


def test_the_extra_for_spark_pins_the_newest_supported_pair(metadata):
    spark = [line.split(";")[0].strip() for line in requirements(metadata) if 'extra == "spark"' in line]
    # mapInArrow and toArrow of pyspark ask for pandas, which pyspark itself does not require.
    assert sorted(spark) == ["delta-spark==4.4.0", "pandas<3,>=2.2", "pyspark==4.2.0"]


def test_license_and_python_version(metadata):
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_wheel_carries_every_file_of_the_package_and_no_other(wheel):
    sources_here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "andes_spark").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert packed == sources_here
    assert {"andes_spark/py.typed", "andes_spark/spark/jars.txt"} <= packed


def test_the_wheel_has_the_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        points = configparser.ConfigParser()
        points.read_string(archive.read(name).decode())
    assert points["console_scripts"]["andes"] == "andes_spark.cli:main"


def test_the_wheel_says_what_is_missing_where_there_is_no_pyspark(wheel, tmp_path):
    # -S leaves out all installed packages, so this Python knows the wheel alone.
    code = """
import andes_spark
from andes_spark.errors import MissingPackageError
try:
    andes_spark.spark_session()
except MissingPackageError as error:
    print(error.package, error)
"""
    message = run(sys.executable, "-S", "-c", code, cwd=tmp_path, PYTHONPATH=str(wheel))
    assert message.startswith("pyspark ")
    assert "pip install 'andes_spark[spark]'" in message


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An environment with the wheel and what it requires, and the output of the program for it."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    install(python, str(wheel))
    return python, run(str(python), "-c", BARE, cwd=folder)


def install(python: Path, requirement: str) -> None:
    run(
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement,
        cwd=python.parent, HOME=os.path.expanduser("~"),
    )  # fmt: skip


def test_everything_but_spark_works_with_what_the_bare_wheel_requires(bare):
    assert bare[1].splitlines()[-1] == "done"


@pytest.mark.spark
def test_everything_with_spark_works_with_what_the_extra_requires(bare, wheel, jars_dir, tmp_path):
    # The same environment: what it had without the extra was tried before.
    install(bare[0], f"{wheel}[spark]")
    environ = {"JAVA_HOME": os.environ.get("JAVA_HOME", ""), "HOME": str(tmp_path)}
    message = run(str(bare[0]), "-c", WITH_SPARK, str(jars_dir), cwd=tmp_path, **environ)
    assert message.splitlines()[-1] == "done"
