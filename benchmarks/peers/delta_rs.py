"""delta-rs' merge; it writes no deletion vectors."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from benchmarks import data
from benchmarks.peers.runner import Contestant, main, newest, parts


class DeltaRs(Contestant):
    """See ``Contestant``."""

    requires = ("deltalake",)

    def load(self, base: Path) -> None:
        """See ``Contestant``."""
        from deltalake import DeltaTable, write_deltalake

        for part in parts(base):
            write_deltalake(str(self.folder), part, mode="append")
        self._table = DeltaTable(str(self.folder))

    def apply(self, mods: pa.Table, number: int) -> None:
        """See ``Contestant``."""
        newer = f"s.{data.SEQUENCE} > t.{data.SEQUENCE}"
        values = {name: f"s.{name}" for name in mods.column_names if name != "op"}
        merger = self._table.merge(newest(mods), "t.id = s.id", source_alias="s", target_alias="t")
        merger = merger.when_matched_delete(f"s.op = 'D' AND {newer}")
        merger = merger.when_matched_update(values, predicate=f"s.op <> 'D' AND {newer}")
        merger.when_not_matched_insert(values, predicate="s.op <> 'D'").execute()

    def rows(self) -> pa.Table:
        """See ``Contestant``."""
        return pa.table(self._table.to_pyarrow_table(columns=["id", data.SEQUENCE]))


if __name__ == "__main__":
    main(DeltaRs)
