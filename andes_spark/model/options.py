"""Options of the verbs, declared once as fields of frozen dataclasses with their kind, help and default.

The checks of the API, the flags of the command line, the keys of a job's YAML and the tables of the guides are derived
from the fields. Values are checked and normalized: a list of names becomes a tuple, a single string a tuple of one
name, and an integer of any library a Python integer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field
from difflib import get_close_matches
from numbers import Integral
from typing import Any, Literal, Self

from andes_spark.errors import OptionError
from andes_spark.model.mod import LARGEST_ID, BatchId, OnNull

Form = Literal["flag", "count", "text", "choice", "names", "pairs", "condition", "batch", "moment"]
"""Form of an option on the command line."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Kind:
    """Kind of the values of an option.

    Attributes:
        wording: description of the kind, for messages.
        fits: function that checks a value.
        read: function that normalizes a valid value.
        form: form of the option on the command line.
        choices: allowed texts, for the form ``choice``.
    """

    wording: str
    fits: Callable[[Any], bool]
    read: Callable[[Any], Any] = _same
    form: Form = "text"
    choices: tuple[str, ...] = ()

    def or_none(self) -> Kind:
        """Return the same kind with None allowed."""
        return dataclasses.replace(
            self,
            wording=f"{self.wording}, or None",
            fits=lambda value: value is None or self.fits(value),
            read=lambda value: None if value is None else self.read(value),
        )


def is_text(value: Any) -> bool:
    """Return whether a value is a string that can be encoded as UTF-8, without lone surrogates."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _are_names(value: Any) -> bool:
    if is_text(value):
        return True
    return isinstance(value, Collection) and not isinstance(value, str | bytes) and all(map(is_text, value))


def _names(value: Any) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, str) else tuple(str(name) for name in value)


def _is_batch_id(value: Any) -> bool:
    if isinstance(value, BatchId):
        return True
    if not isinstance(value, tuple | list) or len(value) != 2 or not is_text(value[0]):
        return False
    return is_text(value[1]) or (_is_whole(value[1]) and abs(int(value[1])) <= LARGEST_ID)


def _batch_id(value: Any) -> BatchId:
    if isinstance(value, BatchId):
        return value
    return BatchId(str(value[0]), str(value[1]) if isinstance(value[1], str) else int(value[1]))


def _is_expression(value: Any) -> bool:
    kind = type(value)
    return is_text(value) or (kind.__name__ in ("Expr", "Column") and kind.__module__.startswith(("polars", "pyspark")))


def _are_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(is_text, (*value.keys(), *value.values())))


def choice(*texts: str) -> Kind:
    """Return the kind of an option with a fixed set of texts."""
    wording = " or ".join(f'"{text}"' for text in texts)
    return Kind(wording, lambda value: isinstance(value, str) and value in texts, form="choice", choices=texts)


FLAG = Kind("True or False", lambda value: isinstance(value, bool), form="flag")
COUNT = Kind("a count, 0 or more", lambda value: _is_whole(value) and value >= 0, int, "count")
POSITIVE = Kind("a count, 1 or more", lambda value: _is_whole(value) and value >= 1, int, "count")
INTEGER = Kind("a whole number", _is_whole, int, "count")
SECONDS = Kind(
    "a number of seconds, 0 or more",
    _is_seconds,
    float,
    "count",
)
TEXT = Kind("text", is_text)
NAME = Kind("a name", lambda value: is_text(value) and value != "")
NAMES = Kind("a name or a list of names", _are_names, _names, "names")
EXPRESSIONS = Kind(
    "columns or expressions of the batch",
    lambda value: all(map(_is_expression, value if isinstance(value, list | tuple) else (value,))),
    lambda value: tuple(value) if isinstance(value, list | tuple) else (value,),
    "names",
)
ICEBERG = "iceberg"
"""Name of the face for readers of Iceberg."""
FACES = Kind(
    'names of faces: "iceberg"',
    lambda value: _are_names(value) and set(_names(value)) <= {ICEBERG},
    _names,
    "names",
    choices=(ICEBERG,),
)
TEXTS = Kind("a mapping of text to text", _are_texts, dict, "pairs")
FLAG_OR_NAMES = Kind(
    "True, False or names of columns",
    lambda value: isinstance(value, bool) or _are_names(value),
    lambda value: value if isinstance(value, bool) else _names(value),
    "flag",
)
CONDITION = Kind("a condition, or None", lambda value: True, form="condition")
BATCH = Kind(
    'a pair of source and id, such as ("orders-cdc", 42); a number has at most 38 digits',
    _is_batch_id,
    _batch_id,
    "batch",
)


def require(option: str, value: Any, kind: Kind) -> Any:
    """Check the value of an option and return it normalized.

    Raises:
        OptionError: a value of another kind; ``option``, ``value``.
    """
    if not kind.fits(value):
        raise OptionError(f"{option} is {kind.wording}, and {_shown(value)} was given", option=option, value=value)
    return kind.read(value)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:200]
    except ValueError:  # Python refuses to write out numbers of thousands of digits
        return f"one of too many digits ({type(value).__name__})"


@dataclass(frozen=True)
class Declared:
    """Declaration of an option, stored with its field.

    Attributes:
        kind: kind of the values.
        help: description for all interfaces.
        flag: flag on the command line, if other than the name with dashes.
        metavar: name of the flag's value in the help.
    """

    kind: Kind
    help: str
    flag: str | None = None
    metavar: str | None = None


def option(
    kind: Kind, default: Any = MISSING, *, help: str, flag: str | None = None, metavar: str | None = None
) -> Any:
    """Declare an option as the field of an ``Options`` class."""
    return field(default=default, metadata={"option": Declared(kind, help, flag, metavar)})


@dataclass(frozen=True)
class Options:
    """Base of the options of a verb.

    Raises:
        OptionError: a value of another kind; ``option``, ``value``.
    """

    def __post_init__(self) -> None:
        for name, declared in declared_options(type(self)).items():
            object.__setattr__(self, name, require(name, getattr(self, name), declared.kind))

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """Create the options from unchecked values, such as a string for a list of one or a pair for a batch id."""
        return cls(**values)

    @classmethod
    def of(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Create the options from the values of a document.

        Args:
            values: values by option name.
            where: description of the document, for messages.

        Raises:
            OptionError: unknown or missing names, or values of another kind; ``option``.
        """
        known = declared_options(cls)
        unknown = [name for name in values if name not in known]
        if unknown:
            raise OptionError(
                f"{where}: unknown options {', '.join(map(repr, unknown))}{near(unknown[0], known)}", option=unknown[0]
            )
        missing = [
            field.name for field in dataclasses.fields(cls) if field.default is MISSING and field.name not in values
        ]
        if missing:
            raise OptionError(f"{where}: options missing: {', '.join(missing)}", option=missing[0])
        return cls(**values)


def declared_options(kind: type[Options]) -> dict[str, Declared]:
    """Return the declarations of a verb's options by name, in order."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(kind)}


def defaults(kind: type[Options]) -> dict[str, Any]:
    """Return the defaults of a verb's options by name; ``dataclasses.MISSING`` for required options."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def flag_of(name: str, declared: Declared) -> str:
    """Return the flag of an option on the command line."""
    return declared.flag or "--" + name.replace("_", "-")


def near(name: Any, known: Collection[str]) -> str:
    """Return ``; did you mean 'x'?`` for a name close to a known one, else the list of known names."""
    close = get_close_matches(str(name).lower(), [str(candidate).lower() for candidate in known], n=1, cutoff=0.75)
    similar_names = [candidate for candidate in known if close and candidate.lower() == close[0]]
    return f"; did you mean {similar_names[0]!r}?" if similar_names else f"; known are {', '.join(known)}"


@dataclass(frozen=True)
class CreateOptions(Options):
    """Options of ``create``, without the columns."""

    primary_key: tuple[str, ...] = option(NAMES, help="Key columns: never NULL, compared exactly.")
    sequence_by: tuple[str, ...] = option(
        NAMES, (), help="Columns that order the mods of one key; without them the order of arrival decides."
    )
    text_sequence: bool = option(
        FLAG, False, help="Accept sequence columns of text, which are ordered byte by byte: '10' before '9'."
    )
    if_not_exists: bool = option(
        FLAG, False, help="Open the table that is there already, if it has the same keys and sequence columns."
    )
    allow_existing_files: bool = option(
        FLAG, False, help="Create the table in a folder that holds other files; they stay as they are."
    )
    partition_by: tuple[str, ...] = option(NAMES, (), help="Columns by which the base's files are laid out.")
    cast: bool = option(FLAG, False, help="Cast columns of the rows to load; a value that cannot be cast is an error.")
    time_zone: str | None = option(
        NAME.or_none(), None, help='Zone of times without one in the rows to load: "UTC", "Europe/Lisbon", "+02:00".'
    )
    merge: str = option(
        TEXT,
        "always",
        help='When mods are merged: "always" (by each apply), "auto" (by cost), "manual", or an age ("15 minutes").',
    )
    lateness: str = option(
        TEXT, "30 days", help="Time for which the sequences of deleted keys are remembered at least."
    )
    batch_retention: str = option(TEXT, "30 days", help="Time for which batch ids are remembered at least.")
    deletion_vectors: bool = option(
        FLAG, True, help="Mark deleted rows; else rewrite files, for readers that know no deletion vectors."
    )
    faces: tuple[str, ...] = option(
        FACES, (), help='Formats whose readers are shown each merge: "iceberg".', flag="--face"
    )
    comment: str | None = option(TEXT.or_none(), None, help="Free text, stored with the table.")
    properties: Mapping[str, str] | None = option(
        TEXTS.or_none(), None, help="Free names and values, stored with the table.", flag="--property"
    )


@dataclass(frozen=True)
class ApplyOptions(Options):
    """Options of ``apply``, named as in Spark's AUTO CDC where it has the same option."""

    apply_as_deletes: Any = option(
        CONDITION, None, help="Condition that makes a row a delete; a delete needs key and sequence only."
    )
    apply_as_upserts: Any = option(
        CONDITION, None, help="Condition that makes a row an upsert; by default each row that meets no other is."
    )
    apply_as_truncates: Any = option(
        CONDITION, None, help="Condition that makes a row a truncate of the whole table, at its sequence."
    )
    batch_id: BatchId | None = option(
        BATCH.or_none(),
        None,
        help="Source and id: the same batch sent again does nothing and gives the first result.",
        metavar="SOURCE ID",
    )
    tie_break_by: tuple[Any, ...] = option(
        EXPRESSIONS, (), help="Columns or expressions of the batch that order mods of one key at one sequence."
    )
    at_least_once: bool = option(
        FLAG, False, help="Accept a batch without batch id for a table without sequence columns."
    )
    column_list: tuple[str, ...] | None = option(
        NAMES.or_none(), None, help="Upserts set only these columns; others keep their value."
    )
    except_column_list: tuple[str, ...] | None = option(
        NAMES.or_none(), None, help="Upserts set all columns but these; columns of the batch alone are left out."
    )
    ignore_null_updates: bool | tuple[str, ...] = option(
        FLAG_OR_NAMES, False, help="A NULL keeps the value that the row has: in all columns, or in those named."
    )
    columns_to_update: str | None = option(
        TEXT.or_none(),
        None,
        help="Name of an array<string> column that lists what each row carries; NULL: all.",
        metavar="COLUMN",
    )
    missing: Literal["error", "null"] = option(
        choice("error", "null"),
        "error",
        help="What columns of the table, and fields of structs, are that the batch lacks.",
    )
    extra: Literal["error", "drop"] = option(
        choice("error", "drop"), "error", help="What happens to columns of the batch that the table lacks."
    )
    evolve_schema: Literal["add", "add_and_widen"] | None = option(
        choice("add", "add_and_widen").or_none(),
        None,
        help="Add the columns that the table lacks, or widen its types as well, in a version before the batch's.",
    )
    on_null_operation: OnNull = option(
        choice("quarantine", "upsert"), "quarantine", help="What a row is for which a condition is NULL."
    )
    max_quarantined: int = option(COUNT, 0, help="Bad mods that are set aside before the batch is refused.")
    cast: bool = option(FLAG, False, help="Cast columns of other types; a value that cannot be cast makes a bad mod.")
    time_zone: str | None = option(
        NAME.or_none(),
        None,
        help='Zone of times without one, for columns of moments: "UTC", "Europe/Lisbon", "+02:00".',
    )
    backfill: bool = option(
        FLAG, False, help="Mods at or below the cut of an expire take part, instead of being set aside."
    )
    strict_replay: bool = option(
        FLAG, False, help="The same batch must be equal in all columns, not only key, sequence and operation."
    )
    merge: bool | None = option(FLAG.or_none(), None, help="Merge now or not, whatever the table's policy says.")
    job: str | None = option(TEXT.or_none(), None, help="Name of the job, kept in the manifest.")


@dataclass(frozen=True)
class AppenderOptions(Options):
    """Options of ``appender``."""

    max_delay: float = option(SECONDS, 1.0, help="Seconds after which an accepted batch is committed at the latest.")
    max_bytes: int = option(COUNT, 64 * 1024 * 1024, help="Bytes in memory of the batches of one version.")
    merge: bool | None = option(FLAG.or_none(), None, help="Merge after each version or not; by default the policy.")
    job: str | None = option(TEXT.or_none(), None, help="Name of the job, kept in the manifests.")
