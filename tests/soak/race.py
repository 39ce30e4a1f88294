"""Proof that a server evaluates conditional puts atomically, before anything is built on it."""

from __future__ import annotations

import time
from pathlib import Path

from andes_spark.storage.open import open_storage
from andes_spark.testing.s3 import S3Server
from tests.soak.run import Run
from tests.soak.trial import Role, Trial
from tests.soak.workers import RACES

RACERS: tuple[Role, ...] = ("racer",) * 6
START_S = 1.5


def prove_atomic(server: S3Server, folder: Path, *, seed: int, mutant: str | None = None) -> int:
    """Let processes create the same objects at the same moments: exactly one may create each; return their number."""
    folder.mkdir()
    trial = Trial(seed, roles=RACERS, batches=0, mutant=mutant)
    url = f"s3://{server.make_bucket()}/race"
    run = Run(trial, url, server.options, folder, None, at=time.time() + START_S)
    run.run()
    storage = open_storage(url, options=server.options)
    assert len(run.heard.created) == RACES
    for number, winners in run.heard.created.items():
        content = storage.get(f"{number:03d}").decode()
        assert [content] == [str(winner) for winner in winners], f"race {number}: {winners} created {content}"
    return RACES
