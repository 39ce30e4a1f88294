"""Texts that start a job with the archive on each kind of EMR.

Sources: https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/using-python-libraries.html,
https://docs.aws.amazon.com/emr/latest/ReleaseGuide/Deltausing-cluster-spark.html,
https://docs.aws.amazon.com/emr/latest/EMR-on-EKS-DevelopmentGuide/emr-eks-jobs-parameters.html, and
https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-commandrunner.html.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_FOLDER = "environment"
_INTERPRETER = f"./{_FOLDER}/bin/python"
_DELTA_JARS = ("delta-spark.jar", "delta-storage.jar")
_DELTA_FOLDER = "/usr/share/aws/delta/lib"


@dataclass(frozen=True)
class Job:
    """A Spark job that runs from the archive of this library.

    Attributes:
        archive: S3 URL of the archive.
        script: S3 URL of the job's main file.
        arguments: command-line arguments of the job.
        name: name of the job.
    """

    archive: str
    script: str
    arguments: Sequence[str]
    name: str


def emr_ec2(job: Job) -> Mapping[str, str]:
    """Return a step of a cluster on EC2, and the same as a command on its primary node."""
    settings = _settings(job, "") | {
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON": _INTERPRETER,
        "spark.executorEnv.PYSPARK_PYTHON": _INTERPRETER,
    }
    # YARN unpacks archives for a driver only where it runs the driver (SPARK-36088).
    command = ["spark-submit", "--deploy-mode", "cluster", *_confs(settings), job.script, *job.arguments]
    step = {
        "Name": job.name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": command},
    }
    return {"spark-submit.txt": shlex.join(command) + "\n", "step.json": _json([step])}


def emr_serverless(job: Job) -> Mapping[str, str]:
    """Return the driver of a job run, for ``aws emr-serverless start-job-run --job-driver file://job-driver.json``."""
    settings = _settings(job, "") | {
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": _INTERPRETER,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": _INTERPRETER,
        "spark.executorEnv.PYSPARK_PYTHON": _INTERPRETER,
    }
    submit = {
        "entryPoint": job.script,
        "entryPointArguments": list(job.arguments),
        "sparkSubmitParameters": " ".join(_confs(settings)),
    }
    return {"job-driver.json": _json({"sparkSubmit": submit})}


def emr_eks(job: Job) -> Mapping[str, str]:
    """Return the driver of a job run, for ``aws emr-containers start-job-run --job-driver file://job-driver.json``."""
    settings = _settings(job, "local://") | {"spark.pyspark.python": _INTERPRETER}
    submit = {
        "entryPoint": job.script,
        "entryPointArguments": list(job.arguments),
        "sparkSubmitParameters": " ".join(_confs(settings)),
    }
    return {"job-driver.json": _json({"sparkSubmitJobDriver": submit})}


def emr_studio(job: Job) -> Mapping[str, str]:
    """Return the first cell of a notebook, which configures its session."""
    settings = _settings(job, "") | {
        "spark.pyspark.python": _INTERPRETER,
        "spark.pyspark.driver.python": _INTERPRETER,
    }
    return {"configure.txt": "%%configure -f\n" + _json({"conf": settings})}


TARGETS: Mapping[str, Callable[[Job], Mapping[str, str]]] = {
    "emr-ec2": emr_ec2,
    "emr-serverless": emr_serverless,
    "emr-eks": emr_eks,
    "emr-studio": emr_studio,
}


def _settings(job: Job, scheme: str) -> dict[str, str]:
    return {
        "spark.archives": f"{job.archive}#{_FOLDER}",
        "spark.jars": ",".join(f"{scheme}{_DELTA_FOLDER}/{jar}" for jar in _DELTA_JARS),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }


def _confs(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"
