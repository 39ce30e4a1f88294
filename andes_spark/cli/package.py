"""``andes package``: an archive with this library for a cluster, and the text that starts a job with it."""

from __future__ import annotations

from pathlib import Path

import click

from andes_spark.cli.help import Command
from andes_spark.cli.output import Form, Output
from andes_spark.errors import OptionError
from andes_spark.package.archive import ARCHITECTURES, PYTHON
from andes_spark.package.launch import TARGETS


@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("job", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="JOB")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
@click.option("--target", type=click.Choice(list(TARGETS)), required=True, help="Where the job runs.")
@click.option("--arch", type=click.Choice(ARCHITECTURES), default="x86_64", show_default=True, help="Machines there.")
@click.option("--python", default=PYTHON, show_default=True, help="Version of the cluster's Python.")
@click.option("--location", required=True, metavar="URL", help="S3 folder that the files will be copied to.")
@click.option(
    "--wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Wheel of andes_spark; by default the only one in dist/.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("dist/package"), show_default=True,
    help="Folder that the files are written to.",
)  # fmt: skip
@click.option(
    "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Form of what is printed.",
)  # fmt: skip
@click.pass_context
def package(
    ctx: click.Context,
    job: Path,
    arguments: tuple[str, ...],
    target: str,
    arch: str,
    python: str,
    location: str,
    wheel: Path | None,
    out: Path,
    form: Form,
) -> None:
    """Build an archive with this library for a cluster, and write the text that starts JOB with it.

    JOB is the main file of the job; ARGUMENTS, after --, are given to it. The archive holds neither Python nor Spark
    nor Delta: the cluster brings them. Copy the folder of --out to --location before the job starts.
    """
    from andes_spark.package.archive import build_archive
    from andes_spark.package.launch import Job

    output = Output(form)
    ctx.meta[Output.__name__] = output
    if not location.startswith(("s3://", "s3a://")):
        raise OptionError(
            f"--location is an S3 folder such as s3://bucket/jobs, and {location} is none", option="location"
        )
    with output.progress("package") as step:
        step("build the archive")
        archive = build_archive(wheel or _only_wheel(), out, arch=arch, python=python)
    (out / job.name).write_bytes(job.read_bytes())
    folder = location.rstrip("/")
    texts = TARGETS[target](Job(f"{folder}/{archive.name}", f"{folder}/{job.name}", arguments, job.stem))
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    files = [archive.name, job.name, *texts]
    output.document(
        {
            "folder": str(out),
            "files": files,
            "bytes": archive.stat().st_size,
            "copy": f"aws s3 cp {out} {folder} --recursive",
        }
    )


def _only_wheel() -> Path:
    wheels = sorted(Path("dist").glob("andes_spark-*.whl"))
    if len(wheels) != 1:
        wheel_count = "no wheel" if not wheels else f"{len(wheels)} wheels"
        raise OptionError(
            f"dist/ has {wheel_count} of andes_spark: build one by make wheel, or give --wheel", option="wheel"
        )
    return wheels[0]
