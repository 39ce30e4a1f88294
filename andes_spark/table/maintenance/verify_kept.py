"""Verification of versions below the floor that a tag keeps: the files that they are evaluated on are there."""

from __future__ import annotations

from functools import partial

from andes_spark.log.readable import floor_of
from andes_spark.log.tags import current_tags
from andes_spark.table.history.travel import lost_file
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.needed import files_of_version
from andes_spark.table.open_table import OpenTable


def check_tagged(open_table: OpenTable, findings: Findings) -> None:
    """Report the files of tagged versions below the floor among those that were found to be missing.

    From the floor on, a version of which the state is gone is evaluated on an older one, and the mods since.
    """
    floor = floor_of(open_table.log)
    for name, tag in (findings.get(partial(current_tags, open_table.log)) or {}).items():
        version = tag.event.version
        if version is None or version >= floor:
            continue
        paths = findings.get(partial(files_of_version, open_table, version)) or set()
        for path in sorted(paths.intersection(findings.missing)):
            findings.check(partial(_refuse, open_table.table, path, name, version))


def _refuse(table: str, path: str, name: str, version: int) -> None:
    raise lost_file(table, path, version, f"the tag {name}")
