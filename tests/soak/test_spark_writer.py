"""A Spark job that races with processes without Spark, and is killed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from andes_spark.testing.s3 import S3Server
from tests.soak.run import run_trial
from tests.soak.trial import CALM, Trial

pytestmark = [pytest.mark.sparks, pytest.mark.spark, pytest.mark.integration, pytest.mark.slow]


def test_nothing_is_lost(s3_server: S3Server, tmp_path: Path) -> None:
    given = CALM | {"kills": 1.0, "roles": ("writer", "writer", "appender", "merger", "vacuumer", "reader")}
    trial = Trial.drawn(16, **given).with_spark()
    counts = run_trial(trial, tmp_path / "trial", s3_server)
    assert counts["acknowledged batches"] > 2 * trial.batches - trial.writers
    assert counts["kills"] > 0
