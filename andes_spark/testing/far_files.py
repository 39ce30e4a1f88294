"""Files of the base that exist in the Delta log alone, for tests of what a table with many files costs."""

from __future__ import annotations

from andes_spark.delta import actions
from andes_spark.delta.data_file import FOOTER_TAG
from andes_spark.delta.log import create_entry, load_state
from andes_spark.storage.interface import Storage

FIRST_KEY = 10**9
"""Least key of the files; each has a thousand."""


def add_far_files(storage: Storage, count: int, *, key: str = "id", sequence: str = "lsn") -> None:
    """Commit ``count`` files of 10 MiB with other keys to the base, as OPTIMIZE does. Nothing may open them.

    Args:
        storage: folder of a table.
        count: number of files.
        key: column of the key, a BIGINT.
        sequence: column of the sequence, a BIGINT.
    """
    state = load_state(storage)
    adds = []
    for number in range(count):
        low = {key: FIRST_KEY + 1000 * number, sequence: 0}
        adds.append(
            actions.add(
                f"part-far-{number}.parquet",
                size=10 << 20,
                modified_ms=1,
                data_change=False,
                tags={FOOTER_TAG: "1-00000000"},
                statistics={
                    "numRecords": 1000,
                    "minValues": low,
                    "maxValues": {**low, key: low[key] + 999},
                    "nullCount": {key: 0, sequence: 0},
                },
            )
        )
    info = actions.commit_info("OPTIMIZE", timestamp_ms=1, commit_id="far", previous=state.commit_id)
    create_entry(storage, state.version + 1, [info, *adds])
