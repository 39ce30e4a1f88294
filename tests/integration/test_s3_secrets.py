"""Credentials are in no log, error, plan, event file, list of processes or object of the table: a canary is sought."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import S3Server
from tests.conftest import ROOT
from tests.integration.processes import arguments_of_processes
from tests.spark.test_session import run_python

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.slow]
CANARY = "CANARYc4n4ry"

WORK = """
import logging, traceback
logging.basicConfig(level=logging.DEBUG)
from andes_spark import ModTable, Settings, spark_session
from andes_spark.errors import AndesError
from tests.integration.processes import arguments_of_processes
hadoop = "spark.hadoop.fs.s3a."
spark = spark_session("canary", master="local[1]", cache_dir={jars!r}, config={{
    hadoop + "endpoint": {endpoint!r}, hadoop + "endpoint.region": "us-east-1", hadoop + "path.style.access": "true",
    hadoop + "access.key": {canary!r} + "1", hadoop + "secret.key": {canary!r} + "2",
    hadoop + "session.token": {canary!r} + "3",
    "spark.eventLog.enabled": "true", "spark.eventLog.dir": {events!r}, "spark.sql.warehouse.dir": {events!r}}})
spark.sparkContext.setLogLevel("INFO")
options = {{"aws_endpoint": {endpoint!r}, "aws_region": "us-east-1", "aws_allow_http": "true",
    "aws_access_key_id": {canary!r} + "4", "aws_secret_access_key": {canary!r} + "5",
    "aws_session_token": {canary!r} + "6"}}
rows = spark.range(20).selectExpr("id", "id AS seq")
for number, access in enumerate((None, options)):
    url = f"s3a://{bucket}/t{{number}}"
    table = ModTable.create(url, data=rows, primary_key="id", sequence_by="seq", storage_options=access,
        settings=Settings(byte_budget=0), progress=print)
    table.apply(rows.selectExpr("id", "id + 20 AS seq"), merge=True)
    frame = table.read()
    frame.explain("extended")
    print(frame._jdf.queryExecution().toString(), frame.count(), table, repr(table), table.status(), table.history())
    for bad in (
        lambda: ModTable.open(url + "/none", storage_options=access),
        lambda: ModTable.open("s3://no-such-bucket/t", storage_options=access),
        lambda: ModTable.open(url, storage_options={{**options, "aws_endpoint": "https://u:{canary}7@host"}}),
        lambda: ModTable.open(url, storage_options={{**options, "aws_sesion_token": "{canary}8"}}),
    ):
        try:
            bad()
        except AndesError as error:
            print(repr(error), error.fields)
            traceback.print_exc()
        else:
            raise AssertionError(bad)
print(arguments_of_processes())
spark.stop()
print("finished")
"""


def test_a_canary_is_found_nowhere(s3_server: S3Server, jars_dir: Path, tmp_path: Path) -> None:
    bucket = s3_server.make_bucket()
    code = WORK.format(
        jars=str(jars_dir), endpoint=s3_server.endpoint, events=tmp_path.as_uri(), bucket=bucket, canary=CANARY
    )
    script = tmp_path / "work.py"
    script.write_text(code)
    process = run_python(f"exec(open({str(script)!r}).read())", PYTHONPATH=str(ROOT))
    assert process.returncode == 0, process.stderr[-3000:]
    assert "finished" in process.stdout
    script.unlink()
    events = [path for path in tmp_path.rglob("*") if path.is_file()]
    stored = S3Storage(f"s3://{bucket}", s3_server.options)
    objects = {info.path: stored.get(info.path) for info in stored.list()}
    assert any("SparkListener" in path.read_text(errors="replace") for path in events)
    assert "BlockManager" in process.stderr, "Spark's own log is missing"
    assert len(objects) > 10
    places = {"stdout": process.stdout.encode(), "stderr": process.stderr.encode()}
    places |= {str(path): path.read_bytes() for path in events} | objects
    assert [name for name, content in places.items() if CANARY.encode() in content] == []


def test_the_search_finds_a_planted_leak() -> None:
    """What a process was started with is there to be seen."""
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", CANARY])
    try:
        deadline = time.monotonic() + 20
        while CANARY not in arguments_of_processes():
            assert time.monotonic() < deadline
    finally:
        sleeping.kill()
        sleeping.wait()
