"""The command line: ``andes <noun> <verb>``. One module per noun; it parses, calls the library and shows."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code: 0 ok, 1 failure, 2 wrong usage, 75 worth trying again."""
    from andes_spark.cli.app import andes

    try:
        andes(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
