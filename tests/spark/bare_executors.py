"""Run by test_tasks: a table and a Spark whose workers run a Python that lacks this library's packages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def main(jars: str, path: str, python: str) -> None:
    os.environ["PYSPARK_PYTHON"] = python
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    # Workers must not find the packages beside the driver's.
    os.environ.pop("PYTHONPATH", None)
    from andes_spark import ModTable, Settings, spark_session
    from andes_spark.errors import AndesError

    spark = spark_session(master="local[1]", cache_dir=jars, config={"spark.ui.showConsoleProgress": "false"})
    frame = spark.range(5).selectExpr("id", "id AS seq")
    keyed: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["seq"], "settings": Settings(byte_budget=0)}
    table = ModTable.create(path, frame.schema, **keyed)
    outcomes = {}

    def note(name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except AndesError as error:
            outcomes[name] = {
                "error": type(error).__name__,
                "package": error.fields["package"],
                "message": error.message,
                "version": table.version,
            }

    note("apply", lambda: table.apply(frame))
    note("load", lambda: ModTable.create(f"{path}-loaded", frame.schema, data=frame, **keyed))
    spark.stop()
    print(json.dumps(outcomes))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
