"""Changes of a table's definition: columns, policies, comment and properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from andes_spark.errors import CommitConflictError, OptionError
from andes_spark.log.advisory import Advisory
from andes_spark.log.commit import Draft, commit
from andes_spark.model.alter_options import AddColumnOptions, SettingsOptions
from andes_spark.model.definition import Definition
from andes_spark.model.display import Displayed
from andes_spark.model.manifest import Manifest
from andes_spark.model.options import NAMES, TEXT, require
from andes_spark.model.results import AdvisoryFailure, MergeResult
from andes_spark.schema.schema import Array, DataType, Decimal, Field, Map, Primitive, Schema, Struct
from andes_spark.table.about import about
from andes_spark.table.evolution.definitions import Defined, alter_event, changed_members
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.merge import merge_after_apply

Column: TypeAlias = str | Sequence[str]
Change: TypeAlias = Callable[[Defined], Definition]
_SAID_OF_SCHEMA = "columns"


@dataclass(frozen=True, repr=False)
class AlterResult(Displayed):
    """Result of a change of the definition, as the verbs of ``ModTable.alter`` return it.

    Attributes:
        version: version from which the change holds; None if nothing was to be changed.
        changed: what changed: ``columns``, or the names of settings.
        columns: columns of the table after the change, each as DDL.
        merge: result of the merge that followed; None without one.
        advisory: failed steps after the commit, which do not affect the change.
    """

    version: int | None
    changed: tuple[str, ...]
    columns: tuple[str, ...]
    merge: MergeResult | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()

    def summary(self) -> str:
        """See ``Displayed``."""
        if self.version is None:
            return "nothing to change"
        return f"{', '.join(self.changed)} changed from version {self.version} on"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        details = {"altered": self.summary()}
        if _SAID_OF_SCHEMA in self.changed:
            details["columns"] = "\n".join(self.columns)
        return details if self.merge is None else {**details, "merge": self.merge.summary()}


class TableAlter:
    """The verbs that change the definition of a table, as ``table.alter``.

    Each commits a version of its own. Reads of earlier versions show the columns of their time. Writers that prepared
    a batch by the columns before go on: columns that it lacks are NULL in its rows, and those that were dropped are
    left out. Where merges are not manual, the base follows at once; until it does, its readers see the columns before.

    A column is named by text, a field of a struct by its path: ``"address.zip"`` or ``["address", "zip"]``; the parts
    of arrays and maps are ``element``, ``key`` and ``value``.
    """

    def __init__(self, open_table: OpenTable) -> None:
        self._open_table = open_table

    def add_column(
        self, column: Column, type: Any, *, comment: str | None = None, if_not_exists: bool = False
    ) -> AlterResult:
        """Add a column, or a field of a struct, which is NULL in all rows that are there.

        A field of a struct makes the next merge rewrite the files of the base, since not all readers of Delta take a
        field that is missing in a file for NULL.

        Args:
            column: name or path; a name that a dropped column had is refused.
            type: type in Spark's DDL, such as ``"DECIMAL(10,2)"``, or of pyspark or pyarrow.
            comment: its comment.
            if_not_exists: do nothing if there is such a column of this type.

        Raises:
            OptionError: the name is taken or not allowed, or the type cannot be stored; ``column``.
            UnsupportedTableError: a face of the table cannot represent the column; ``feature``, ``column``.
        """
        kind = _type(type)
        options = AddColumnOptions.checked(comment=comment, if_not_exists=if_not_exists)

        def change(defined: Defined) -> Definition:
            if options.if_not_exists and defined.has(column, kind):
                return defined.definition
            return defined.with_column(column, kind, options.comment)

        return self._run("add column", change)

    def widen(self, column: Column, type: Any) -> AlterResult:
        """Give a column a wider type, which holds every value of the old one. The next merge rewrites the base.

        INT becomes BIGINT, FLOAT DOUBLE, a DECIMAL one of more digits; key and sequence columns as well, where
        integers stay integers and decimals keep their scale.

        Args:
            column: name or path.
            type: the new type, as for :meth:`add_column`.

        Raises:
            OptionError: no such column, a partition column, or a type that is not wider; ``column``.
        """
        kind = _type(type)
        return self._run("widen", lambda defined: defined.widened(column, kind))

    def rename_comment(self, column: Column, comment: str | None) -> AlterResult:
        """Change the comment of a column; None removes it.

        Raises:
            OptionError: no such column; ``column``.
        """
        require("comment", comment, TEXT.or_none())
        return self._run("comment", lambda defined: defined.commented(column, comment))

    def drop_column(self, column: Column) -> AlterResult:
        """Drop a column, or a field of a struct. Its values stay in earlier versions: ``read(version=)`` shows them.

        The files of the base keep them as well until they are rewritten, so no column can have its name again.

        Raises:
            OptionError: no such column, or one of key, sequence and partition; ``column``.
        """
        return self._run("drop column", lambda defined: defined.without(column))

    def set(
        self,
        *,
        merge: str | None = None,
        lateness: str | None = None,
        batch_retention: str | None = None,
        deletion_vectors: bool | None = None,
        faces: str | Sequence[str] | None = None,
        comment: str | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> AlterResult:
        """Change settings of the table, as ``create`` takes them; those that are left out stay.

        Args:
            merge: merge policy.
            lateness: minimum time for which sequences of deleted keys are kept.
            batch_retention: minimum time for which batch ids are kept.
            deletion_vectors: mark deleted rows, or rewrite their files. Vectors that are there stay until then.
            faces: formats whose readers are shown each merge from now on, as for ``create``; ``()`` for none. What was
                written for them stays.
            comment: comment of the table.
            properties: names and values, added to those that are there.

        Raises:
            OptionError: a policy or duration that does not exist.
            UnsupportedTableError: a column that a face cannot represent; ``feature``, ``column``.
        """
        options = SettingsOptions.checked(
            merge=merge,
            lateness=lateness,
            batch_retention=batch_retention,
            deletion_vectors=deletion_vectors,
            faces=faces,
            comment=comment,
            properties=properties,
        )
        values = {name: value for name, value in vars(options).items() if value is not None}
        return self._run("set", lambda defined: defined.with_settings(values))

    def unset(self, *names: str) -> AlterResult:
        """Remove properties, or the comment of the table by the name ``comment``.

        Raises:
            OptionError: no such property; ``option``, ``value``.
        """
        chosen = require("names", names, NAMES)
        return self._run("unset", lambda defined: defined.without_settings(chosen))

    def _run(self, verb: str, change: Change) -> AlterResult:
        with about(self._open_table.table):
            return observe(self._open_table, "alter", lambda: alter(self._open_table, change, verb))


class _AlteredError(Exception):
    """Another writer changed the definition."""


def alter(open_table: OpenTable, change: Change, verb: str) -> AlterResult:
    """Commit a changed definition; after a change by another writer it is made from that writer's definition.

    Args:
        open_table: the table.
        change: function that makes the definition.
        verb: name of the change, for messages.
    """
    steps = open_table.begin("alter", open_table.log.head + 1)
    with steps.step("read the log"):
        open_table.check_log()
        defined = Defined.of(open_table.definition, open_table.table)
        definition = change(defined)
    if definition == defined.definition:
        return AlterResult(None, (), _columns(open_table))
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=open_table.log.clock())
    advisory = Advisory(open_table.table)
    for _ in range(open_table.settings.commit_attempts):
        draft = _draft(open_table, defined.definition, definition)
        try:
            with steps.step("commit"):
                commit(
                    open_table.log,
                    draft,
                    clock=clock,
                    admit=_admit,
                    roll_up=open_table.roll_ups.make,
                    advisory=advisory,
                    head_checked=True,
                )
            break
        except _AlteredError:
            defined = Defined.of(open_table.definition, open_table.table)
            definition = change(defined)
            if definition == defined.definition:
                return AlterResult(None, (), _columns(open_table))
    else:
        raise CommitConflictError(
            f"{open_table.table}: other writers changed the definition first each time; {verb} again",
            table=open_table.table,
        )
    version, changed = open_table.log.head, changed_members(defined.definition, definition)
    requested = open_table.definition.merge != "manual"
    merged = merge_after_apply(open_table, None, requested=requested, in_memory={}, advisory=advisory)
    changed_names = tuple(_SAID_OF_SCHEMA if name == "schema_id" else name for name in changed)
    failures = advisory.report("the definition is changed")
    return AlterResult(version, changed_names, _columns(open_table), merged, failures)


def _admit(manifest: Manifest) -> Manifest | None:
    if manifest.definition is not None:
        raise _AlteredError
    return None


def _draft(open_table: OpenTable, before: Definition, after: Definition) -> Draft:
    event = alter_event(before, after)
    return Draft(operation="alter", table_id=open_table.table_id, events=(event,), definition=after)


def _columns(open_table: OpenTable) -> tuple[str, ...]:
    schema = open_table.shape().schema
    return tuple(schema.select([name]).to_ddl() for name in schema.names)


def _type(type_: Any) -> DataType:
    """Read the type of a column: DDL, or a type of Spark or Arrow.

    Raises:
        OptionError: not a type, or more than one.
        UnsupportedTableError: a type that cannot be stored.
    """
    if isinstance(type_, Primitive | Decimal | Array | Map | Struct):
        return type_
    if isinstance(type_, pa.DataType):
        return Schema.from_arrow(pa.schema([("column", type_)])).fields[0].type
    text = type_ if isinstance(type_, str) else getattr(type_, "simpleString", lambda: None)()
    if not isinstance(text, str):
        raise OptionError(f'type is a type in DDL, such as "BIGINT", and {type_!r} was given', option="type")
    fields = Schema.from_ddl(f"column {text}").fields
    if fields != (Field("column", fields[0].type),):
        raise OptionError(
            f'type is one type in DDL, such as "BIGINT", without NOT NULL or COMMENT, and {text!r} was given',
            option="type",
        )
    return fields[0].type
