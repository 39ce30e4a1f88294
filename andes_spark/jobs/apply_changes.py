"""The main job: apply a change feed of PostgreSQL to a table, batch by batch, and print the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from andes_spark.feeds import wal2json
from andes_spark.jobs.arguments import parse_job
from andes_spark.model.options import COUNT, NAME, NAMES, TEXT, Options, option
from andes_spark.model.results import ApplyResult
from andes_spark.schema.schema import Schema
from andes_spark.table.mod_table import ModTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SHOWN = 5


@dataclass(frozen=True)
class ApplyChanges(Options):
    """Options of the job; each says in its ``help`` what it is."""

    table: str = option(NAME, help="Folder of the table: a local path or s3a://; created if there is none.")
    feeds: tuple[str, ...] = option(NAMES, help="Files of wal2json, format version 2: plain, .gz or .xz; in order.")
    feed_table: str = option(NAME, help="Source table, such as public.orders.")
    primary_key: tuple[str, ...] = option(NAMES, help="Key columns of the source table.")
    source: str | None = option(
        TEXT.or_none(), None, help="Name of the feed in batch ids; by default the source table."
    )
    changes_per_batch: int = option(COUNT, 5000, help="Changes in a batch, about; transactions are never split.")
    schema: str | None = option(
        TEXT.or_none(), None, help="Columns of the source as DDL; by default inferred from the feed."
    )
    view: str = option(NAME, "changes", help="Name of the temporary view for the query.")
    sql: str | None = option(TEXT.or_none(), None, help="Query to show, over the view.")
    compare_with: str | None = option(
        TEXT.or_none(), None, help="Parquet file with the rows that the table must end with."
    )


def run(job: ApplyChanges, spark: SparkSession, console: Console) -> bool:
    """Run the job; return False if the table differs from the rows of ``compare_with``.

    Raises:
        AndesError: the feed or the table cannot be used; batches applied before stay applied, and the job
            can be run again.
    """
    table = _open(job, spark)
    console.print(f"\n[bold]{table.url}[/bold] from {job.feed_table}, key {', '.join(job.primary_key)}")
    _show_batches(job, table, console)
    _show_status(table, console)
    table.create_view(job.view)
    if job.sql is not None:
        console.print(f"\n[bold]{job.sql}[/bold]")
        _show_rows(spark.sql(job.sql), console)
    return job.compare_with is None or _compare(job, table, spark, console)


def _open(job: ApplyChanges, spark: SparkSession) -> ModTable:
    columns = wal2json.table_schema(_source_schema(job))
    return ModTable.create(
        job.table,
        columns,
        primary_key=job.primary_key,
        sequence_by=wal2json.ModColumns().sequence_by,
        if_not_exists=True,
        comment=f"{job.feed_table}, by its change feed",
        spark=spark,
    )


def _source_schema(job: ApplyChanges) -> Schema:
    if job.schema is not None:
        return Schema.from_ddl(job.schema)
    lines = wal2json.read_lines(*job.feeds)
    return wal2json.infer_schema(lines, table=job.feed_table, primary_key=job.primary_key)


def _show_batches(job: ApplyChanges, table: ModTable, console: Console) -> None:
    shown = Table("version", "batch", "mods", "upserts", "deletes", "merge: inserted", "updated", "deleted", "folded")
    for name in ("superseded", "late", "seconds"):
        shown.add_column(name)
    batches = wal2json.batches(
        wal2json.read_lines(*job.feeds),
        _source_schema(job),
        table=job.feed_table,
        primary_key=job.primary_key,
        changes_per_batch=job.changes_per_batch,
    )
    for batch in batches:
        result = table.apply(
            batch.mods,
            apply_as_deletes="op = 'D'",
            apply_as_truncates="op = 'T'",
            columns_to_update="columns_to_update",
            batch_id=(job.source or job.feed_table, batch.batch_id),
            job="apply_changes",
        )
        shown.add_row(*_cells(result, batch.batch_id))
    console.print(shown)


def _cells(result: ApplyResult, batch_id: str) -> list[str]:
    counts = result.counts
    cells = [str(result.version), batch_id, str(counts.received), str(counts.upserts), str(counts.deletes)]
    if result.replayed:
        return [*cells, "applied before"]
    if result.merge is None or result.merge.status != "merged":
        return [*cells, f"merge: {result.merge.status if result.merge else 'not due'}"]
    merged = result.merge.counts
    seconds = sum(step.seconds for step in (*result.steps, *result.merge.steps))
    return [
        *cells,
        *(str(count) for count in (merged.inserted, merged.updated, merged.deleted, merged.folded)),
        *(str(count) for count in (merged.superseded, merged.late)),
        f"{seconds:.2f}",
    ]


def _show_status(table: ModTable, console: Console) -> None:
    console.print(str(table.status()), highlight=False)


def _show_rows(frame: DataFrame, console: Console) -> None:
    shown = Table(*frame.columns)
    for row in frame.limit(20).collect():
        shown.add_row(*(str(value) for value in row))
    console.print(shown)


def _compare(job: ApplyChanges, table: ModTable, spark: SparkSession, console: Console) -> bool:
    """Compare the rows of the table with the final rows of its source."""
    expected = spark.read.parquet(str(job.compare_with))
    names = ["`" + name.replace("`", "``") + "`" for name in expected.columns]
    actual = table.read().select(*names)
    lacking, extra = expected.exceptAll(actual), actual.exceptAll(expected)
    missing, unwanted = lacking.count(), extra.count()
    rows = actual.count()
    if missing == unwanted == 0:
        console.print(f"\n[bold green]EQUAL[/bold green]: all {rows} rows are those of {job.compare_with}")
        return True
    console.print(
        f"\n[bold red]NOT EQUAL[/bold red]: {rows} rows; {missing} rows of {job.compare_with} are not in the "
        f"table, {unwanted} rows of the table are not in it; for example:"
    )
    _show_examples("only in the source", lacking, console)
    _show_examples("only in the table", extra, console)
    return False


def _show_examples(title: str, rows: DataFrame, console: Console) -> None:
    for row in rows.limit(_SHOWN).collect():
        console.print(f"{title}: {_short(row.asDict())}")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value[:40]}..." if isinstance(value, str) and len(value) > 40 else value for name, value in row.items()
    }


def parse(arguments: Sequence[str] | None = None) -> ApplyChanges:
    """Return the job that command-line arguments ask for; exits with 2 on a usage error.

    Raises:
        OptionError: a configuration file that cannot be read or says what no option is.
    """
    return parse_job(
        ApplyChanges, arguments, prog="apply_changes.py", description=__doc__, positional=("table", "feeds")
    )
