"""Spark Connect: the verbs that a client can have, against a server of its own; the others are refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from andes_spark.errors import OptionError
from andes_spark.spark.jars import delta_jars
from andes_spark.spark.session import require_running
from tests.spark.versions import BEFORE_4

ROOT = Path(__file__).parents[2]


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.skipif(BEFORE_4, reason="Spark Connect is supported from Spark 4.0 on")
def test_a_client_of_connect_uses_tables(jars_dir: Path, tmp_path: Path) -> None:
    jars = ",".join(str(path) for path in delta_jars(cache_dir=jars_dir))
    process = subprocess.run(
        [sys.executable, "-m", "tests.spark.connect", jars, str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr + (tmp_path / "server.log").read_text()[-3000:]
    outcomes = json.loads(process.stdout.splitlines()[-1])
    for place in ("here", "tasks"):
        assert outcomes[place] == {
            "counts": [20, 20, 10],
            "fresh": [980, 0, 20],
            "status": "merged",
            "merged": [980, 0, 20],
            "delta": [980, 0, 20],
            "view": 980,
            "changes": {"delete": 20, "update_postimage": 20},
            "problems": [],
        }
    assert outcomes["throttled"] == ["ThrottledError", True, 503]
    assert outcomes["stream"][0] == "OptionError"
    assert "apply_stream needs a classic Spark session" in outcomes["stream"][1]


def test_connect_before_spark_4_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    connected = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
    monkeypatch.setattr(pyspark, "__version__", "3.5.6")
    with pytest.raises(OptionError, match=r"supported from Spark 4\.0 on, and this is pyspark 3\.5\.6"):
        require_running(connected)
    monkeypatch.setattr(pyspark, "__version__", "4.0.2")
    require_running(connected)
