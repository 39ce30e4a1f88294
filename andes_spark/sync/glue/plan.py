"""The difference between what Glue says of a table and what it is to say; what others edited is kept or reported.

What this library wrote last is in the parameters ``andes.columns`` and ``andes.comment`` of the entry, so that an edit
of somebody else can be told from a change of the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from andes_spark.model.display import Displayed
from andes_spark.sync.glue.client import Json
from andes_spark.sync.glue.entry import (
    APPLIED,
    COLUMNS,
    COMMENT,
    METADATA_LOCATION,
    PREVIOUS_LOCATION,
    PROVIDER,
    TABLE_ID,
    TABLE_TYPE,
    Entry,
    Form,
)
from andes_spark.sync.glue.limits import check_limits
from andes_spark.sync.glue.names import GlueName

_FACE_METADATA = re.compile(r"v\d+\.metadata\.json")
Action: TypeAlias = Literal["create", "update", "nothing", "refused"]

_INPUT = (
    *("Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor"),
    *("PartitionKeys", "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters"),
)
"""Members of ``TableInput`` that an answer to GetTable has in the same form; UpdateTable replaces all of them."""
_DONE = {"create": "created", "update": "updated", "nothing": "nothing to do", "refused": "refused"}
_PLANNED = {**_DONE, "create": "would be created", "update": "would be updated"}


@dataclass(frozen=True, repr=False)
class GluePlan(Displayed):
    """What a synchronization does, or did, to one entry of Glue.

    Attributes:
        name: name of the table in Glue.
        form: ``delta`` or ``iceberg``.
        action: ``create``, ``update``, ``nothing``; ``refused`` if there are problems.
        changes: what changes, one text each.
        kept: edits of others that stay.
        problems: why the entry is left as it is.
        creates_database: whether the database is created too.
        applied: version of the table whose rows readers of the entry see.
        done: whether it was carried out.
        table_input: the whole new entry, as CreateTable and UpdateTable take it; None if nothing is sent.
        version_id: version of the entry that it was made from, the optimistic lock.
    """

    name: str
    form: Form
    action: Action
    changes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    creates_database: bool = False
    applied: int | None = None
    done: bool = False
    table_input: Json | None = field(default=None, repr=False)
    version_id: str | None = None

    def summary(self) -> str:
        """See ``Displayed``."""
        texts = _DONE if self.done else _PLANNED
        shows = "" if self.applied is None or self.problems else f", shows version {self.applied}"
        return f"{self.name} ({self.form}): {texts[self.action]}{shows}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        details = {
            "glue": self.summary(),
            "database": "is created" if self.creates_database else "",
            "changes": "\n".join(self.changes),
            "kept": "\n".join(self.kept),
            "problems": "\n".join(self.problems),
        }
        return {name: text for name, text in details.items() if text}


@dataclass(frozen=True)
class _Problem:
    """A reason to leave an entry as it is.

    Attributes:
        text: the reason.
        adoptable: whether the entry can be taken over nevertheless, if the caller says so.
    """

    text: str
    adoptable: bool = True


def creation(name: GlueName, entry: Entry, *, creates_database: bool) -> GluePlan:
    """Return the plan that creates an entry.

    Raises:
        OptionError, UnsupportedTableError: the entry is beyond a limit of Glue.
    """
    columns = [dict(column) for column in entry.columns]
    table_input: Json = {
        "Name": name.table,
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [],
        "Parameters": dict(entry.parameters),
        "StorageDescriptor": {"Columns": columns, "Location": entry.location, **entry.storage},
    }
    if entry.comment:
        table_input["Description"] = entry.comment
    check_limits(table_input)
    return GluePlan(
        str(name),
        entry.form,
        "create",
        tuple(f"column {column['Name']} {column['Type']}" for column in columns),
        creates_database=creates_database,
        applied=entry.applied,
        table_input=table_input,
    )


def difference(name: GlueName, present: Json, entry: Entry, *, adopt: bool) -> GluePlan:
    """Return the plan that brings an entry up to date.

    Args:
        name: name of the table in Glue.
        present: the answer to GetTable.
        entry: what Glue is to say.
        adopt: whether an entry that others wrote or edited is taken over, if it shows the same folder.

    Raises:
        OptionError, UnsupportedTableError: the entry is beyond a limit of Glue.
    """
    problems = tuple(problem.text for problem in _problems(present, entry) if not (adopt and problem.adoptable))
    plan = GluePlan(str(name), entry.form, "refused", problems=problems, applied=entry.applied)
    if problems:
        return plan
    columns, kept_comments = _columns(present, entry)
    table_input = _updated(present, entry, columns)
    kept = (*kept_comments, *_kept(present, entry, table_input))
    before = _input_of(present)
    changes = tuple(_changes(before, table_input))
    if not changes and _pruned(before) == _pruned(table_input):
        return replace(plan, action="nothing", kept=kept)
    check_limits(table_input)
    return replace(
        plan,
        action="update",
        changes=changes or ("storage descriptor",),
        kept=kept,
        table_input=table_input,
        version_id=present.get("VersionId"),
    )


def _problems(present: Json, entry: Entry) -> Iterator[_Problem]:
    storage, parameters = present.get("StorageDescriptor") or {}, present.get("Parameters") or {}
    location, form = _same_scheme(storage.get("Location") or ""), _form_of(parameters)
    if present.get("TargetTable") or present.get("TableType") == "VIRTUAL_VIEW":
        yield _Problem("it is a view or a link to another table", adoptable=False)
        return
    if location != _same_scheme(entry.location):
        yield _Problem(f"it shows another folder, {location}, and this is {entry.location}", adoptable=False)
    if form != entry.form:
        yield _Problem(f"it is of the form {form or 'of no Delta and no Iceberg table'}", adoptable=False)
    if parameters.get(TABLE_ID) != entry.table_id:
        yield _Problem(
            "this library did not write it" if TABLE_ID not in parameters else "it is of another table of this library"
        )
    else:
        yield from _edits(storage, parameters, entry)
    if entry.form == "iceberg" and form == "iceberg":
        yield from _foreign_metadata(parameters.get(METADATA_LOCATION, ""), entry)


def _edits(storage: Json, parameters: Json, entry: Entry) -> Iterator[_Problem]:
    """Yield what others edited that this library would undo."""
    applied = parameters.get(APPLIED, "")
    if applied.isdecimal() and int(applied) > entry.applied:
        yield _Problem(f"it shows version {applied}, and the base has version {entry.applied}", adoptable=False)
    present, written = _shape(storage.get("Columns") or ()), _written(parameters)
    if present != _shape(entry.columns) and (written is None or present != _shape(written)):
        yield _Problem("its columns were edited")
    serde = (storage.get("SerdeInfo") or {}).get("SerializationLibrary")
    formats = {**storage, "SerdeInfo": serde}
    for key, value in entry.storage.items():
        if formats.get(key) != (value["SerializationLibrary"] if isinstance(value, Mapping) else value):
            yield _Problem(f"its {key} was edited")


def _foreign_metadata(location: str, entry: Entry) -> Iterator[_Problem]:
    """A metadata file that is not of the face: what others committed there is never overwritten.

    One of the face that is no longer there, since a forget dropped it, has no rows to lose.
    """
    folder = entry.parameters[METADATA_LOCATION].rpartition("/")[0]
    before, _, name = location.rpartition("/")
    if _same_scheme(before) != folder or _FACE_METADATA.fullmatch(name) is None:
        yield _Problem(f"another writer committed to it: its metadata_location is {location}", adoptable=False)


def _form_of(parameters: Mapping[str, str]) -> str:
    if parameters.get(TABLE_TYPE, "").lower() == "iceberg":
        return "iceberg"
    is_delta = "delta" in (parameters.get(PROVIDER, "").lower(), parameters.get(TABLE_TYPE, "").lower())
    return "delta" if is_delta else ""


def _same_scheme(url: str) -> str:
    url = url.rstrip("/")
    return f"s3://{url.partition('://')[2]}" if url.startswith(("s3a://", "s3n://")) else url


def _shape(columns: Iterable[Json]) -> list[tuple[str, str]]:
    return [(column["Name"], column.get("Type", "")) for column in columns]


def _written(parameters: Mapping[str, str]) -> list[Json] | None:
    """Columns as this library wrote them last; None if the entry does not say so."""
    try:
        columns = json.loads(parameters.get(COLUMNS, "null"))
        return [{"Name": str(name), "Type": str(type_), "Comment": str(text)} for name, type_, text in columns]
    except (TypeError, ValueError):
        return None


def _columns(present: Json, entry: Entry) -> tuple[list[Json], list[str]]:
    """Return the new columns with the comments and parameters that others gave them, and what is kept."""
    stored = {column["Name"]: column for column in (present.get("StorageDescriptor") or {}).get("Columns") or ()}
    written = _written(present.get("Parameters") or {}) or ()
    comments = {column["Name"]: column["Comment"] for column in written}
    columns, kept = [], []
    for column in entry.columns:
        merged, name = dict(column), column["Name"]
        before = stored.get(name)
        if before is not None:
            comment = before.get("Comment") or ""
            if comment != comments.get(name, "") and comment != column.get("Comment", ""):
                merged["Comment"] = comment
                kept.append(f"comment of column {name}")
            parameters = {**(before.get("Parameters") or {}), **column.get("Parameters", {})}
            if parameters:
                merged["Parameters"] = parameters
        columns.append(merged)
    return columns, kept


def _updated(present: Json, entry: Entry, columns: Sequence[Json]) -> Json:
    """Return the whole new entry: what is there, with what is this library's in its place."""
    parameters = present.get("Parameters") or {}
    others = {name: value for name, value in parameters.items() if not name.startswith(entry.prefixes)}
    storage = present.get("StorageDescriptor") or {}
    table_input = _input_of(present)
    new_parameters = {**others, **entry.parameters}
    before = parameters.get(METADATA_LOCATION)
    if entry.form == "iceberg" and before is not None and before != entry.parameters[METADATA_LOCATION]:
        new_parameters[PREVIOUS_LOCATION] = before
    table_input["Parameters"] = new_parameters
    table_input["StorageDescriptor"] = {
        **storage,
        **entry.storage,
        **({"SerdeInfo": _serde(storage, entry)} if "SerdeInfo" in entry.storage else {}),
        "Columns": list(columns),
        "Location": entry.location,
    }
    if (present.get("Description") or "") == parameters.get(COMMENT, ""):
        table_input["Description"] = entry.comment or ""
    return table_input


def _input_of(present: Json) -> Json:
    """Return an entry as UpdateTable takes it: what is empty was not set, and some members must not be empty."""
    return {key: present[key] for key in _INPUT if present.get(key)}


def _serde(storage: Json, entry: Entry) -> Json:
    before, serde = storage.get("SerdeInfo") or {}, entry.storage["SerdeInfo"]
    assert isinstance(serde, dict)
    return {**before, **serde, "Parameters": {**(before.get("Parameters") or {}), **serde["Parameters"]}}


def _kept(present: Json, entry: Entry, table_input: Json) -> Iterator[str]:
    """Yield what others added or edited, besides comments of columns."""
    known = {*entry.parameters, PREVIOUS_LOCATION}
    yield from (f"parameter {name}" for name in sorted(table_input["Parameters"].keys() - known))
    if (table_input.get("Description") or "") != (entry.comment or ""):
        yield "description"
    if present.get("Owner"):
        yield f"owner {present['Owner']}"


def _changes(before: Json, after: Json) -> Iterator[str]:
    """Yield the differences of two entries, one text each."""
    old = {column["Name"]: column for column in (before.get("StorageDescriptor") or {}).get("Columns") or ()}
    new = {column["Name"]: column for column in after["StorageDescriptor"]["Columns"]}
    yield from (f"column {name} dropped" for name in old if name not in new)
    for name, column in new.items():
        if name not in old:
            yield f"column {name} {column['Type']} added"
            continue
        if old[name].get("Type") != column["Type"]:
            yield f"column {name} is {column['Type']}, was {old[name].get('Type')}"
        if (old[name].get("Comment") or "") != column.get("Comment", ""):
            yield f"comment of column {name}"
    if list(old) != list(new) and old.keys() == new.keys():
        yield "order of columns"
    if (before.get("Description") or "") != (after.get("Description") or ""):
        yield "description"
    yield from _parameter_changes(before.get("Parameters") or {}, after["Parameters"])


def _parameter_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        short = name in (APPLIED, METADATA_LOCATION) or name.endswith(("ersion", "table_id"))
        if short and name in before and name in after:
            yield f"parameter {name} {after[name]}, was {before[name]}"
        else:
            yield f"parameter {name}" + ("" if name in after else " removed")


def _pruned(value: Any) -> Any:
    """Return a value without members that are empty, which Glue may add or leave out."""
    if isinstance(value, Mapping):
        members = {name: _pruned(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member not in (None, "", [], {})}
    return [_pruned(member) for member in value] if isinstance(value, list) else value
