"""Changes of the base by other writers: detection, description, and detection of their undoing.

Commits that move rows without changing them, such as OPTIMIZE, and properties without effect on rows are accepted.
After any other change the base no longer agrees with the log: reads use the state before it, and merges stop until
the base has the files, deletion vectors and columns of that state again, for example after Delta's RESTORE.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from andes_spark.delta.features import obstacles, refusal
from andes_spark.delta.log import first_loadable, load_state
from andes_spark.delta.paths import entry_path
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import (
    AndesError,
    CommitConflictError,
    ForeignWriteError,
    LogDamagedError,
    UnsupportedTableError,
    VersionExpiredError,
)
from andes_spark.model.definition import Definition
from andes_spark.schema.schema import Schema, simple_string
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class ForeignChange:
    """The first Delta commit of another writer after which the base does not agree with the log.

    Attributes:
        delta_version: Delta version of the commit.
        operation: name of the operation in the commit.
        effect: description of the change: "changed rows", or the changed columns.
        before: state of the base before the commit.
        unreadable: reason why this library cannot read the base after the commit; None if it can.
        rows_changed: whether this commit or a later one changed rows.
    """

    delta_version: int
    operation: str
    effect: str
    before: DeltaState
    unreadable: UnsupportedTableError | None = None
    rows_changed: bool = True

    def not_merged(self, table: str) -> ForeignWriteError:
        """Return the error for work on the base that has to wait until a change that was taken in is merged."""
        return ForeignWriteError(
            f"{table}: the change of another writer in Delta version {self.delta_version} was taken in, and is not "
            "merged yet: merge() first",
            table=table,
            delta_version=self.delta_version,
            operation=self.operation,
        )

    def error(self, table: str) -> AndesError:
        """Return the error for a merge: it describes the change and how to resume merges."""
        event = f"{table}: Delta version {self.delta_version} ({self.operation}) is another writer's and {self.effect}"
        stays = f"reads stay at Delta version {self.before.version}, and merges stop"
        restore = f"RESTORE TABLE delta.`{table}` TO VERSION AS OF {self.before.version}"
        undo = (
            'Stop that writer; then repair(foreign="take_in") makes its rows a version of the table, or '
            f'repair(foreign="undo") takes its change back, as {restore} does in Delta'
        )
        if self.unreadable is not None:
            return UnsupportedTableError(
                f"{event}: {self.unreadable.message}; {stays}. {undo}",
                **{**self.unreadable.fields, "table": table},
            )
        return ForeignWriteError(
            f"{event}: {stays}. {undo}; a dry run of repair() counts the rows",
            table=table,
            delta_version=self.delta_version,
            operation=self.operation,
        )


def unwritable(table: str, state: DeltaState) -> UnsupportedTableError | None:
    """Return features in use that keep this library from writing a state; None if there are none.

    Raises:
        UnsupportedTableError: features that keep this library from reading it.
        LogDamagedError: the schema cannot be read.
    """
    try:
        features = obstacles(state)
        unreadable = refusal(features, reading=True)
        if unreadable is not None:
            raise unreadable
    except (UnsupportedTableError, LogDamagedError) as error:
        raise type(error)(f"{table}: {error.message}", **{**error.fields, "table": table}) from error
    reason = refusal(features)
    if reason is None:
        return None
    message = (
        f'{table}: {reason.message}; or repair(foreign="undo") takes it back; until then merges stop, and reads and '
        "appends go on"
    )
    return UnsupportedTableError(message, **{**reason.fields, "table": table})


def overwritten(table: str, delta_version: int) -> ForeignWriteError:
    """Build the error for an entry of this library that another writer has overwritten."""
    message = (
        f"{table}: Delta version {delta_version} was a merge of ours and is now another writer's commit: Delta's "
        f"writers must not run while a merge does; restore {entry_path(delta_version)}, or repair() the table"
    )
    return ForeignWriteError(message, table=table, delta_version=delta_version)


def cut_off(table: str) -> CommitConflictError:
    """Build the error for work on a state of the base that a repair has replaced."""
    return CommitConflictError(
        f"{table}: a repair cut the Delta log off and makes it again, and nothing was written to the base: make the "
        "same call again",
        table=table,
    )


def replaced(table: str, delta_version: int) -> LogDamagedError:
    """Build the error for an entry of the Delta log that is another one than before."""
    return LogDamagedError(
        f"{table}: Delta version {delta_version} is not the one that was read before: the Delta log was replaced since "
        "this table was opened; open it again",
        table=table,
        delta_version=delta_version,
    )


def find_foreign(
    storage: Storage,
    state: DeltaState,
    *,
    checked: int,
    known: ForeignChange | None,
    is_merge: Callable[[Commit], bool],
    commit: Callable[[int], Commit | None],
    has_own_columns: Callable[[DeltaState], bool],
) -> ForeignChange | None:
    """Find the foreign change among the commits after the last merge, or after those that were checked before.

    Args:
        storage: the table's folder.
        state: newest state of the base.
        checked: version up to which commits were checked before; -1 for none.
        known: result of that check.
        is_merge: returns whether a commit is a merge of this library; a merge is never made after a foreign change.
        commit: returns an entry of the log; None if it does not exist.
        has_own_columns: whether a state has the columns that the log of mods gives it.

    Returns:
        The change; None if there is none.

    Raises:
        LogDamagedError: the state before a change is gone with Delta's own clean-up of the log.
    """
    commits: list[Commit] = []
    for version in range(state.version, checked, -1):
        entry = commit(version)
        if entry is None:
            break
        if is_merge(entry):
            known = None
            break
        commits.append(entry)
    if not any(may_be_foreign(entry) for entry in commits):
        return known
    foreign = known
    before, commits = _before(storage, commits, has_own_columns)
    for entry in reversed(commits):
        after = load_state(storage, version=entry.version, previous=before)
        if foreign is not None:
            foreign = _after(foreign, entry, after)
        elif may_be_foreign(entry):
            foreign = _judge(entry, before, after)
        before = after
    return foreign


def _before(
    storage: Storage, commits: list[Commit], has_own_columns: Callable[[DeltaState], bool]
) -> tuple[DeltaState, list[Commit]]:
    """The state before commits of other writers, which are given newest first.

    Where Delta's own clean-up of the log deleted it, it is the first state that is left, if no commit up to there
    changed rows or columns; with the commits after it.
    """
    oldest = commits[-1]
    try:
        return load_state(storage, version=oldest.version - 1), commits
    except (VersionExpiredError, LogDamagedError):
        first = first_loadable(storage, 0)
        if first is None or not oldest.version <= first <= commits[0].version:
            raise
    state = load_state(storage, version=first)
    passed = [entry for entry in commits if entry.version <= first]
    if any(entry.data_change for entry in passed) or not has_own_columns(state):
        operation = (oldest.commit_info or {}).get("operation", "an unnamed operation")
        raise LogDamagedError(
            f"{storage.url}: Delta version {oldest.version} ({operation}) is another writer's, and the entries before "
            "it were deleted by Delta's clean-up of the log, so what it changed cannot be told; restore those entries "
            "from a backup or from earlier object versions, then repair()",
            table=storage.url,
            delta_version=oldest.version,
        )
    return state, [entry for entry in commits if entry.version > first]


def has_columns_of(definition: Definition, state: DeltaState) -> bool:
    """Return whether a state has the columns and partition columns of a definition of the table."""
    (own,) = (schema.struct for schema in definition.schemas if schema.id == definition.schema_id)
    stored, expected = (
        [(field.name, simple_string(field.type)) for field in Schema.from_json(struct)]
        for struct in (state.metadata.schema_json, own)
    )
    return stored == expected and list(state.metadata.partition_columns) == list(definition.partition_by)


def content_of(state: DeltaState) -> str:
    """Return the digest of the files, deletion vectors and columns of a state."""
    content = [sorted(_files(state).items()), _columns(state), state.metadata.partition_columns]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def same_content(one: DeltaState, other: DeltaState) -> bool:
    """Return whether two states have the same files, deletion vectors, columns and transactions."""
    return _files(one) == _files(other) and same_columns(one, other) and dict(one.txns) == dict(other.txns)


def same_columns(one: DeltaState, other: DeltaState) -> bool:
    """Return whether two states have the same columns and partition columns."""
    return _columns(one) == _columns(other) and one.metadata.partition_columns == other.metadata.partition_columns


def _after(foreign: ForeignChange, commit: Commit, after: DeltaState) -> ForeignChange | None:
    """Update a foreign change by one more commit; None if the base is as before the change again."""
    if refusal(obstacles(after), reading=True) is None:
        moved = not foreign.rows_changed and not commit.data_change and same_columns(after, foreign.before)
        if moved or same_content(after, foreign.before):
            return None
    return replace(foreign, rows_changed=foreign.rows_changed or commit.data_change)


def may_be_foreign(commit: Commit) -> bool:
    """Return whether a commit may change rows, columns or features."""
    return commit.data_change or any(kind in ("metaData", "protocol") for kind, _ in commit.actions)


def _judge(commit: Commit, before: DeltaState, after: DeltaState) -> ForeignChange | None:
    operation = (commit.commit_info or {}).get("operation", "an unnamed operation")
    unreadable = refusal(obstacles(after), reading=True)
    if unreadable is not None:
        effect = "changed how the base is read"
        return ForeignChange(commit.version, operation, effect, before, unreadable, rows_changed=commit.data_change)
    columns = _changed_columns(before, after)
    if columns:
        return ForeignChange(commit.version, operation, columns, before, rows_changed=commit.data_change)
    if commit.data_change and _files(before) != _files(after):
        return ForeignChange(commit.version, operation, "changed rows", before)
    return None


def _changed_columns(before: DeltaState, after: DeltaState) -> str:
    """Describe the columns that differ; an empty text if none do."""
    old, new = _columns(before), _columns(after)
    if before.metadata.partition_columns != after.metadata.partition_columns:
        return "changed the partition columns"
    if old == new:
        return ""
    first, second = dict(old), dict(new)
    parts = [
        f"{verb} {', '.join(sorted(names))}"
        for verb, names in (
            ("added", second.keys() - first.keys()),
            ("dropped", first.keys() - second.keys()),
            ("changed", {name for name in first.keys() & second.keys() if first[name] != second[name]}),
        )
        if names
    ]
    return f"changed the columns ({'; '.join(parts) or 'their order'})"


def _files(state: DeltaState) -> dict[str, str | None]:
    return {path: None if file.vector is None else file.vector.unique_id for path, file in state.files.items()}


def _columns(state: DeltaState) -> list[tuple[str, Any]]:
    """Return names with types and nullability at any depth, without comments and other metadata."""
    fields = json.loads(state.metadata.schema_json, object_hook=_without_metadata)["fields"]
    return [(field["name"], field) for field in fields]


def _without_metadata(value: dict[str, Any]) -> dict[str, Any]:
    # An object with a name is a field; the keys of a field's metadata are free.
    return {key: part for key, part in value.items() if key != "metadata"} if "name" in value else value
