"""A process on S3 that is killed at every named step of an apply, a merge, a compaction and a vacuum."""

from __future__ import annotations

from pathlib import Path

import pytest

from andes_spark.testing.s3 import S3Server
from tests.soak.run import run_trial
from tests.soak.trial import Trial

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.slow]
KILLED = "SIGKILL at "


def test_a_process_killed_at_every_step(s3_server: S3Server, tmp_path: Path) -> None:
    steps: list[str] = []
    for number in range(1, 100):
        trial = Trial(number, roles=("keeper",), batches=1, dies_at=number)
        counts = run_trial(trial, tmp_path / str(number), s3_server)
        killed = [name.removeprefix(KILLED) for name in counts if name.startswith(KILLED)]
        assert counts["kills"] == len(killed)
        if not killed:
            break
        steps += killed
    assert not killed
    assert {"write mods", "commit", "merge rows", "write merge record", "commit to Delta", "delete files"} <= set(steps)
