"""PyIceberg's upsert and delete in one transaction, with a catalog in SQLite."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import data
from benchmarks.peers.runner import Contestant, main, newest, parts


class Iceberg(Contestant):
    """See ``Contestant``."""

    requires = ("pyiceberg", "sqlalchemy")

    def load(self, base: Path) -> None:
        """See ``Contestant``."""
        from pyiceberg.catalog.sql import SqlCatalog

        self.folder.mkdir()
        catalog = SqlCatalog("lake", uri=f"sqlite:///{self.folder}/catalog.db", warehouse=f"file://{self.folder}")
        catalog.create_namespace("lake")
        self._table = catalog.create_table("lake.orders", data.schema_of("bigint"))
        for part in parts(base):
            self._table.append(part)

    def apply(self, mods: pa.Table, number: int) -> None:
        """See ``Contestant``. All mods of the benchmark are newer than the rows, so no sequence is compared."""
        from pyiceberg.expressions import In

        last = newest(mods)
        deleted = pc.equal(last["op"], "D")
        upserts = last.filter(pc.invert(deleted)).drop_columns(["op"]).cast(data.schema_of("bigint"))
        with self._table.transaction() as transaction:
            transaction.delete(In("id", last["id"].filter(deleted).to_pylist()))
            transaction.upsert(upserts, join_cols=["id"])

    def rows(self) -> pa.Table:
        """See ``Contestant``."""
        return self._table.scan(selected_fields=("id", data.SEQUENCE)).to_arrow()


if __name__ == "__main__":
    main(Iceberg)
