"""Versions of Spark on which tests differ."""

from __future__ import annotations

import pyspark

BEFORE_4 = pyspark.__version__.startswith("3.")
