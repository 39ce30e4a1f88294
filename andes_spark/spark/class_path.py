"""What a Spark that is not started yet brings by itself: the settings of its configuration, and jars of its class path.

A cluster configures its Spark by ``spark-defaults.conf``, in ``SPARK_CONF_DIR`` or below ``SPARK_HOME``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_CLASS_PATH = ("spark.jars", "spark.jars.packages", "spark.driver.extraClassPath")


def spark_home() -> Path:
    """Return the folder of the Spark that pyspark starts."""
    import pyspark

    return Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent)


def configured_settings() -> dict[str, str]:
    """Return the settings of Spark's own configuration on this machine; none where there is no such file."""
    folder = Path(os.environ.get("SPARK_CONF_DIR") or spark_home() / "conf")
    try:
        lines = (folder / "spark-defaults.conf").read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    entries = (line.strip().replace("=", " ", 1).split(None, 1) for line in lines if _is_entry(line))
    return {name: value[0].strip() if value else "" for name, *value in entries}


def provides(jar: str, settings: Mapping[str, str]) -> bool:
    """Return whether a Spark with these settings has a jar, by a part of its name, on the class path of its driver."""
    named = [entry for name in _CLASS_PATH for entry in settings.get(name, "").replace(":", ",").split(",")]
    return any(jar in name for entry in named for name in _names(entry.strip())) or any(
        (spark_home() / "jars").glob(f"*{jar}*.jar")
    )


def _names(entry: str) -> list[str]:
    """Names of the jars of an entry of a class path, which may name all jars of a folder."""
    folder, _, name = entry.rpartition("/")
    return [path.name for path in Path(folder).glob("*.jar")] if name == "*" else [name]


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
