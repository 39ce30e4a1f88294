"""Rows of the tables on S3: a key, a sequence and a name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

DELAY = 0.025
"""Seconds that are added to each request."""
SCHEMA = pa.schema([pa.field("id", pa.int64(), False), ("seq", pa.int64()), ("name", pa.string())])


def keyed_rows(keys: Any, sequence: int) -> pa.Table:
    """Rows of some keys, all with one sequence."""
    identifiers = np.asarray(keys, np.int64)
    names = pa.array(identifiers).cast(pa.string())
    return pa.table([identifiers, np.full(len(identifiers), sequence, np.int64), names], schema=SCHEMA)
