"""Pairs of Spark and Delta: those of fleets are known by their minor releases, others are named once."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from andes_spark.spark import pairs


def session(spark: str, delta: str | None) -> Any:
    """A session by its versions; without Delta as py4j shows a package that does not exist."""
    version = (lambda: delta) if delta is not None else None
    package = SimpleNamespace(VERSION=version)
    return SimpleNamespace(
        version=spark, _jvm=SimpleNamespace(io=SimpleNamespace(delta=SimpleNamespace(package=package)))
    )


@pytest.mark.parametrize(
    ("spark", "delta"), [("3.5.6-amzn-1", "3.3.2-amzn-2"), ("4.0.2-amzn-0", "4.0.0-amzn-1-spark"), ("4.2.0", None)]
)
def test_pairs_of_fleets_are_known(spark, delta, caplog):
    pairs.name_untested(session(spark, delta))
    assert pairs.pair_for(spark) is not None
    assert caplog.records == []


@pytest.mark.parametrize(("spark", "delta"), [("3.5.1", "3.1.0"), ("4.1.1", "4.1.0"), ("5.0.0", None)])
def test_another_pair_is_named_once(spark, delta, caplog):
    for _ in range(2):
        pairs.name_untested(session(spark, delta))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"Spark {spark}" in record.getMessage()
    assert "Spark 3.5 with Delta 3.3; Spark 4.0 with Delta 4.0" in record.getMessage()
    assert delta is None or f"with Delta {delta} is a pair" in record.getMessage()


def test_the_pair_of_the_tests_is_one_of_them(spark, caplog):
    delta = pairs.delta_version(spark)
    assert delta is not None
    pair = pairs.pair_for(spark.version)
    assert pair is not None
    assert pair.delta == pairs.minor(delta)
    pairs.name_untested(spark)
    assert caplog.records == []
