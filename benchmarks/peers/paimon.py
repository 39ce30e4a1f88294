"""Paimon's Java core by ``PaimonPeer.java``, fetched from Maven Central and compiled here; needs a JDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.spark.jars import Jar, fetched_jars
from benchmarks import data
from benchmarks.processes import MISSING

_JAR = Jar(
    "org.apache.paimon", "paimon-bundle", "1.3.1", "ec0a91c0cf6c1da46c7175b7778e3207395eca10272d891fa49770ec7a780162"
)
_BUCKETS = "4"
_HEAP = "-Xmx4g"


def main() -> None:
    """Run; arguments as ``runner.main``, then the mode."""
    folder, _, rows, names, needed, limit, mode = sys.argv[1:8]
    home = os.environ.get("JAVA_HOME")
    compiler = shutil.which("javac", path=f"{home}/bin" if home else None)
    if compiler is None:
        print("javac was not found: Paimon's program is compiled with a JDK", flush=True)
        sys.exit(MISSING)
    classes = _classpath()
    source = Path(__file__).parent / "PaimonPeer.java"
    subprocess.run([compiler, "-cp", classes, "-d", folder, str(source)], check=True)
    batches = [
        str(_written(Path(path), Path(folder) / f"{number:04d}.mods"))
        for number, path in enumerate(Path(names).read_text(encoding="utf-8").splitlines())
    ]
    java = str(Path(compiler).parent / "java")
    program = [java, _HEAP, "-cp", f"{folder}:{classes}", "PaimonPeer"]
    os.execv(java, [*program, folder, mode, _BUCKETS, rows, needed, limit, *batches])


def _classpath() -> str:
    """Paimon's jar, and Hadoop's client and logging as Spark ships them."""
    import pyspark

    [paimon] = fetched_jars([_JAR])
    spark = sorted((Path(pyspark.__file__).parent / "jars").glob("*.jar"))
    prefixes = ("hadoop-client-", "slf4j-api", "commons-logging", "log4j-")
    return ":".join(str(path) for path in [paimon, *(path for path in spark if path.name.startswith(prefixes))])


def _written(batch: Path, target: Path) -> Path:
    """Write key, sequence and kind of each mod as big-endian longs."""
    mods = pq.read_table(batch, columns=["id", data.SEQUENCE, "op"])
    deleted = pc.equal(mods["op"], "D").cast("int64")
    columns = [mods["id"].to_numpy(), mods[data.SEQUENCE].to_numpy(), deleted.to_numpy()]
    np.column_stack(columns).astype(">i8").tofile(target)
    return target


if __name__ == "__main__":
    main()
