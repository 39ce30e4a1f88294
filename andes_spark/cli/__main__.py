"""The command line as ``python -m andes_spark.cli``."""

import sys

from andes_spark.cli import main

if __name__ == "__main__":
    sys.exit(main())
