"""Where benchmarks run: folders, sizes, one Spark session for both sides, timing and comparing."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from andes_spark.settings import Settings
from andes_spark.spark.session import spark_session
from andes_spark.table.mod_table import ModTable
from benchmarks import data
from benchmarks.data import KeyType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROOT = Path(__file__).resolve().parent.parent
QUICK_ROWS = 500_000
FULL_ROWS = 5_000_000
ROUNDS = 3


@dataclass(frozen=True)
class Spread:
    """Median of some measurements with the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g}-{self.most:.3g})"


class Lab:
    """A run of the benchmarks.

    Args:
        folder: for data and tables; input files in it are used again.
        rows: of the table.
        quick: fewer repeats, smaller histories.
        driver_memory: heap of the JVM.
        say: told what goes on.
    """

    def __init__(
        self, folder: Path, rows: int, *, quick: bool, driver_memory: str = "4g", say: Callable[[str], None] = print
    ) -> None:
        self.folder = folder
        self.rows = rows
        self.quick = quick
        self.say = say
        self._driver_memory = driver_memory
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def rounds(self) -> int:
        """Measurements behind each median."""
        return ROUNDS

    @property
    def sizes(self) -> tuple[int, ...]:
        """Mods in a batch."""
        return (100, 5_000, 50_000, 500_000) if self.rows >= FULL_ROWS else (100, 5_000, 50_000)

    @cached_property
    def spark(self) -> SparkSession:
        """The session of both sides; starting it takes a while."""
        cores = os.cpu_count() or 1
        return spark_session(
            "benchmarks",
            master=f"local[{cores}]",
            config={
                "spark.driver.memory": self._driver_memory,
                "spark.executorEnv.PYTHONPATH": str(ROOT),
                "spark.local.dir": str(self.folder / "spark"),
                "spark.ui.showConsoleProgress": "false",
                "spark.sql.session.timeZone": "UTC",
                "spark.sql.shuffle.partitions": str(2 * cores),
                "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
                "spark.sql.parquet.compression.codec": "zstd",
                # What pyarrow takes by default, so that both sides compress alike.
                "spark.hadoop.parquet.compression.codec.zstd.level": "1",
                "spark.databricks.delta.properties.defaults.enableDeletionVectors": "true",
            },
        )

    def base(self, key_type: KeyType) -> Path:
        """Parquet files of the table's first rows."""
        return data.write_base(self.folder, self.rows, key_type)

    def feed(self, key_type: KeyType, name: str) -> data.Feed:
        """A series of batches of its own."""
        return data.Feed(self.fresh(f"feed-{name}"), self.rows, key_type)

    def fresh(self, name: str) -> Path:
        """A path below the folder at which nothing is."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def copy(self, source: Path, name: str) -> Path:
        """A copy of a table."""
        target = self.fresh(name)
        shutil.copytree(source, target)
        return target

    def table(self, key_type: KeyType, name: str) -> Path:
        """A table of this library with the first rows."""
        pristine = self.folder / f"pristine-{key_type}-{self.rows}"
        if not pristine.exists():
            making = self.fresh(f"{pristine.name}.making")
            ModTable.create(
                str(making),
                data.schema_of(key_type),
                primary_key=data.primary_key(key_type),
                sequence_by=[data.SEQUENCE],
                data=pq.read_table(self.base(key_type)),
            )
            making.rename(pristine)
        return self.copy(pristine, name)

    def open(self, path: Path, settings: Settings | None = None, *, spark: SparkSession | None = None) -> ModTable:
        """Open a table of this library; without a session it takes the active one, if there is one."""
        return ModTable.open(str(path), settings=settings, spark=spark)

    def delta(self, path: Path) -> DataFrame:
        """The rows of a folder by Spark's plain Delta reader."""
        return self.spark.read.format("delta").load(str(path))

    def stop(self) -> None:
        """Stop the session, if one was started; the next use starts another."""
        if "spark" in self.__dict__:
            self.__dict__.pop("spark").stop()


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Gives a function that tells the seconds spent inside, final once left."""
    begun = time.perf_counter()
    ended: list[float] = []
    yield lambda: (ended[0] if ended else time.perf_counter()) - begun
    ended.append(time.perf_counter())


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of some work."""
    with stopwatch() as spent:
        work()
    return spent()


def alternate(works: dict[str, Callable[[], Any]], *, times: int, warm: int = 1) -> dict[str, Spread]:
    """Time several works, one after the other, the first one in turn; after rounds of warm-up."""
    names = list(works)
    seconds_of: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm + times):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            spent = seconds(works[name])
            if number >= warm:
                seconds_of[name].append(spent)
    return {name: Spread.of(values) for name, values in seconds_of.items()}


def fingerprint(frame: DataFrame) -> tuple[int, str]:
    """Number of rows and a sum of hashes over all columns: equal for equal rows in any order."""
    from pyspark.sql import functions as F

    columns = [F.col(f"`{name}`") for name in sorted(frame.columns)]
    hashed = F.sum(F.xxhash64(*columns).cast("decimal(38,0)"))
    row = frame.agg(F.count(F.lit(1)).alias("rows"), hashed.alias("hash")).first()
    return int(row["rows"]), str(row["hash"])  # type: ignore[index]


def scan(frame: DataFrame) -> None:
    """Evaluate all rows and columns of a frame, into one hash.

    Not by Spark's noop format: Delta 4.4 fails there on tables with deletion vectors.
    """
    from pyspark.sql import functions as F

    frame.agg(F.max(F.xxhash64(*(F.col(f"`{name}`") for name in frame.columns)))).collect()
