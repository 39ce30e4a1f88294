"""PyIceberg's upsert on S3 with a delay on each request."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server

_TIMES = 4
_WARM = 2
Mods = Callable[[], pa.Table]


def iceberg_costs(server: S3Server, folder: Path, base: pa.Table, mods: Mods, delay: float) -> dict[str, list[Cost]]:
    """Costs of loading the table and of its upsert; none where PyIceberg is not installed.

    The catalog is a file of SQLite in the folder, so that its requests do not count.
    """
    if importlib.util.find_spec("pyiceberg") is None or importlib.util.find_spec("sqlalchemy") is None:
        return {}
    # Else pyarrow sends bodies in chunks with a checksum behind them, which the proxy does not read.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    from pyiceberg.catalog.sql import SqlCatalog

    costs: list[Cost] = []
    with FaultProxy(server) as proxy:
        catalog = SqlCatalog(
            "lake",
            uri=f"sqlite:///{folder}/catalog.db",
            warehouse=f"s3://{server.make_bucket()}/lake",
            **{
                "s3.endpoint": proxy.endpoint,
                "s3.region": server.options["aws_region"],
                "s3.access-key-id": server.options["aws_access_key_id"],
                "s3.secret-access-key": server.options["aws_secret_access_key"],
            },
        )
        catalog.create_namespace("lake")
        catalog.create_table("lake.orders", base.schema).append(base)
        proxy.delay = delay
        meter = Meter(proxy)
        for number in range(_WARM + _TIMES):
            with meter.verb():
                catalog.load_table("lake.orders").upsert(mods(), join_cols=["id"])
            if number >= _WARM:
                costs.append(meter.cost)
    return {"PyIceberg: load, upsert": costs}
