"""Trials: processes that race, are killed and paused, on a store that fails. ``make soak`` goes on with these."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from andes_spark.testing.s3 import S3Server
from tests.soak.race import prove_atomic
from tests.soak.run import run_trial
from tests.soak.trial import CALM, Trial
from tests.soak.workers import RACES

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.slow]
SEED = 16
RACING = ("writer",) * 4
TRIALS: dict[str, dict[str, Any]] = {
    "races on the same keys": {"same_keys": True, "roles": (*RACING, "merger", "vacuumer", "reader")},
    "races on different keys": {"same_keys": False, "partitioned": True, "sequenced": False},
    "kills": {"kills": 3.0, "merge": "always"},
    "faults": {"faults": 8.0, "merge": "always"},
    "pauses": {"pauses": 3.0, "roles": (*RACING, "merger", "merger", "vacuumer", "reader")},
    "clocks": {"clocks": True},
    "all on a disk": {"store": "disk", "kills": 3.0, "pauses": 2.0, "clocks": True, "partitioned": True},
    "a disk that is full or read-only at times": {"store": "small disk", "kills": 1.0},
}


def test_the_server_evaluates_conditional_puts_atomically(s3_server: S3Server, tmp_path: Path) -> None:
    assert prove_atomic(s3_server, tmp_path / "race", seed=1) == RACES


@pytest.mark.parametrize("name", TRIALS)
def test_nothing_is_lost(name: str, s3_server: S3Server, tmp_path: Path) -> None:
    trial = Trial.drawn(SEED, **CALM | TRIALS[name])
    counts = run_trial(trial, tmp_path / "trial", s3_server)
    logging.getLogger(__name__).info("%s: %s", trial, counts)
    assert counts["acknowledged batches"] > 0
    for harm in ("kills", "faults", "pauses"):
        assert bool(counts[harm]) == bool(getattr(trial, harm)), counts
