"""Delta's MERGE in Spark, with deletion vectors and the key range where it helps."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from benchmarks import data
from benchmarks.data import Batch
from benchmarks.lab import Lab
from benchmarks.merge_delta import DeltaMerge, Variant
from benchmarks.peers.runner import Contestant, main


class SparkMerge(Contestant):
    """See ``Contestant``."""

    requires = ("pyspark", "delta")

    def load(self, base: Path) -> None:
        """See ``Contestant``."""
        lab = Lab(self.folder.parent, 0, quick=False)
        rows = lab.spark.read.parquet(str(base)).repartitionByRange(data.BASE_FILES, "id")
        rows.sortWithinPartitions("id").write.format("delta").save(str(self.folder))
        self._lab = lab
        self._merge = DeltaMerge(lab, self.folder, "bigint")

    def read(self, path: Path) -> Path:
        """Leave the batch in its file, where Spark reads it."""
        return path

    def apply(self, mods: Path, number: int) -> None:
        """See ``Contestant``."""
        newest = mods.stem.endswith("newest")
        batch = Batch(number, 0, "newest" if newest else "random", mods)
        self._merge.apply(batch, Variant(ranges=newest, materialize="none"))

    def rows(self) -> pa.Table:
        """See ``Contestant``."""
        rows = self._lab.delta(self.folder).select("id", data.SEQUENCE).toArrow()
        self._lab.stop()
        return rows


if __name__ == "__main__":
    main(SparkMerge)
