"""Mistakes that the trials must find: a harness that finds none proves nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from andes_spark.testing.s3 import S3Server
from tests.soak.mutants import MUTANTS
from tests.soak.race import prove_atomic
from tests.soak.run import run_trial
from tests.soak.trial import CALM, Trial

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.slow]
SEEDS = 8
"""Trials in one of which a planted mistake must be found."""


def test_a_server_that_does_not_evaluate_conditional_puts_is_found(s3_server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="created"):
        prove_atomic(s3_server, tmp_path / "race", seed=1, mutant="store that overwrites")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_mistake_is_found(mutant: str, s3_server: S3Server, tmp_path: Path) -> None:
    for seed in range(SEEDS):
        trial = Trial.drawn(seed, **CALM | MUTANTS[mutant].conditions, mutant=mutant)
        try:
            run_trial(trial, tmp_path / str(seed), s3_server)
        except AssertionError as error:
            logging.getLogger(__name__).info("found by seed %d: %s", seed, error)
            return
    raise AssertionError(f"{mutant} was not found in {SEEDS} trials")
