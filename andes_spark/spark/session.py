"""Spark sessions: created with the required jars and settings, or a user's own, checked and not changed.

Which jars, and how they are fetched, is in ``jars.py``. Nothing here runs a Spark job.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from andes_spark.errors import MissingPackageError, OptionError
from andes_spark.spark import jars
from andes_spark.spark.class_path import configured_settings, provides
from andes_spark.spark.hadoop import S3A_CLASS, serve_s3, set_credentials, without_secrets

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXTENSIONS = "spark.sql.extensions"
CATALOG = "spark.sql.catalog.spark_catalog"
JAVA_OPTIONS = "spark.driver.extraJavaOptions"
DELTA_EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
DELTA_CATALOG = "org.apache.spark.sql.delta.catalog.DeltaCatalog"


def spark_session(
    app_name: str = "andes_spark",
    *,
    master: str | None = None,
    config: Mapping[str, str] | None = None,
    s3: bool | None = None,
    cache_dir: str | Path | None = None,
) -> SparkSession:
    """Return the active session if there is one, else start one that supports Delta and S3.

    An active session is checked and returned as it is: the other arguments then change nothing. A new one
    gets the jars of Delta and S3A for the installed pyspark where Spark's own configuration has none, Delta's
    extension and catalog, progress bars and Arrow; with a local master it also logs errors only, binds to the
    loopback address and shows no UI. Whatever ``config`` says wins, except that extensions and jars are added to
    those of ``config``. Credentials of ``config`` are no arguments of the JVM, and in no list of processes.

    Args:
        app_name: name of the application.
        master: such as ``"local[4]"``; by default what spark-submit or Spark's own configuration says,
            else all cores of this machine.
        config: further settings of Spark.
        s3: True if ``s3a://`` is needed, so that a session without S3A is an error; False for a new session
            without S3A. A new session with it serves ``s3://`` too.
        cache_dir: folder of the jars; by default one in the user's cache. They are fetched once, which
            needs the network.

    Raises:
        OptionError: the active session, or ``config``, lacks settings that Delta needs; they are named.
        MissingPackageError: pyspark, Java or a jar is missing.
        UnsupportedTableError: there is no known Delta release for the installed pyspark.
    """
    version = jars.installed_spark()
    active = _active_session()
    if active is not None:
        require_delta(active)
        if s3:
            _require_class(active, S3A_CLASS, "hadoop-aws")
        return active
    running = _jvm_runs()
    requested_settings = {name: str(value) for name, value in (config or {}).items()}
    if master is not None:
        requested_settings["spark.master"] = master
    configured = (_submitted() if running else configured_settings()) | requested_settings
    _check_catalog(configured)
    local = _is_local(configured)
    defaults = {name: value for name, value in _defaults(local=local).items() if name not in configured}
    settings = {**defaults, **requested_settings, EXTENSIONS: _with_delta(configured)}
    if not running:
        settings["spark.jars"] = _with_jars(configured, version, s3=s3, cache_dir=cache_dir)
        if local:
            settings[JAVA_OPTIONS] = _with_quiet_logs(configured)
            # Workers would otherwise run the first python3 of PATH, which may lack our packages.
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return _start(app_name, settings, local=local, s3=s3)


def spark_for(spark: SparkSession | None = None) -> SparkSession:
    """Return the session passed, or the active one, after a check that it supports Delta; starts none.

    Raises:
        OptionError: there is no active session, or it lacks settings that Delta needs.
        MissingPackageError: pyspark or Delta's jar is missing.
    """
    jars.installed_spark()
    session = spark if spark is not None else _active_session()
    if session is None:
        raise OptionError(
            "no Spark session is active: call andes_spark.spark_session() first, or pass your own as spark=",
            option="spark",
        )
    require_delta(session)
    return session


def require_delta(spark: SparkSession) -> None:
    """Check that a session supports Delta. Changes nothing.

    Raises:
        OptionError: settings are missing; ``settings`` names them with the values they need.
        MissingPackageError: the settings are there and Delta's jar is not.
    """
    missing = {}
    extensions = str(spark.conf.get(EXTENSIONS, "") or "")
    if DELTA_EXTENSION not in _split(extensions):
        missing[EXTENSIONS] = ",".join([*_split(extensions), DELTA_EXTENSION])
    if spark.conf.get(CATALOG, "") != DELTA_CATALOG:
        missing[CATALOG] = DELTA_CATALOG
    if missing:
        settings = ", ".join(f"{name}={value}" for name, value in missing.items())
        raise OptionError(
            f"this Spark session cannot do Delta; stop it and start it again with {settings},"
            " or let andes_spark.spark_session() start one",
            settings=missing,
        )
    _require_class(spark, DELTA_EXTENSION, "delta-spark")


def _defaults(*, local: bool) -> dict[str, str]:
    settings = {
        CATALOG: DELTA_CATALOG,
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # With a limit of bytes, Spark measures all columns anew for each row that it hands to Python, most of the time
        # that this takes. So many rows at once stay below Arrow's 2 GiB for a column up to rows of 2 MiB.
        "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
    }
    if local:
        settings |= {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            # Delta replays its log in 50 tasks by default, which suits a cluster.
            "spark.databricks.delta.snapshotPartitions": "4",
        }
    return settings


def _submitted() -> dict[str, str]:
    """Return the settings of spark-submit, which started the JVM."""
    from pyspark import SparkConf

    return dict(SparkConf().getAll())


def _check_catalog(configured: Mapping[str, str]) -> None:
    catalog = configured.get(CATALOG, DELTA_CATALOG)
    if catalog != DELTA_CATALOG:
        raise OptionError(
            f"{CATALOG} is {catalog}; Delta needs {DELTA_CATALOG}: give the other catalog a name of its own",
            option="config",
            settings={CATALOG: DELTA_CATALOG},
        )


def _is_local(configured: Mapping[str, str]) -> bool:
    if "spark.master" in configured:
        return configured["spark.master"].startswith("local")
    # Nobody named a master: Spark's own configuration may, if there is one besides pyspark's.
    return not any(os.environ.get(name) for name in ("MASTER", "SPARK_CONF_DIR", "SPARK_HOME"))


def _with_delta(configured: Mapping[str, str]) -> str:
    extensions = _split(configured.get(EXTENSIONS, ""))
    return ",".join(extensions if DELTA_EXTENSION in extensions else [*extensions, DELTA_EXTENSION])


def _with_jars(configured: Mapping[str, str], version: str, *, s3: bool | None, cache_dir: str | Path | None) -> str:
    paths = _split(configured.get("spark.jars", ""))
    added: list[Path] = []
    if not provides("delta-spark", configured):
        added += jars.delta_jars(version, cache_dir=cache_dir)
    if s3 is not False and not provides("hadoop-aws", configured):
        try:
            added += jars.s3a_jars(version, cache_dir=cache_dir)
        except MissingPackageError as error:
            if s3:
                raise
            raise MissingPackageError(
                f"{error.message}; a session without S3 is started by spark_session(s3=False)", package=error.package
            ) from error
    return ",".join([*paths, *(path.as_uri() for path in added)])


def _with_quiet_logs(configured: Mapping[str, str]) -> str:
    options = configured.get(JAVA_OPTIONS, "")
    if "log4j" in options:
        return options
    with resources.as_file(resources.files(__package__) / "log4j2.properties") as path:
        return f"{options} -Dlog4j2.configurationFile={path.as_uri()}".strip()


def _start(app_name: str, settings: Mapping[str, str], *, local: bool, s3: bool | None) -> SparkSession:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    # A copy of its own: the builder of pyspark is one object that keeps the options of its last use.
    builder = type(builder)().appName(app_name)
    visible_settings, credentials = without_secrets(settings)
    for name, value in visible_settings.items():
        builder = builder.config(name, value)
    session: SparkSession = builder.getOrCreate()
    try:
        require_delta(session)
        if s3:
            _require_class(session, S3A_CLASS, "hadoop-aws")
    except (OptionError, MissingPackageError):
        session.stop()
        raise
    set_credentials(session, credentials)
    if has_class(session, S3A_CLASS):
        serve_s3(session)
    if local:
        # Where spark-submit started the JVM, its logging was configured before us.
        session.sparkContext.setLogLevel("ERROR")
    return session


def _active_session() -> SparkSession | None:
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    try:
        session = SparkSession.active()
    except PySparkRuntimeError:
        return None
    # pyspark goes on to name a session whose context was stopped by hand.
    return session if is_running(session) else None


def is_running(session: SparkSession) -> bool:
    """Return whether a session was not stopped; always true with Spark Connect, where it is unknown."""
    context = getattr(session, "_sc", None)
    return context is None or context._jsc is not None


def is_connect(session: SparkSession) -> bool:
    """Return whether a session is a client of Spark Connect."""
    return type(session).__module__.startswith("pyspark.sql.connect")


def require_running(session: SparkSession) -> None:
    """Refuse a session that was stopped, or is of Spark Connect before 4.0.

    Raises:
        OptionError: nothing can be asked of it.
    """
    version = jars.installed_spark()
    if is_connect(session) and version.startswith("3."):
        raise OptionError(
            f"Spark Connect is supported from Spark 4.0 on, and this is pyspark {version}: use a classic session",
            option="spark",
        )
    if not is_running(session):
        raise OptionError(
            "the Spark session was stopped; start one with spark_session() and make the DataFrame anew",
            option="spark",
        )


def _jvm_runs() -> bool:
    from pyspark import SparkContext

    return SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ


def has_class(spark: SparkSession, name: str) -> bool:
    """Return whether the driver has a class; false with Spark Connect, where it is unknown."""
    jvm: Any = getattr(spark, "_jvm", None)
    if jvm is None:
        return False
    from py4j.protocol import Py4JJavaError

    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(name)
    except Py4JJavaError:
        return False
    return True


def _require_class(spark: SparkSession, name: str, package: str) -> None:
    """Check that the driver has a class; not checked with Spark Connect."""
    if getattr(spark, "_jvm", None) is None or has_class(spark, name):
        return
    extra = " --s3" if package == "hadoop-aws" else ""
    raise MissingPackageError(
        f"Spark runs without {name} (jar {package}); hand its jars over when the JVM starts:"
        f' spark-submit --jars "$(python -m andes_spark.spark.jars{extra})" ...',
        package=package,
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
