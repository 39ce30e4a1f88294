"""The initial load of a Spark DataFrame against a plain Delta write of the same rows."""

from __future__ import annotations

from andes_spark.table.mod_table import ModTable
from benchmarks import data
from benchmarks.lab import Lab, alternate, fingerprint
from benchmarks.report import Table, verdict


def run(lab: Lab) -> list[Table]:
    """Measure both key types."""
    table = Table(
        "Initial load of a Spark DataFrame read from Parquet (seconds)",
        ["key", "create(data=...)", "plain Delta write", "ratio", "limit", "met"],
        notes=["The load also checks keys (no NULL, no key twice) and writes rows sorted by key."],
    )
    for key_type in data.KEY_TYPES:
        rows = lab.spark.read.parquet(str(lab.base(key_type)))

        def load(key_type: data.KeyType = key_type, rows: object = rows) -> None:
            ModTable.create(
                str(lab.fresh("ours-load")),
                data.schema_of(key_type),
                primary_key=data.primary_key(key_type),
                sequence_by=[data.SEQUENCE],
                data=rows,
            )

        times = alternate(
            {
                "ours": load,
                "delta": lambda rows=rows: rows.write.format("delta").save(str(lab.fresh("delta-load"))),  # type: ignore[misc]
            },
            # Spark's times scatter by a fifth, and the two are close.
            times=2 * lab.rounds + 1,
        )
        if fingerprint(lab.delta(lab.folder / "ours-load")) != fingerprint(lab.delta(lab.folder / "delta-load")):
            raise AssertionError("the loaded tables differ")
        ratio = times["ours"].median / times["delta"].median
        table.add(
            key_type, times["ours"], times["delta"], f"{ratio:.2f}", "1.0", verdict(ratio <= 1.0),
            key=key_type, ratio=ratio, **times,
        )  # fmt: skip
    return [table]
