"""Whether the verbs of upkeep grow with the number of versions, on S3: requests, rounds and seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import boto3
import numpy as np

from andes_spark.table.mod_table import ModTable
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server, serve
from benchmarks.lab import Lab
from benchmarks.report import Table
from benchmarks.s3_rows import DELAY, SCHEMA, keyed_rows

_ROWS = 100_000
_MODS = 20
_MERGED = 10
"""A merge follows every so many versions."""


def run(lab: Lab) -> list[Table]:
    """Grow two tables on disk, copy them to S3, and measure each verb once on both."""
    smaller, larger = (100, 1_000) if lab.quick else (100, 10_000)
    table = Table(
        f"Upkeep on S3 with {1000 * DELAY:.0f} ms added to each request, {larger:,} versions beside {smaller:,}",
        ["verb, table opened before", *(f"{name}, {count:,}" for count in (smaller, larger) for name in _COLUMNS)],
        notes=[
            f"Tables of {_ROWS:,} rows, {_MODS} mods a version, a merge every {_MERGED} versions; one measurement of "
            "each. The vacuums keep no old version; their deletions go a thousand objects to a request."
        ],
    )
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as folder, serve(Path(folder)) as server:
        columns = [_measure(server, _grow(lab, count)) for count in (smaller, larger)]
    for verb in columns[0]:
        costs = [column[verb] for column in columns]
        cells = [cell for cost in costs for cell in (cost.requests, cost.rounds, f"{cost.seconds:.2f}")]
        table.add(verb, *cells, verb=verb, seconds=[cost.seconds for cost in costs])
    return [table]


_COLUMNS = ("requests", "rounds", "seconds")


def _grow(lab: Lab, versions: int) -> Path:
    """Return a folder with a table of so many versions."""
    lab.say(f"upkeep: {versions:,} versions")
    path = lab.fresh(f"upkeep-{versions}")
    rows = keyed_rows(np.arange(_ROWS), 0)
    table = ModTable.create(str(path), SCHEMA, primary_key=["id"], sequence_by=["seq"], data=rows, merge="manual")
    random = np.random.default_rng(7)
    for version in range(1, versions + 1):
        table.apply(keyed_rows(np.unique(random.integers(0, _ROWS, _MODS)), version), batch_id=("bench", version))
        if version % _MERGED == 0:
            table.merge()
    return path


def _measure(server: S3Server, path: Path) -> dict[str, Cost]:
    bucket = server.make_bucket()
    _upload(server, path, bucket)
    costs: dict[str, Cost] = {}
    with FaultProxy(server, delay=DELAY) as proxy:
        meter = Meter(proxy)

        def cost(verb: str, call: Callable[[], object]) -> None:
            with meter.verb():
                call()
            costs[verb] = meter.cost

        table = ModTable.open(f"s3://{bucket}/table", storage_options=proxy.options)
        version = table.version
        cost("status", table.status)
        cost("status(files=True)", lambda: table.status(files=True))
        cost("tag", lambda: table.tag("audit", version - 5))
        cost("to_arrow(tag=), 1 row", lambda: table.to_arrow(tag="audit", filter="id = 1"))
        cost("changes of the last 10 versions", lambda: table.changes(version - 10).read_all())
        cost("pin", lambda: table.pin(version - 1, days=1))
        cost("restore with its merge", lambda: (table.restore(version - 1), table.merge()))
        cost("vacuum, dry run", lambda: table.vacuum(retain="0 seconds", dry_run=True))
        cost("vacuum", lambda: table.vacuum(retain="0 seconds"))
        assert table.to_arrow().num_rows == _ROWS
    return costs


def _upload(server: S3Server, path: Path, bucket: str) -> None:
    options = server.options
    client = boto3.client(
        "s3", endpoint_url=options["aws_endpoint"], region_name=options["aws_region"],
        aws_access_key_id=options["aws_access_key_id"], aws_secret_access_key=options["aws_secret_access_key"],
    )  # fmt: skip
    for file in sorted(path.rglob("*")):
        if file.is_file():
            client.upload_file(str(file), bucket, f"table/{file.relative_to(path)}")
