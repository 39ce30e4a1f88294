"""Rules for column names, and for key, sequence and partition columns.

All problems are reported at once. Names may contain dots, quotes, backticks, ``%`` and any letters, and may be
reserved words of SQL. Refused are names that Delta (without column mapping) or Spark would refuse later or
would confuse, and names reserved for this library.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from andes_spark.errors import OptionError
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema

RESERVED_PREFIX = "_andes_"

# In lower case. Delta's change data feed: PROTOCOL.md, "Reading and writing change data files". Spark's readers add
# the position of a row (ParquetFileFormat.ROW_INDEX_TEMPORARY_COLUMN_NAME) and the file (FileFormat.METADATA_NAME).
_RESERVED = {
    "_change_type": "Delta's change data feed",
    "_commit_version": "Delta's change data feed",
    "_commit_timestamp": "Delta's change data feed",
    "_metadata": "Spark, which gives every row of a file the name and place of the file under it",
    "_tmp_metadata_row_index": "Spark, which reads the positions of rows under it",
    "__start_at": "the histories of AUTO CDC",
    "__end_at": "the histories of AUTO CDC",
}
# DeltaParquetFileFormat; MaterializedRowTrackingColumn.
_RESERVED_PREFIXES = {
    RESERVED_PREFIX: "this library",
    "__delta_internal_": "Delta's reader of deletion vectors",
    "_databricks_internal_": "Delta's reader of deletion vectors",
    "_row-id-col-": "Delta's row tracking",
    "_row-commit-version-col-": "Delta's row tracking",
}

# Characters that Delta refuses without column mapping (SchemaUtils.checkFieldNames).
_REFUSED_CHARACTERS = {
    " ": "a space",
    ",": "a comma",
    ";": "a semicolon",
    "{": "a brace",
    "}": "a brace",
    "(": "a parenthesis",
    ")": "a parenthesis",
    "\n": "a newline",
    "\t": "a tab",
    "=": "an equals sign",
}
_FLOATING = (dt.FLOAT, dt.DOUBLE)


def refuse_reserved(names: Iterable[str], table: str) -> None:
    """Check the columns of a batch.

    Raises:
        OptionError: a name reserved for this library; ``table``, ``column``.
    """
    for name in names:
        if name.lower().startswith(RESERVED_PREFIX):
            raise OptionError(
                f"{table}: the batch has a column {name!r}; names that begin with {RESERVED_PREFIX!r} belong to this "
                "library",
                table=table,
                column=name,
            )


def resolve(name: str, names: Sequence[str]) -> str | None:
    """Resolve a name as Spark does: the exact name, else the one that differs in case only; None if unknown.

    Raises:
        OptionError: several names differ in case only; ``column``.
    """
    if name in names:
        return name
    same = [other for other in names if other.lower() == name.lower()]
    if len(same) > 1:
        raise OptionError(
            f"{name!r} can be {' or '.join(map(repr, same))}, which differ only in case: write it as the column is "
            "written",
            column=name,
        )
    return same[0] if same else None


def resolve_all(requested: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Resolve several names; unknown names are kept. Raises as ``resolve``."""
    return tuple(resolve(name, names) or name for name in requested)


def validate_columns(
    schema: Schema,
    primary_key: Sequence[str],
    *,
    sequence_by: Sequence[str] = (),
    partition_by: Sequence[str] = (),
    text_sequence: bool = False,
) -> Schema:
    """Check the columns of a new table, and return them with the key columns NOT NULL.

    Args:
        schema: the columns.
        primary_key: names of the key columns, at least one.
        sequence_by: names of the columns that order the mods of one key.
        partition_by: names of the partition columns.
        text_sequence: whether sequence columns may be text.

    Raises:
        OptionError: with all problems; ``problems`` is a tuple of sentences.
    """
    problems = [*_name_problems(schema), *_type_problems(schema)] or [*_path_problems(schema)]
    if not primary_key:
        problems.append("primary_key names no column: a table needs at least one key column")
    for role, names in (
        ("primary_key", primary_key),
        ("sequence_by", sequence_by),
        ("partition_by", partition_by),
    ):
        problems.extend(_role_problems(schema, role, names))
    if partition_by and not isinstance(partition_by, str) and set(schema.names) <= set(partition_by):
        problems.append("partition_by names every column: at least one must be left for the files")
    if not text_sequence:
        problems += _text_sequences(schema, sequence_by)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise OptionError(f"the table cannot have these columns:\n{listed}", problems=tuple(problems))
    return schema.with_required(primary_key)


def is_pattern(name: str) -> bool:
    """Return whether polars reads a name as a pattern of names of columns or fields."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def name_problem(name: str) -> str | None:
    """Return the reason that a column or struct field cannot have a name; None if it can."""
    if not name:
        return "a column without a name"
    for character in name:
        if character in _REFUSED_CHARACTERS:
            return f"{name!r} contains {_REFUSED_CHARACTERS[character]}, which Delta refuses in names"
        if unicodedata.category(character) in ("Cc", "Cs"):
            return f"{name!r} contains the control character U+{ord(character):04X}"
    return None


def reserved_problem(name: str) -> str | None:
    """Return the reason that a column name with valid characters is reserved; None if it is not."""
    lower = name.lower()
    for prefix, owner in _RESERVED_PREFIXES.items():
        if lower.startswith(prefix):
            return f"{name!r}: names that begin with {prefix!r} belong to {owner}"
    if lower in _RESERVED:
        return f"{name!r} belongs to {_RESERVED[lower]}"
    return None


def _name_problems(schema: Schema) -> Iterator[str]:
    if not schema.fields:
        yield "there are no columns"
    for field in schema:
        if problem := reserved_problem(field.name):
            yield problem
    yield from _sibling_problems(schema.fields, "")
    for field in schema:
        yield from _nested_name_problems(field.type, field.name)


def _path_problems(schema: Schema) -> Iterator[str]:
    """Find columns with the same dotted path, by which Parquet's statistics and encodings identify them."""
    paths = Counter(path for path, _ in arrow_types.leaf_paths(schema.to_arrow()))
    for path, count in paths.items():
        if count > 1:
            yield f"{path!r} is the name of {count} columns or fields of structs: rename one"


def _sibling_problems(fields: Sequence[dt.Field], path: str) -> Iterator[str]:
    """Find problems among the names of one struct; ``path`` is the path of the struct."""
    where = f" (in {path!r})" if path else ""
    for name, count in Counter(field.name for field in fields).items():
        if problem := name_problem(name):
            yield problem + where
        if count > 1:
            yield f"{name!r} is there {count} times{where}"
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(field.name for field in fields):
        spellings.setdefault(name.lower(), []).append(name)
    for same in spellings.values():
        if len(same) > 1:
            yield f"{' and '.join(map(repr, same))} differ only in case{where}"


def _nested_name_problems(type_: dt.DataType, path: str) -> Iterator[str]:
    match type_:
        case dt.Array(element):
            yield from _nested_name_problems(element, f"{path}.element")
        case dt.Map(key, value):
            yield from _nested_name_problems(key, f"{path}.key")
            yield from _nested_name_problems(value, f"{path}.value")
        case dt.Struct(fields):
            yield from _sibling_problems(fields, path)
            for field in fields:
                yield from _nested_name_problems(field.type, f"{path}.{field.name}")


def _type_problems(schema: Schema) -> Iterator[str]:
    for field in schema:
        yield from _nested_type_problems(field.type, field.name)


def _nested_type_problems(type_: dt.DataType, path: str) -> Iterator[str]:
    """Find combinations of valid types that Spark or Parquet cannot store."""
    match type_:
        case dt.Array(element):
            yield from _nested_type_problems(element, f"{path}.element")
        case dt.Map(key, value):
            if dt.holds_map(key):
                yield f"{path!r}: the key of a map cannot hold a map"
            yield from _nested_type_problems(key, f"{path}.key")
            yield from _nested_type_problems(value, f"{path}.value")
        case dt.Struct(fields):
            if not fields:
                yield f"{path!r} is a struct without fields, which Parquet cannot hold"
            for field in fields:
                yield from _nested_type_problems(field.type, f"{path}.{field.name}")


def _role_problems(schema: Schema, role: str, names: Sequence[str]) -> Iterator[str]:
    if isinstance(names, str):
        yield f"{role} must be a list of names, [{names!r}] and not {names!r}"
        return
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{role} names {name!r} {count} times"
        if name not in schema:
            yield f"{role} names {name!r}, which is not a column{_hint(schema, name)}"
        elif reason := _unfit(role, schema.field(name).type) or _pattern(name):
            yield f"{role} names {name!r}, which is {reason}"


def _text_sequences(schema: Schema, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name in schema and schema.field(name).type == dt.STRING:
            yield (
                f"sequence_by names {name!r}, which is text, ordered byte by byte: '10' comes before '9', and the log "
                "position '0/10000000' before '0/9000000'; make it a BIGINT, DECIMAL, TIMESTAMP or BINARY column, or "
                "pass text_sequence=True if all its values have one length or are made to be sorted as text"
            )


def _pattern(name: str) -> str | None:
    """Return the kind of pattern that polars or Arrow would read a name as; None for a plain name."""
    if is_pattern(name):
        return "a pattern of columns to polars: rename the column"
    if name.startswith("."):
        return "a path to Arrow, since it begins with a dot: rename the column"
    return None


def _hint(schema: Schema, name: str) -> str:
    similar = [other for other in schema.names if other.lower() == name.lower()]
    if similar:
        return f"; did you mean {similar[0]!r}?"
    return f"; the columns are {', '.join(map(repr, schema.names))}"


def _unfit(role: str, type_: dt.DataType) -> str | None:
    shown = dt.simple_string(type_)
    if isinstance(type_, dt.Array | dt.Map | dt.Struct):
        return f"nested ({shown}): only plain columns can be used here"
    if role == "partition_by":
        return "binary: folder names hold text only" if type_ == dt.BINARY else None
    if type_ in _FLOATING:
        return f"{shown}: floating point is not exact, use a decimal or an integer"
    if role == "sequence_by" and type_ == dt.BOOLEAN:
        return "boolean, which cannot order more than two mods"
    return None
