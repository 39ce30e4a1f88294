"""The jars that a plain pyspark lacks, Delta's and S3A's: cached, or fetched once from Maven Central.

``jars.txt`` beside this file names each by exact coordinates and SHA-256. Fetching is left to the Ivy that
every Spark ships, so neither Maven nor ``--packages`` at run time is needed. Sessions are made in
``session.py``. ``python -m andes_spark.spark.jars [--s3]`` prints the paths for ``spark-submit --jars``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from xml.sax.saxutils import quoteattr

from andes_spark.errors import FileDamagedError, MissingPackageError, UnsupportedTableError
from andes_spark.spark.class_path import spark_home
from andes_spark.spark.pairs import PAIRS, minor

FETCH_TIMEOUT_S = 900
_DELTA = tuple((pair.spark, f"delta-{pair.delta}") for pair in PAIRS)
_S3A = (("3.5", "s3a-3.3"), ("4.0", "s3a-3.4"), ("4.2", "s3a-3.5"))
"""Sets of jars by Spark; named by the Hadoop that Spark ships, whose S3A must be of the same release."""


@dataclass(frozen=True)
class Jar:
    """One jar of Maven Central.

    Attributes:
        group, name, version: coordinates of the jar.
        sha256: SHA-256 of the file, in hex.
    """

    group: str
    name: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """The coordinates of the jar, as ``group:name:version``."""
        return f"{self.group}:{self.name}:{self.version}"

    @property
    def file_name(self) -> str:
        """The name of the file in the cache."""
        return f"{self.group}.{self.name}-{self.version}.jar"


def delta_jars(spark_version: str | None = None, *, cache_dir: str | Path | None = None) -> list[Path]:
    """Return the jars of the Delta release that goes with a Spark, fetching those the cache lacks.

    Args:
        spark_version: such as ``"4.2.0"``; by default that of the installed pyspark.
        cache_dir: folder of the jars; by default ``default_cache_dir()``.

    Returns:
        Paths of verified files.

    Raises:
        UnsupportedTableError: there is no Delta release for that Spark in our table.
        MissingPackageError: pyspark or Java is missing, or a jar could not be fetched.
        FileDamagedError: a fetched jar is not the one that was pinned.
    """
    version = installed_spark() if spark_version is None else spark_version
    return fetched_jars(pinned(_choose(_DELTA, version, "Delta")), cache_dir)


def s3a_jars(spark_version: str | None = None, *, cache_dir: str | Path | None = None) -> list[Path]:
    """Return the jars with which a Spark reads and writes ``s3a://``; arguments and errors as ``delta_jars``.

    The AWS SDK is taken by modules (at most 18 MB) instead of as its bundle of several hundred.
    """
    version = installed_spark() if spark_version is None else spark_version
    return fetched_jars(pinned(_choose(_S3A, version, "S3A")), cache_dir)


def delta_coordinates(spark_version: str) -> str:
    """Return the coordinates of Delta's main jar for a Spark; UnsupportedTableError as ``delta_jars``."""
    return pinned(_choose(_DELTA, spark_version, "Delta"))[0].coordinates


def default_cache_dir() -> Path:
    """Return the folder for jars in the user's cache, by the XDG rules, as the environment says now."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "andes_spark" / "jars"


def installed_spark() -> str:
    """Return the version of the installed pyspark; ``MissingPackageError`` where there is none."""
    try:
        import pyspark
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "pyspark is not installed here: pip install 'andes_spark[spark]', or run inside a Spark job",
            package="pyspark",
        ) from error
    return str(pyspark.__version__)


def pinned(name: str) -> list[Jar]:
    """Return the jars of one set of ``jars.txt``, such as ``"delta-4.4"``."""
    listed = []
    for line in (resources.files(__package__) / "jars.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        owner, coordinates, sha256 = line.split()
        if owner == name:
            group, artifact, version = coordinates.split(":")
            listed.append(Jar(group, artifact, version, sha256))
    return listed


def _choose(table: Sequence[tuple[str, str]], spark_version: str, package: str) -> str:
    for spark, name in table:
        if spark == minor(spark_version):
            return name
    known = ", ".join(spark for spark, _ in table)
    raise UnsupportedTableError(
        f"no {package} release is known for Spark {spark_version}; supported are {known}: install one of these,"
        " or build the session yourself and hand it over",
        feature=f"Spark {spark_version}",
        supported=known,
    )


def fetched_jars(jars: Sequence[Jar], cache_dir: str | Path | None = None) -> list[Path]:
    """Return the files of some jars, fetching those the cache lacks; arguments and errors as ``delta_jars``."""
    folder = Path(cache_dir).absolute() if cache_dir is not None else default_cache_dir()
    missing = [jar for jar in jars if not _is_whole(folder / jar.file_name, jar)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        # Fetched beside the cache and moved in one by one: a process that runs at the same time, or is
        # killed, never shows another one half a file.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
            fetched = _fetch(missing, Path(work))
            for jar in missing:
                _check(fetched / jar.file_name, jar)
                os.replace(fetched / jar.file_name, folder / jar.file_name)
    return [folder / jar.file_name for jar in jars]


def _is_whole(path: Path, jar: Jar) -> bool:
    return path.is_file() and _sha256(path) == jar.sha256


def _check(path: Path, jar: Jar) -> None:
    if not path.is_file():
        raise MissingPackageError(f"{jar.coordinates} was not found on Maven Central", package=jar.coordinates)
    actual = _sha256(path)
    if actual != jar.sha256:
        raise FileDamagedError(
            f"{jar.coordinates}: fetched a jar with SHA-256 {actual}, expected {jar.sha256}; it is not used."
            " Look for a proxy or mirror that changes files",
            path=jar.coordinates,
            expected=jar.sha256,
            actual=actual,
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(jars: Sequence[Jar], work: Path) -> Path:
    (work / "ivy.xml").write_text(_ivy_module(jars), "utf-8")
    (work / "ivysettings.xml").write_text(
        (resources.files(__package__) / "ivysettings.xml").read_text("utf-8"), "utf-8"
    )
    command = [_java(), "-Xmx256m", f"-Divy.default.ivy.user.dir={work}/user", "-cp", str(_ivy())]
    command += ["org.apache.ivy.Main", "-settings", f"{work}/ivysettings.xml", "-ivy", f"{work}/ivy.xml"]
    command += ["-cache", f"{work}/cache", "-warn"]
    command += ["-retrieve", f"{work}/out/[organisation].[artifact]-[revision].[ext]"]
    names = ", ".join(jar.coordinates for jar in jars)
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = error.stdout if isinstance(error.stdout, str) else ""
        raise MissingPackageError(
            f"could not fetch {names} from Maven Central: {output.strip()[-2000:] or error}\n"
            f"Check the network, or put the jars into the cache folder by hand, named such as"
            f" {jars[0].file_name}",
            package=names,
        ) from error
    return work / "out"


def _ivy_module(jars: Sequence[Jar]) -> str:
    rows = "\n".join(
        f"    <dependency org={quoteattr(jar.group)} name={quoteattr(jar.name)} rev={quoteattr(jar.version)}"
        ' conf="default->default" transitive="false"/>'
        for jar in jars
    )
    return (
        '<ivy-module version="2.0">\n  <info organisation="andes_spark" module="jars"/>\n'
        '  <configurations><conf name="default"/></configurations>\n'
        f"  <dependencies>\n{rows}\n  </dependencies>\n</ivy-module>\n"
    )


def _ivy() -> Path:
    installed_spark()
    home = spark_home()
    candidates = sorted((home / "jars").glob("ivy-*.jar"))
    if not candidates:
        raise MissingPackageError(f"{home}/jars holds no ivy-*.jar; is this a whole Spark?", package="ivy")
    return candidates[-1]


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        where = f"JAVA_HOME={home}" if home else "PATH"
        raise MissingPackageError(
            f"Java was not found in {where}: install Java 17 or 21 and set JAVA_HOME", package="java"
        )
    return java


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the paths of Delta's jars, and of S3A's if asked, as ``spark-submit --jars`` takes them."""
    parser = argparse.ArgumentParser(prog="python -m andes_spark.spark.jars", description=main.__doc__)
    parser.add_argument("--s3", action="store_true", help="the jars for s3a:// as well")
    parser.add_argument("--cache-dir", help=f"folder of the jars (default: {default_cache_dir()})")
    options = parser.parse_args(arguments)
    paths = delta_jars(cache_dir=options.cache_dir)
    if options.s3:
        paths += s3a_jars(cache_dir=options.cache_dir)
    sys.stdout.write(",".join(str(path) for path in paths) + "\n")


if __name__ == "__main__":
    main()
