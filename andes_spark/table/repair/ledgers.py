"""Lost files of batch ids: they are made again from the manifests of their versions, byte by byte."""

from __future__ import annotations

from collections.abc import Collection

from andes_spark.log.ledger import made_again
from andes_spark.table.open_table import OpenTable


def ledgers_again(open_table: OpenTable, damaged: Collection[str]) -> dict[str, bytes]:
    """Return the content of damaged files of batch ids, as far as the manifests still give what was committed."""
    log = open_table.log
    manifests = log.manifests(0, log.head)
    files = {
        file.path: file
        for manifest in manifests
        for file in (manifest.roll_up.ledger if manifest.roll_up is not None else ())
        if file.path in damaged
    }
    contents = {
        path: made_again(manifests[file.from_version : file.to_version + 1], file) for path, file in files.items()
    }
    return {path: data for path, data in contents.items() if data is not None}


def put_again(open_table: OpenTable, contents: dict[str, bytes]) -> None:
    """Put files of batch ids in the place of damaged ones."""
    for path, data in contents.items():
        open_table.storage.put(path, data)
