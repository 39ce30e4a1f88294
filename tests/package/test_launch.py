"""The texts that start a job; their sources are in the module's docstring."""

from __future__ import annotations

import json
import shlex

import pytest

from andes_spark.package.launch import TARGETS, Job

JOB = Job("s3://lake/jobs/andes.tar.gz", "s3://lake/jobs/apply.py", ["s3://lake/orders", "--limit", "a b"], "apply")
PYTHON = "./environment/bin/python"
DELTA = {
    "spark.archives": "s3://lake/jobs/andes.tar.gz#environment",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
JARS = "/usr/share/aws/delta/lib/delta-spark.jar,/usr/share/aws/delta/lib/delta-storage.jar"


def confs(words: list[str]) -> dict[str, str]:
    assert words[::2] == ["--conf"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


def test_a_step_of_a_cluster_on_ec2() -> None:
    texts = TARGETS["emr-ec2"](JOB)
    (step,) = json.loads(texts["step.json"])
    assert (step["Name"], step["ActionOnFailure"]) == ("apply", "CONTINUE")
    assert step["HadoopJarStep"]["Jar"] == "command-runner.jar"
    words = step["HadoopJarStep"]["Args"]
    assert shlex.split(texts["spark-submit.txt"]) == words
    assert words[:3] == ["spark-submit", "--deploy-mode", "cluster"]
    assert words[-4:] == [JOB.script, *JOB.arguments]
    python = {"spark.yarn.appMasterEnv.PYSPARK_PYTHON": PYTHON, "spark.executorEnv.PYSPARK_PYTHON": PYTHON}
    assert confs(words[3:-4]) == DELTA | python | {"spark.jars": JARS}


def test_a_job_run_of_emr_serverless() -> None:
    texts = TARGETS["emr-serverless"](JOB)
    submit = json.loads(texts["job-driver.json"])["sparkSubmit"]
    assert (submit["entryPoint"], submit["entryPointArguments"]) == (JOB.script, JOB.arguments)
    assert confs(submit["sparkSubmitParameters"].split(" ")) == DELTA | {
        "spark.jars": JARS,
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": PYTHON,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": PYTHON,
        "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
    }


def test_a_job_run_of_emr_on_eks() -> None:
    texts = TARGETS["emr-eks"](JOB)
    submit = json.loads(texts["job-driver.json"])["sparkSubmitJobDriver"]
    assert (submit["entryPoint"], submit["entryPointArguments"]) == (JOB.script, JOB.arguments)
    jars = ",".join(f"local://{jar}" for jar in JARS.split(","))
    assert confs(submit["sparkSubmitParameters"].split(" ")) == DELTA | {
        "spark.jars": jars,
        "spark.pyspark.python": PYTHON,
    }


def test_a_cell_of_a_notebook() -> None:
    first, _, rest = TARGETS["emr-studio"](JOB)["configure.txt"].partition("\n")
    assert first == "%%configure -f"
    python = {"spark.pyspark.python": PYTHON, "spark.pyspark.driver.python": PYTHON}
    assert json.loads(rest) == {"conf": DELTA | python | {"spark.jars": JARS}}


@pytest.mark.parametrize("target", TARGETS)
def test_no_text_has_quotes_in_its_parameters(target: str) -> None:
    """EMR splits sparkSubmitParameters at spaces."""
    for text in TARGETS[target](JOB).values():
        assert "'--conf" not in text
        assert "'spark." not in text or "spark-submit" in text
