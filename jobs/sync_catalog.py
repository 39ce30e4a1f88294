"""Show tables in Glue: spark-submit jobs/sync_catalog.py sales.orders=s3://lake/orders ... --help.

Starts no Spark session; python runs it as well. Exit code 0: done; 75: try again; 1: another failure.
"""

from __future__ import annotations

import sys

from andes_spark.errors import AndesError
from andes_spark.jobs.sync_catalog import parse, run


def main() -> int:
    """Run the job that the command line asks for."""
    try:
        return run(parse(), print)
    except AndesError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
