"""This library, Arrow in."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from andes_spark.table.mod_table import ModTable
from benchmarks import data
from benchmarks.peers.runner import Contestant, main


class Andes(Contestant):
    """See ``Contestant``."""

    def load(self, base: Path) -> None:
        """See ``Contestant``."""
        self._table = ModTable.create(
            str(self.folder),
            data.schema_of("bigint"),
            primary_key=["id"],
            sequence_by=[data.SEQUENCE],
            data=ds.dataset(base).scanner().to_reader(),
        )

    def apply(self, mods: pa.Table, number: int) -> None:
        """See ``Contestant``."""
        result = self._table.apply(mods, apply_as_deletes=data.DELETES, batch_id=("peers", number), merge=True)
        if result.merge is None or result.merge.status != "merged":
            raise AssertionError(f"the batch did not end in the base: {result.merge}")

    def rows(self) -> pa.Table:
        """See ``Contestant``."""
        return self._table.to_arrow(columns=["id", data.SEQUENCE])


if __name__ == "__main__":
    main(Andes)
