"""A Python that is too old is told so in one sentence, by code that it can still read."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_an_older_python_is_told_which_configuration_helps() -> None:
    source = (ROOT / "andes_spark" / "__init__.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 7))
    code = "import sys; sys.version_info = (3, 9, 16); import andes_spark"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        "ImportError: andes_spark needs Python 3.11 or newer and this is Python 3.9: start the job with"
        " --conf spark.pyspark.python=/usr/bin/python3.11 (EMR 7 has it), or set PYSPARK_PYTHON to such a Python"
        " on the driver and the executors"
    )
