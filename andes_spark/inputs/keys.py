"""Keys of rows that a caller asks for, as an Arrow table of the key columns.

A key is a value, or for several key columns a tuple in their order or a dict by name; a list holds many. A table, or
another Arrow or DataFrame object, has the key columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.inputs.json_lines import parsed
from andes_spark.inputs.python_values import table_of_dicts
from andes_spark.inputs.rows import Reading, arrow_tables
from andes_spark.schema.conforming import conform
from andes_spark.schema.schema import Schema
from andes_spark.schema.spelling import renamed, spelled

_PART_BYTES = 2**40


def key_table(keys: Any, schema: Schema) -> pa.Table:
    """Convert keys to the key columns in the table's types, in their order, repeated ones included.

    Args:
        keys: see the module.
        schema: the key columns.

    Raises:
        OptionError: keys of the wrong number of values, or NULL keys.
        SchemaMismatchError: values of another type than the key's, or missing or further columns.
    """
    if _is_one(keys):
        rows = table_of_dicts([_by_name(keys, schema)], schema, option="keys")
    elif isinstance(keys, pa.Array | pa.ChunkedArray):
        _require(len(schema) == 1, keys, schema)
        rows = pa.table({schema.names[0]: keys})
    elif _is_frame(keys):
        rows = pa.concat_tables(arrow_tables(keys, Reading(_PART_BYTES, schema, option="keys")))
    else:
        rows = table_of_dicts([_by_name(key, schema) for key in keys], schema, option="keys")
    return _checked(rows, schema)


def keys_of_texts(texts: Iterable[str], schema: Schema) -> pa.Table:
    """Convert keys of the command line, each a JSON value, array or object; other text is the value itself.

    Raises:
        OptionError: a text is no key; ``value``.
    """
    rows = [_of_text(text, schema) for text in texts]
    return _checked(table_of_dicts(rows, schema, option="keys"), schema)


def _of_text(text: str, schema: Schema) -> dict[str, Any]:
    kinds = schema.to_arrow()
    value = _of_json(text, schema)
    values = value if isinstance(value, list) else [value]
    names = list(value) if isinstance(value, dict) else schema.names
    spelling = spelled(names, schema.names, "keys")
    own_names = [spelling.get(name, name) for name in names]
    by_name = dict(zip(own_names, value.values() if isinstance(value, dict) else values, strict=False))
    if set(by_name) != set(kinds.names) or (not isinstance(value, dict) and len(values) != len(kinds)):
        form = "a value" if len(kinds) == 1 else "a JSON array or object with a value for each"
        raise OptionError(f"keys: {text!r} is no key; for {_shown(schema)} it is {form}", option="keys", value=text)
    try:
        return {name: parsed(key_value, kinds.field(name).type) for name, key_value in by_name.items()}
    except (ValueError, TypeError, ArithmeticError) as error:
        raise OptionError(
            f"keys: {text!r} is no key of {_shown(schema)}: {error}", option="keys", value=text
        ) from error


def _of_json(text: str, schema: Schema) -> Any:
    """A key as JSON; for one key column the value of a text is the text, unless it is quoted, an array or an object."""
    try:
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text
    is_text = len(schema) == 1 and pa.types.is_string(schema.to_arrow().field(0).type)
    return text if is_text and not isinstance(value, str | dict | list) else value


def _is_one(keys: Any) -> bool:
    return isinstance(keys, str | bytes | tuple | Mapping) or not (isinstance(keys, Iterable) or _is_frame(keys))


def _is_frame(keys: Any) -> bool:
    """Whether an object has rows of named columns; a single column has none."""
    if isinstance(keys, pa.RecordBatchReader):
        return True
    return hasattr(keys, "columns") and (hasattr(keys, "__arrow_c_stream__") or hasattr(keys, "__arrow_c_array__"))


def _by_name(key: Any, schema: Schema) -> Mapping[str, Any]:
    """One key as values by name."""
    if isinstance(key, Mapping):
        return key
    values = key if isinstance(key, tuple | list) else (key,)
    _require(len(values) == len(schema), key, schema)
    return dict(zip(schema.names, values, strict=True))


def _require(fits: bool, key: Any, schema: Schema) -> None:
    if not fits:
        text = f"a {type(key).__name__}" if isinstance(key, pa.Array | pa.ChunkedArray) else repr(key)[:200]
        raise OptionError(
            f"keys: {text} does not have one value for each of {_shown(schema)}: a tuple or a dict is one key, a list "
            "holds many",
            option="keys",
            value=key,
        )


def _checked(rows: pa.Table, schema: Schema) -> pa.Table:
    try:
        rows = renamed(rows, spelled(rows.column_names, schema.names, "keys"))
        table = conform(rows, schema, required=schema.names).table
    except SchemaMismatchError as error:
        raise SchemaMismatchError(_mismatch(error, schema), **error.fields) from error
    for name in table.column_names:
        if table[name].null_count:
            raise OptionError(f"keys: {name!r} is NULL, and keys never are", option="keys", column=name)
    return table.select(list(schema.names))


def _mismatch(error: SchemaMismatchError, schema: Schema) -> str:
    parts = [
        f"{mismatch} {', '.join(map(repr, names))}"
        for mismatch, names in (("missing", error.missing), ("not in the key", error.extra), ("twice", error.duplicate))
        if names
    ]
    parts += [f"{name!r} is {actual}, not {expected}" for name, (actual, expected) in (error.wrong_type or {}).items()]
    return f"keys: they do not fit {_shown(schema)}: {'; '.join(parts) or error.message}"


def _shown(schema: Schema) -> str:
    return f"the key columns {schema.nullable.to_ddl()}"
