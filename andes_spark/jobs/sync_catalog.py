"""The job that shows tables under their names in the Glue Data Catalog, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from andes_spark.errors import AndesError, OptionError
from andes_spark.jobs.arguments import parse_job
from andes_spark.model.options import NAMES, TEXTS, option
from andes_spark.model.sync_options import SyncGlueOptions
from andes_spark.table.mod_table import ModTable

OK, FAILURE, RETRYABLE = 0, 1, 75


@dataclass(frozen=True)
class SyncCatalog(SyncGlueOptions):
    """Options of the job: those of ``sync_glue`` for all tables, and the tables."""

    tables: tuple[str, ...] = option(NAMES, (), help="Names in Glue with folders, as sales.orders=s3://lake/orders.")
    storage_options: Mapping[str, str] | None = option(
        TEXTS.or_none(), None, help="Access to the store and to Glue.", flag="--storage-option"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = next((text for text in self.tables if not all(text.partition("="))), None)
        if not self.tables or wrong is not None:
            problem = "options missing: tables" if wrong is None else f"{wrong!r} is not DB.TABLE=FOLDER"
            raise OptionError(problem, option="tables", value=wrong)
        if self.iceberg_name is not None and len(self.tables) > 1:
            raise OptionError("iceberg_name is for one table", option="iceberg_name")


def run(job: SyncCatalog, say: Callable[[str], object]) -> int:
    """Synchronize all tables; a failure of one keeps none of the others from it.

    Args:
        job: the job.
        say: called with a line for each table.

    Returns:
        The exit code: 0; 75 if all that failed may succeed when it is tried again; else 1.
    """
    options = {field.name: getattr(job, field.name) for field in fields(SyncGlueOptions)}
    codes = set()
    for text in job.tables:
        name, _, folder = text.partition("=")
        try:
            table = ModTable.open(folder, storage_options=job.storage_options)
            say(table.sync_glue(name, **options).summary())
        except AndesError as error:
            say(f"{name}: {type(error).__name__}: {error}")
            codes.add(RETRYABLE if error.retryable else FAILURE)
    return min(codes, default=OK)


def parse(arguments: Sequence[str] | None = None) -> SyncCatalog:
    """Return the job that command-line arguments ask for; exits with 2 on a usage error.

    Raises:
        OptionError: a configuration file that cannot be read or says what no option is.
    """
    return parse_job(SyncCatalog, arguments, prog="sync_catalog.py", description=__doc__, positional=("tables",))
