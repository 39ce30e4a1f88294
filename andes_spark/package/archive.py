"""The archive: this library and all that it requires but Spark and Delta, which a cluster brings.

It is built by pip for the machine and the Python of the cluster, whatever the machine that builds it, and has no
Python of its own: ``bin/python`` starts the cluster's with the archive's packages. So nothing in it depends on the
place where it is unpacked. Spark's way to ship packages by ``spark.archives`` is described in
https://spark.apache.org/docs/latest/api/python/tutorial/python_packaging.html.
"""

from __future__ import annotations

import email
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from andes_spark.errors import MissingPackageError, OptionError

ARCHITECTURES = ("x86_64", "aarch64")
PYTHON = "3.11"
"""Python that all supported releases of EMR have."""
# Amazon Linux 2023 has glibc 2.34.
_GLIBC = (28, 27, 26, 24, 17)
_BROUGHT = ("pyspark", "delta-spark")
_EXTRA = re.compile(r"""\s*;\s*extra\s*==\s*["']spark["']\s*$""")
_LAUNCHER = """\
#!/bin/sh
# The cluster's Python {python}, with the packages of this archive.
here=$(cd "$(dirname "$0")/.." && pwd)
PYTHONPATH="$here/lib${{PYTHONPATH:+:$PYTHONPATH}}"
export PYTHONPATH
if ! command -v python{python} >/dev/null; then
    echo "the archive is for Python {python}, and this machine has no python{python}: andes package --python" >&2
    exit 127
fi
exec python{python} "$@"
"""


def build_archive(wheel: Path, folder: Path, *, arch: str, python: str = PYTHON) -> Path:
    """Build ``andes-<version>-py<python>-<arch>.tar.gz``. Asks the package index that pip is configured for.

    Args:
        wheel: wheel of this library.
        folder: where the archive is written.
        arch: machine of the cluster, ``x86_64`` or ``aarch64``.
        python: version of its Python, such as ``3.11``.

    Returns:
        Path of the archive.

    Raises:
        OptionError: the wheel is none of this library.
        MissingPackageError: pip found no packages for that machine and Python.
    """
    version, requirements = _described(wheel)
    archive = folder / f"andes-{version}-py{python}-{arch}.tar.gz"
    with tempfile.TemporaryDirectory(prefix="andes-package-") as work:
        library = Path(work) / "lib"
        _install([str(wheel.resolve()), *requirements], library, arch=arch, python=python)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_suffix(".unfinished")
        _pack(library, unfinished, _LAUNCHER.format(python=python).encode())
        unfinished.replace(archive)
    return archive


def _described(wheel: Path) -> tuple[str, list[str]]:
    """Version of a wheel, and what its extra for Spark requires beside Spark and Delta."""
    try:
        with zipfile.ZipFile(wheel) as content:
            name = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = email.message_from_bytes(content.read(name))
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise OptionError(f"{wheel} is no wheel: build one by make wheel", option="wheel", value=str(wheel)) from error
    if metadata["Name"].replace("-", "_") != "andes_spark":
        raise OptionError(
            f"{wheel} is a wheel of {metadata['Name']}, not of andes_spark", option="wheel", value=str(wheel)
        )
    lines = [str(line) for line in metadata.get_all("Requires-Dist", [])]
    extra = [_EXTRA.sub("", line) for line in lines if _EXTRA.search(line)]
    return metadata["Version"], [line for line in extra if not line.startswith(_BROUGHT)]


def _install(requirements: Sequence[str], folder: Path, *, arch: str, python: str) -> None:
    platforms = [f"manylinux_2_{glibc}_{arch}" for glibc in _GLIBC] + [f"manylinux2014_{arch}", "any"]
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
        "--target", str(folder), "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
    ]  # fmt: skip
    command += [part for platform in platforms for part in ("--platform", platform)]
    process = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if process.returncode:
        raise MissingPackageError(f"pip found no packages for Python {python} on {arch}: {_last_line(process.stderr)}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "it said nothing"


def _pack(library: Path, archive: Path, launcher: bytes) -> None:
    """Write the archive, with the same bytes for the same packages."""
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        entry = tarfile.TarInfo("bin/python")
        entry.size, entry.mode = len(launcher), 0o755
        tar.addfile(entry, io.BytesIO(launcher))
        for path in sorted(library.rglob("*")):
            if path.is_file() and path.suffix != ".pyc" and path.relative_to(library).parts[0] != "bin":
                entry = tarfile.TarInfo(f"lib/{path.relative_to(library)}")
                entry.size, entry.mode = path.stat().st_size, 0o644 | (path.stat().st_mode & 0o111)
                with path.open("rb") as file:
                    tar.addfile(entry, file)
