"""One entry of Glue, brought up to date: a plan, and its execution under an optimistic lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from andes_spark.errors import CommitConflictError, ForeignWriteError
from andes_spark.sync.glue.client import Conflict, GlueApi, no_database
from andes_spark.sync.glue.entry import Entry
from andes_spark.sync.glue.names import GlueName
from andes_spark.sync.glue.plan import GluePlan, creation, difference


@dataclass(frozen=True)
class GlueSynchronizer:
    """Synchronizer of one entry.

    Attributes:
        api: the Glue API.
        name: name of the table in Glue.
        read: reads what Glue is to say; called after the entry was read, so that what it returns is never older.
        create_database: whether a missing database is created.
        adopt: whether an entry that others wrote or edited is taken over, if it shows the same folder.
    """

    api: GlueApi
    name: GlueName
    read: Callable[[], Entry]
    create_database: bool = False
    adopt: bool = False

    def plan(self) -> GluePlan:
        """Return what would be done; nothing is changed. Sends GetTable, and GetDatabase if there is no such table.

        Raises:
            NotFoundError: there is no database, and none is to be created.
            OptionError, UnsupportedTableError: the table is beyond a limit of Glue.
            AccessDeniedError, StoreUnavailableError, StorageError: Glue refused or did not answer.
        """
        present = self.api.table(self.name)
        entry = self.read()
        if present is not None:
            return difference(self.name, present, entry, adopt=self.adopt)
        has_database = self.api.has_database(self.name)
        if not has_database and not self.create_database:
            raise no_database(self.name)
        return creation(self.name, entry, creates_database=not has_database)

    def apply(self, attempts: int) -> GluePlan:
        """Bring the entry up to date: GetTable, and UpdateTable if it is not so already.

        Args:
            attempts: number of times that other writers of the entry may be first.

        Returns:
            The plan that was carried out.

        Raises:
            ForeignWriteError: the entry is not this library's, or others edited what this library would undo.
            CommitConflictError: other writers of the entry were first each time.
            NotFoundError, OptionError, UnsupportedTableError, StorageError: see ``plan``.
        """
        for _ in range(attempts):
            plan = self.plan()
            if plan.problems:
                raise self._drift(plan)
            if plan.table_input is None or self._carry_out(plan) is None:
                return replace(plan, done=True)
        raise CommitConflictError(
            f"Glue {self.name}: other writers changed the entry first {attempts} times; synchronize again"
        )

    def _carry_out(self, plan: GluePlan) -> Conflict | None:
        assert plan.table_input is not None
        if plan.action == "update":
            return self.api.update_table(self.name, plan.table_input, plan.version_id)
        if plan.creates_database:
            self.api.create_database(self.name)
        return self.api.create_table(self.name, plan.table_input)

    def _drift(self, plan: GluePlan) -> ForeignWriteError:
        return ForeignWriteError(
            f"Glue has an entry {self.name} that is left as it is: {'; '.join(plan.problems)}. Correct or delete the "
            "entry, choose another name, or take over an entry of the same folder with adopt",
            problems=plan.problems,
        )
