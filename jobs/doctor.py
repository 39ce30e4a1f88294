"""Check a cluster: spark-submit jobs/doctor.py [--scratch s3://bucket/folder].

Exit code 0: no check failed; 1: one did. On one machine: andes doctor.
"""

from __future__ import annotations

import argparse
import sys

from andes_spark.doctor.examine import examine
from andes_spark.spark.session import spark_session


def main() -> int:
    """Print the report of an examination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", help="folder that all machines of the cluster reach")
    scratch = parser.parse_args().scratch
    report = examine(scratch, session=lambda: spark_session("andes_spark doctor"))
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
