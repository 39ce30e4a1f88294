"""Apply a PostgreSQL change feed to a table: spark-submit jobs/apply_changes.py TABLE FEED... --help.

Exit code 0: done, and equal to --compare-with if given; 1: failed or not equal; 75: try again.
"""

from __future__ import annotations

import sys

from rich.console import Console

from andes_spark.errors import AndesError
from andes_spark.jobs.apply_changes import parse, run
from andes_spark.spark.session import spark_session


def main() -> int:
    """Run the job that the command line asks for."""
    try:
        job = parse()
    except AndesError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    spark = spark_session("andes_spark apply_changes")
    try:
        return 0 if run(job, spark, Console(width=None if sys.stdout.isatty() else 150)) else 1
    except AndesError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 75 if error.retryable else 1
    finally:
        spark.stop()


if __name__ == "__main__":
    sys.exit(main())
