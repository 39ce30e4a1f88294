"""Statements of SQL databases: the same delivery for all of them, with what differs in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.schema.schema import Schema
from andes_spark.schema.types import Array, DataType, Decimal, Map, Primitive, Struct, simple_string
from andes_spark.schema.versions import SchemaVersion
from andes_spark.sync.warehouse.columns import TargetColumn

CURSORS = "_andes_delivery"
"""Table of the cursors, in the schema of the target."""
CHANGE = "_andes_change"
"""Column of the stage: ``I``, ``U`` or ``D``; no table has a column of such a name."""


@dataclass(frozen=True)
class TargetName:
    """Schema and name of a table in a database."""

    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TargetName:
        """Split ``schema.table``.

        Raises:
            OptionError: not two names.
        """
        schema, _, table = text.partition(".")
        if not schema or not table or "." in table or "\0" in text:
            raise OptionError(f'{text!r} is not "schema.table"', option="name", value=text)
        if table == CURSORS:
            raise OptionError(f"{CURSORS} is the table of the cursors: choose another name", option="name", value=text)
        return cls(schema, table)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Statement:
    """A statement that applies a part of the stage.

    Attributes:
        step: name of the step.
        changes: values of :data:`CHANGE` of the rows that it applies; it is left out if there are none.
        sql: the statement.
        answers: whether it is a query for the number of rows of the target that it meets.
        meets_none: whether no row of the target may have the key of such a row.
        counts: whether the database tells how many rows it met.
    """

    step: str
    changes: str
    sql: str
    answers: bool = False
    meets_none: bool = False
    counts: bool = True


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str], prefix: str = "") -> str:
    """Return names as identifiers with commas, each after a prefix."""
    return ", ".join(prefix + quoted(name) for name in names)


class PostgreSql:
    """Statements of PostgreSQL 13 and later.

    Attributes:
        name: name of the target.
    """

    product: ClassVar[str] = "PostgreSQL"
    types: ClassVar[Mapping[str, str]] = {
        "boolean": "boolean",
        "byte": "smallint",
        "short": "smallint",
        "integer": "integer",
        "long": "bigint",
        "float": "real",
        "double": "double precision",
        "string": "text",
        "binary": "bytea",
        "date": "date",
        "timestamp": "timestamp with time zone",
        "timestamp_ntz": "timestamp without time zone",
    }
    nested: ClassVar[str] = "jsonb"
    name_bytes: ClassVar[int] = 63
    """Longer names are cut off by the database."""
    max_columns: ClassVar[int] = 1600
    system_columns: ClassVar[tuple[str, ...]] = ("cmax", "cmin", "ctid", "tableoid", "xmax", "xmin")
    temporary: ClassVar[str] = "TEMPORARY"
    on_commit: ClassVar[str] = " ON COMMIT DROP"
    text_type: ClassVar[str] = "text"
    retypes: ClassVar[bool] = True
    """Whether a column can be widened within a transaction."""
    begin: ClassVar[str] = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    """All that a delivery reads is of one point in time; a write of another one since then is a conflict."""

    def __init__(self, name: TargetName) -> None:
        self.name = name
        self.target = f"{quoted(name.schema)}.{quoted(name.table)}"
        self.cursors = f"{quoted(name.schema)}.{quoted(CURSORS)}"
        self.stage = quoted("_andes_stage")
        for part in (name.schema, name.table):
            if len(part.encode()) > self.name_bytes:
                raise OptionError(
                    f"{part} is longer than the {self.name_bytes} bytes of a name in {self.product}", option="name"
                )

    def columns(self, version: SchemaVersion) -> tuple[TargetColumn, ...]:
        """Return the columns of a schema in this database.

        Raises:
            UnsupportedTableError: a name or type that the database cannot hold; ``column``.
        """
        self._check_names(version.schema)
        return tuple(self._column(node.field.name, node.field.type, node.field_id) for node in version.nodes)

    def type_of(self, kind: DataType) -> str:
        """Return the type for values of a type, as the database's catalog spells it."""
        match kind:
            case Primitive(name):
                return self.types[name]
            case Decimal(precision, scale):
                return f"numeric({precision},{scale})"
            case _:
                return self.nested

    def _column(self, name: str, kind: DataType, field_id: int) -> TargetColumn:
        if isinstance(kind, Array | Map | Struct):
            return TargetColumn(name, self.type_of(kind), field_id, "json")
        return TargetColumn(name, self.type_of(kind), field_id, "binary" if kind == Primitive("binary") else "text")

    def folded(self, name: str) -> str:
        """Return the form of a quoted name by which the database tells names apart."""
        return name

    def _check_names(self, schema: Schema) -> None:
        if len(schema.names) > self.max_columns:
            self._refuse(schema.names[-1], f"is beyond the {self.max_columns:,} columns of a table")
        folded: dict[str, str] = {}
        for name in schema.names:
            if len(name.encode()) > self.name_bytes:
                self._refuse(name, f"is longer than the {self.name_bytes} bytes of a name")
            if "\0" in name or self.folded(name) in self.system_columns:
                self._refuse(name, "is a name that cannot be used")
            if folded.setdefault(self.folded(name), name) != name:
                self._refuse(name, f"is the same name as {folded[self.folded(name)]}")

    def check_key(self, schema: Schema, key: Sequence[str]) -> None:
        """Check that columns can be a primary key; by default all that the table allows can.

        Raises:
            UnsupportedTableError: a column that cannot; ``column``.
        """
        for field in schema:
            if field.name in key and self.type_of(field.type) == self.nested:
                self._refuse(field.name, f"is a key column of type {simple_string(field.type)}")

    def _refuse(self, column: str, problem: str) -> None:
        raise UnsupportedTableError(
            f"{self.product} cannot hold {self.name}: column {column!r} {problem}; leave the column out of the table",
            feature=self.product,
            column=column,
        )

    # Catalog and cursor

    def read_columns(self) -> str:
        """Return the query for the names and types of the columns of the target; no rows without such a table."""
        return (
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
            "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = :schema AND c.relname = :relation AND a.attnum > 0 AND NOT a.attisdropped "
            "ORDER BY a.attnum"
        )

    def create_cursors(self) -> str:
        """Return the statement that creates the table of the cursors."""
        kind = self.text_type
        return (
            f"CREATE TABLE IF NOT EXISTS {self.cursors} (target {kind} PRIMARY KEY, table_id {kind} NOT NULL, "
            f"generation bigint NOT NULL, epoch bigint NOT NULL, version bigint NOT NULL, manifest {kind} NOT NULL, "
            f"row_count bigint NOT NULL, columns {kind} NOT NULL, "
            "delivered_at timestamp with time zone NOT NULL)"
        )

    def read_cursor(self) -> str:
        """Return the query for the cursor of the target."""
        return (
            "SELECT table_id, generation, epoch, version, manifest, row_count, columns "
            f"FROM {self.cursors} WHERE target = :target"
        )

    def insert_cursor(self) -> str:
        """Return the statement that sets the first cursor; it fails where another delivery has."""
        return (
            f"INSERT INTO {self.cursors} (target, table_id, generation, epoch, version, manifest, row_count, columns, "
            "delivered_at) VALUES (:target, :table_id, :generation, :epoch, :version, :manifest, :row_count, :columns, "
            "CURRENT_TIMESTAMP)"
        )

    def move_cursor(self) -> str:
        """Return the statement that moves the cursor, of 0 rows where another delivery has moved it."""
        return (
            f"UPDATE {self.cursors} SET generation = :generation, epoch = :epoch, version = :version, "
            "manifest = :manifest, row_count = :row_count, columns = :columns, delivered_at = CURRENT_TIMESTAMP "
            "WHERE target = :target AND table_id = :table_id AND generation = :old_generation "
            "AND version = :old_version AND manifest = :old_manifest"
        )

    # Rows

    def create_table(self, table: str, columns: Sequence[TargetColumn], key: Sequence[str]) -> str:
        """Return the statement that creates a table for all rows."""
        parts = [f"{quoted(column.name)} {column.type}{self._not_null(column, key)}" for column in columns]
        return f"CREATE TABLE {quoted(self.name.schema)}.{quoted(table)} ({', '.join(parts)})"

    @staticmethod
    def _not_null(column: TargetColumn, key: Sequence[str]) -> str:
        return " NOT NULL" if column.name in key else ""

    def add_key(self, table: str, key: Sequence[str]) -> str | None:
        """Return the statement that makes the key after the load; None if it is part of the table's definition."""
        return f"ALTER TABLE {quoted(self.name.schema)}.{quoted(table)} ADD PRIMARY KEY ({listed(key)})"

    def create_stage(self, columns: Sequence[TargetColumn]) -> str:
        """Return the statement that creates the table of the changes, gone after the transaction."""
        parts = [f"{quoted(column.name)} {column.type}" for column in columns]
        return (
            f"CREATE {self.temporary} TABLE {self.stage} ({', '.join(parts)}, {quoted(CHANGE)} char(1) NOT NULL)"
            f"{self.on_commit}"
        )

    def in_schema(self, table: str) -> str:
        """Return the full name of a table beside the target."""
        return f"{quoted(self.name.schema)}.{quoted(table)}"

    def analyze(self) -> str | None:
        """Return the statement after which the planner knows the size of the stage."""
        return f"ANALYZE {self.stage}"

    def apply(self, columns: Sequence[TargetColumn], key: Sequence[str]) -> list[Statement]:
        """Return the statements that apply the stage; the number of rows of each is known before."""
        names = [column.name for column in columns]
        same = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in key)
        sets = ", ".join(f"{quoted(name)} = s.{quoted(name)}" for name in names if name not in key)
        changed = f"s.{quoted(CHANGE)}"
        delete = f"DELETE FROM {self.target} AS t USING {self.stage} AS s WHERE {changed} = 'D' AND {same}"
        update = f"UPDATE {self.target} AS t SET {sets} FROM {self.stage} AS s WHERE {changed} = 'U' AND {same}"
        insert = (
            f"INSERT INTO {self.target} ({listed(names)}) SELECT {listed(names, 's.')} FROM {self.stage} AS s "
            f"WHERE {changed} = 'I'"
        )
        statements = [Statement("delete", "D", delete)]
        if sets:
            statements.append(Statement("update", "U", update))
        return [*statements, Statement("insert", "I", insert)]

    def add_column(self, column: TargetColumn) -> str:
        """Return the statement that adds a column."""
        return f"ALTER TABLE {self.target} ADD COLUMN {quoted(column.name)} {column.type}"

    def retype(self, column: TargetColumn) -> str:
        """Return the statement that widens a column."""
        return f"ALTER TABLE {self.target} ALTER COLUMN {quoted(column.name)} TYPE {column.type}"

    def count(self, table: str) -> str:
        """Return the query for the number of rows of a table."""
        return f"SELECT count(*) FROM {table}"

    def drop(self) -> str:
        """Return the statement that drops the target; it fails if views depend on it."""
        return f"DROP TABLE {self.target}"

    def rename(self, table: str) -> str:
        """Return the statement that makes a table the target."""
        return f"ALTER TABLE {self.in_schema(table)} RENAME TO {quoted(self.name.table)}"
