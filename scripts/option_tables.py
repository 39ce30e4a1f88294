"""Write the tables of options in the guides from what the library declares: python scripts/option_tables.py."""

from __future__ import annotations

import re
from dataclasses import MISSING
from pathlib import Path

from andes_spark.model import (
    adoption_options,
    alter_options,
    history_options,
    options,
    read_options,
    repair_options,
    sync_options,
    upkeep_options,
)
from andes_spark.model.options import Declared, Options, declared_options, defaults, flag_of

DOCS = Path(__file__).parent.parent / "docs"
TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end of options -->\n)", re.DOTALL)


def table(kind: type[Options]) -> str:
    """The options of a verb as a table of Markdown."""
    default = defaults(kind)
    rows = [
        f"| `{name}` | `{flag(name, declared, default[name])}` | {shown(default[name])} | {declared.help} |"
        for name, declared in declared_options(kind).items()
    ]
    head = ["| in Python | on the command line | default | what it does |", "|---|---|---|---|"]
    return "".join(f"{line}\n" for line in [*head, *rows])


def flag(name: str, declared: Declared, default: object) -> str:
    """The flag of an option, with its opposite if it has one."""
    text = flag_of(name, declared)
    return f"{text}, --no-{text[2:]}" if declared.kind.form == "flag" and default is not False else text


def shown(default: object) -> str:
    """A default as code of Python."""
    return "" if default is MISSING else f"`{default!r}`"


def _class(name: str) -> type[Options]:
    modules = (
        *(options, read_options, history_options, adoption_options),
        *(alter_options, upkeep_options, repair_options, sync_options),
    )
    kind: type[Options] = next(getattr(module, name) for module in modules if hasattr(module, name))
    return kind


def written(text: str) -> str:
    """The text of a guide with its tables as they should be."""
    return TABLE.sub(lambda found: found[1] + table(_class(found[2])) + found[3], text)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(written(path.read_text("utf-8")), "utf-8")
