"""Statements of Amazon Redshift, where they differ from PostgreSQL's: keys are not enforced, and MERGE applies a stage.

The sources of the statements are named in ``tests/golden/redshift_statements.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from andes_spark.sync.warehouse.columns import TargetColumn
from andes_spark.sync.warehouse.dialects import CHANGE, PostgreSql, Statement, listed, quoted

MAX_SORT_COLUMNS = 400


class Redshift(PostgreSql):
    """Statements of Redshift."""

    product: ClassVar[str] = "Redshift"
    types: ClassVar[Mapping[str, str]] = {
        **PostgreSql.types,
        "string": "character varying(65535)",
        "binary": "binary varying(1024000)",
    }
    nested: ClassVar[str] = "super"
    name_bytes: ClassVar[int] = 127
    text_type: ClassVar[str] = "character varying(65535)"
    # Dropped with the session: there is no ON COMMIT.
    on_commit: ClassVar[str] = ""
    begin: ClassVar[str] = "BEGIN"
    retypes: ClassVar[bool] = False

    def folded(self, name: str) -> str:
        """See ``PostgreSql``: ASCII letters are folded in quoted names as well."""
        return name.lower()

    def create_table(self, table: str, columns: Sequence[TargetColumn], key: Sequence[str]) -> str:
        """See ``PostgreSql``; rows are distributed by the first key column and sorted by all of them."""
        statement = super().create_table(table, columns, key).removesuffix(")")
        return (
            f"{statement}, PRIMARY KEY ({listed(key)})) DISTSTYLE KEY DISTKEY ({quoted(key[0])}) "
            f"COMPOUND SORTKEY ({listed(key[:MAX_SORT_COLUMNS])})"
        )

    def add_key(self, table: str, key: Sequence[str]) -> str | None:
        """See ``PostgreSql``."""
        return None

    def analyze(self) -> str | None:
        """See ``PostgreSql``: COPY into an empty table does it."""
        return None

    def apply(self, columns: Sequence[TargetColumn], key: Sequence[str]) -> list[Statement]:
        """See ``PostgreSql``: MERGE has no condition on rows, so the rows to delete leave the stage first."""
        names = [column.name for column in columns]
        table, stage = quoted(self.name.table), self.stage
        same = " AND ".join(f"{table}.{quoted(name)} = {stage}.{quoted(name)}" for name in key)
        change = f"{stage}.{quoted(CHANGE)}"
        met = f"SELECT count(*) FROM {self.target} JOIN {stage} ON {same} WHERE {change} ="
        changed = [name for name in names if name not in key] or list(key)
        sets = ", ".join(f"{quoted(name)} = {stage}.{quoted(name)}" for name in changed)
        merge = (
            f"MERGE INTO {self.target} USING {stage} ON {same} WHEN MATCHED THEN UPDATE SET {sets} "
            f"WHEN NOT MATCHED THEN INSERT ({listed(names)}) VALUES ({listed(names, f'{stage}.')})"
        )
        return [
            Statement("delete", "D", f"DELETE FROM {self.target} USING {stage} WHERE {change} = 'D' AND {same}"),
            Statement("clear stage", "D", f"DELETE FROM {stage} WHERE {change} = 'D'"),
            Statement("count updates", "U", f"{met} 'U'", answers=True),
            Statement("count inserts", "I", f"{met} 'I'", answers=True, meets_none=True),
            Statement("merge", "UI", merge, counts=False),
        ]
