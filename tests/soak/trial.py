"""What a trial is made of: a table, processes that work on it, what happens to them, and the batches that they send."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

import pyarrow as pa

from andes_spark.testing.oracle import Mod

KEYS, ROWS = 12, 5
"""Keys of a writer, or of all, and rows of a batch: few keys, so that batches meet."""
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("part", pa.string()),
        pa.field("lsn", pa.int64(), nullable=False),
        pa.field("value", pa.string()),
    ]
)
DELETES = "op = 'D'"
CALM: dict[str, Any] = {"store": "s3", "kills": 0.0, "pauses": 0.0, "faults": 0.0, "clocks": False}
"""Given of trials in which nothing but races happens."""
Row = dict[str, Any]
Store = Literal["s3", "disk", "small disk"]
Role = Literal["writer", "appender", "merger", "vacuumer", "reader", "keeper", "racer", "spark"]


@dataclass(frozen=True)
class Trial:
    """A trial; equal trials send equal batches.

    Attributes:
        seed: of everything random.
        store: S3 behind a proxy that fails, a disk, or a disk that is full, or read-only, at times.
        roles: of the processes beside each other.
        batches: number of batches of each writer.
        same_keys: whether writers write the same keys.
        partitioned: whether the base is partitioned, by a column that changes from batch to batch.
        sequenced: whether mods have a sequence.
        merge: merge policy of the table.
        kills, pauses, faults: number of each in a second.
        clocks: whether some clocks are wrong at first.
        dies_at: number of the step at which the first process kills itself.
        mutant: name of the mistake that is planted into the processes.
    """

    seed: int
    store: Store = "s3"
    roles: tuple[Role, ...] = ("writer",) * 4
    batches: int = 8
    same_keys: bool = True
    partitioned: bool = False
    sequenced: bool = True
    merge: Literal["manual", "always"] = "manual"
    kills: float = 0.0
    pauses: float = 0.0
    faults: float = 0.0
    clocks: bool = False
    dies_at: int | None = None
    mutant: str | None = None

    @classmethod
    def drawn(cls, seed: int, **options: Any) -> Trial:
        """Draw a trial, but for what is given."""
        random = Random(seed)
        writers = random.choices(("writer", "appender"), (3, 1), k=4)
        others = random.choice((["merger", "vacuumer"], ["merger", "merger", "vacuumer"], ["merger"], ["vacuumer"]))
        drawn: dict[str, Any] = {
            "store": random.choices(("s3", "disk", "small disk"), (6, 3, 1))[0],
            "roles": (*writers, *others, "reader"),
            "batches": random.randint(5, 12),
            "same_keys": random.random() < 0.5,
            "partitioned": random.random() < 0.5,
            "sequenced": random.random() < 0.7,
            "merge": random.choice(("manual", "always")),
            "kills": random.choice((0.0, 1.0, 3.0)),
            "pauses": random.choice((0.0, 1.0, 2.0)),
            "faults": random.choice((0.0, 2.0, 8.0)),
            "clocks": random.random() < 0.3,
        }
        return cls(seed, **{**drawn, **options})

    def with_spark(self) -> Trial:
        """The same with a Spark job as its first writer."""
        return replace(
            self, roles=("spark", *self.roles[1:]), store="disk" if self.store == "small disk" else self.store
        )

    @property
    def has_spark(self) -> bool:
        return "spark" in self.roles

    @property
    def writers(self) -> int:
        """Number of processes that send batches; they come first."""
        return sum(role in ("writer", "appender", "keeper", "spark") for role in self.roles)

    def __str__(self) -> str:
        keys = "same" if self.same_keys else "different"
        flags = [name for name in ("partitioned", "sequenced", "clocks") if getattr(self, name)]
        rates = [f"{getattr(self, name):g} {name}" for name in ("kills", "pauses", "faults") if getattr(self, name)]
        return ", ".join([self.store, *self.roles, f"{keys} keys", f"merge {self.merge}", *flags, *rates])


def rows_of(trial: Trial, writer: int, number: int) -> list[Row]:
    """Rows of a batch, with their operation; sequences differ between all batches."""
    random = Random(f"{trial.seed} {writer} {number}")
    first = 0 if trial.same_keys else KEYS * writer
    return [
        {
            "id": key,
            "part": random.choice(("a", "b", "c/d")),
            "lsn": number * trial.writers + writer,
            "value": f"{writer} {number}",
            "op": "D" if random.random() < 0.2 else "U",
        }
        for key in random.sample(range(first, first + KEYS), ROWS)
    ]


def loaded_rows(trial: Trial) -> list[Row]:
    """Rows that the table is created with."""
    keys = range(KEYS if trial.same_keys else KEYS * trial.writers)
    return [{"id": key, "part": "a", "lsn": -1, "value": "loaded", "op": "U"} for key in keys]


def table_of(rows: list[Row], *, with_op: bool = True) -> pa.Table:
    """Rows for ``apply``, or for ``create``."""
    return pa.Table.from_pylist(rows, schema=SCHEMA.append(pa.field("op", pa.string())) if with_op else SCHEMA)


def mods_of(trial: Trial, rows: list[Row], batch: int = 0) -> list[Mod]:
    """The same for the oracle."""
    names = [name for name in SCHEMA.names if name != "id" and not (trial.sequenced and name == "lsn")]
    return [
        Mod(
            "delete" if row["op"] == "D" else "upsert",
            (row["id"],),
            (row["lsn"],) if trial.sequenced else None,
            {name: row[name] for name in names},
            batch=batch,
        )
        for row in rows
    ]
