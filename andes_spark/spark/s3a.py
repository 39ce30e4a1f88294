"""S3A, with which Spark itself reaches S3: its settings and credentials as storage options, and the other way round.

S3A takes a setting ``fs.s3a.bucket.<bucket>.<name>`` before ``fs.s3a.<name>``. Credentials come from a list of
providers of its own, which a cluster may replace, for example where a job runs with a role of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from andes_spark.errors import AccessDeniedError, AndesError, MissingPackageError, StorageError
from andes_spark.spark.hadoop import S3A_CLASS, unlogged
from andes_spark.spark.session import has_class, is_connect, is_running
from andes_spark.storage.interface import Storage
from andes_spark.storage.s3_options import finds_credentials

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NAMES = {
    "aws_endpoint": "endpoint",
    "aws_region": "endpoint.region",
    "aws_access_key_id": "access.key",
    "aws_secret_access_key": "secret.key",
    "aws_session_token": "session.token",
    "aws_sse_kms_key_id": "encryption.key",
}
_KEYS = {option: _NAMES[option] for option in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")}
_ALGORITHM, _BY_KMS = "encryption.algorithm", "SSE-KMS"
_PROVIDERS = "aws.credentials.provider"
_DEFAULTS = "core-default.xml"
_KEY_STORES = "hadoop.security.credential.provider.path"
_NO_CLASS = re.compile(r"ClassNotFound|NoClassDefFound|No FileSystem for scheme|UnsupportedFileSystem")
_DENIED = re.compile(
    r"AccessDenied|Forbidden|Credential|NoAuth|Token|InvalidAccessKeyId|SignatureDoesNotMatch|\b40[13]\b"
)
_AMAZON = re.compile(r"(?:https?://)?s3[.-](?:dualstack\.)?(?:([a-z0-9-]+)\.)?amazonaws\.com(?:\.cn)?/?")
"""An endpoint of Amazon S3, with the region or without one."""


def s3a_settings(options: Mapping[str, str], bucket: str = "") -> dict[str, str]:
    """Convert storage options to Hadoop settings of S3A, for one bucket or for all."""
    settings = {name: options[option] for option, name in _NAMES.items() if option in options}
    if "aws_endpoint" in options:
        virtual = options.get("aws_virtual_hosted_style_request", "false").lower() == "true"
        settings["path.style.access"] = "false" if virtual else "true"
    if "aws_sse_kms_key_id" in options:
        settings[_ALGORITHM] = _BY_KMS
    scope = f"bucket.{bucket}." if bucket else ""
    return {f"fs.s3a.{scope}{name}": value for name, value in settings.items()}


def spark_path(storage: Storage, path: str) -> str:
    """Convert a path to Spark's form: ``s3a`` for S3."""
    url = storage.url
    if url.startswith("s3://"):
        url = "s3a://" + url.removeprefix("s3://")
    return f"{url.rstrip('/')}/{path}" if path else url


class SessionAccess:
    """Access to S3 as a Spark session has it; asked for again while a table is open, since credentials expire.

    Args:
        session: the session.
    """

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        self._last: dict[str, dict[str, str]] = {}

    def __call__(self, bucket: str) -> dict[str, str]:
        """Storage options for a bucket as of now; those of the last call once the session was stopped.

        Raises:
            AccessDeniedError: the providers of S3A give no credentials, and the chain of AWS has none.
        """
        if is_running(self._session) or bucket not in self._last:
            with unlogged():
                self._last[bucket] = self._options(bucket)
        return dict(self._last[bucket])

    def _options(self, bucket: str) -> dict[str, str]:
        settings = _Settings(self._session, bucket)
        endpoint, region = settings.endpoint()
        options = {
            "aws_endpoint": endpoint,
            "aws_region": region,
            "aws_allow_http": "true" if endpoint is not None and endpoint.startswith("http://") else None,
            "aws_sse_kms_key_id": settings.get("encryption.key") if settings.get(_ALGORITHM) == _BY_KMS else None,
            **self._credentials(settings, bucket),
        }
        return {name: value for name, value in options.items() if value is not None}

    def _credentials(self, settings: _Settings, bucket: str) -> dict[str, str | None]:
        keys = {option: settings.get(name) for option, name in _KEYS.items()}
        if is_connect(self._session):
            return keys
        has_s3a = has_class(self._session, S3A_CLASS)
        if not (has_s3a and settings.has_own_providers()):
            if keys["aws_access_key_id"] and keys["aws_secret_access_key"]:
                return keys
            if not has_s3a or finds_credentials():
                return {}
        return provided_credentials(self._session, bucket)


class _Settings:
    """Settings of S3A for a bucket, as a session has them now."""

    def __init__(self, session: Any, bucket: str) -> None:
        self._session, self._bucket = session, bucket
        self._hadoop = None if is_connect(session) else session._jsparkSession.sessionState().newHadoopConf()

    def get(self, name: str) -> str | None:
        """Value of a setting; None without one."""
        for full in (f"fs.s3a.bucket.{self._bucket}.{name}", f"fs.s3a.{name}"):
            if self._hadoop is None:
                value = self._session.conf.get(f"spark.hadoop.{full}", None)
            else:
                value = self._hadoop.getTrimmed(full)
            if value:
                return str(value)
        return None

    def endpoint(self) -> tuple[str | None, str | None]:
        """Endpoint, None for that of Amazon S3, and region."""
        endpoint, region = self.get("endpoint"), self.get("endpoint.region")
        amazon = _AMAZON.fullmatch(endpoint or "")
        if amazon is not None:
            return None, region or amazon.group(1)
        if endpoint is not None and "://" not in endpoint:
            secure = (self.get("connection.ssl.enabled") or "true").lower() == "true"
            endpoint = f"{'https' if secure else 'http'}://{endpoint}"
        return endpoint, region

    def has_own_providers(self) -> bool:
        """Whether credentials come from others than the providers, and the settings, that S3A has by default."""
        if self._hadoop is None:
            return False
        if self._hadoop.get(_KEY_STORES):
            return True
        names = (f"fs.s3a.bucket.{self._bucket}.{_PROVIDERS}", f"fs.s3a.{_PROVIDERS}")
        sources = [source for name in names for source in self._hadoop.getPropertySources(name) or ()]
        return any(source != _DEFAULTS for source in sources)


def read_base(session: SparkSession, storage: Storage, version: int) -> DataFrame:
    """Read a version of a table's base by Delta in Spark, with the access that the table was opened with.

    Raises:
        MissingPackageError: Spark has no S3A.
        AccessDeniedError, StorageError: S3A cannot read the base, which this library just read.
    """
    reader = session.read.format("delta").option("versionAsOf", version)
    if not storage.url.startswith("s3://"):
        return reader.load(storage.url)
    access = getattr(storage, "access_options", None) or {}
    if not callable(access):
        bucket = storage.url.removeprefix("s3://").partition("/")[0]
        with unlogged():
            reader = reader.options(**s3a_settings(access, bucket))
    with _named_failures(storage.url):
        return reader.load(spark_path(storage, ""))


@contextmanager
def _named_failures(table: str) -> Iterator[None]:
    """Raise what Spark says when S3A fails as errors of the library."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        message = first_line(error) if isinstance(error, Py4JJavaError) else str(error).partition("\n")[0][:400]
        raise _named(table, message) from None


def _named(table: str, message: str) -> AndesError:
    problem = f"{table}: this library reads the table, and Spark's S3A does not: {message}"
    if _NO_CLASS.search(message):
        return MissingPackageError(
            f"{problem}; hand S3A's jars over when the JVM starts: spark-submit --jars "
            '"$(python -m andes_spark.spark.jars --s3)" ...',
            package="hadoop-aws",
        )
    if _DENIED.search(message):
        return AccessDeniedError(
            f"{problem}; give S3A credentials for this bucket by settings such as spark.hadoop.fs.s3a.access.key, or "
            "open the table with storage_options",
            url=table,
        )
    return StorageError(
        f"{problem}; check the settings spark.hadoop.fs.s3a.endpoint and spark.hadoop.fs.s3a.endpoint.region", url=table
    )


def provided_credentials(session: Any, bucket: str) -> dict[str, str | None]:
    """Return the credentials that S3A uses for a bucket now, as storage options.

    Raises:
        AccessDeniedError: its providers give none.
    """
    from py4j.protocol import Py4JJavaError

    jvm = session._jvm
    hadoop = session._jsparkSession.sessionState().newHadoopConf()
    try:
        files = jvm.org.apache.hadoop.fs.FileSystem.get(jvm.java.net.URI(f"s3a://{bucket}/"), hadoop)
        version_1 = jvm.org.apache.hadoop.util.VersionInfo.getVersion().startswith("3.3.")
        provider = (files if version_1 else files.getS3AInternals()).shareCredentials("andes_spark")
        try:
            return _keys_of_version_1(provider) if version_1 else _keys_of_version_2(provider)
        finally:
            provider.close()
    except Py4JJavaError as error:
        raise AccessDeniedError(
            f"s3://{bucket}: S3A in Spark has no credentials: {first_line(error)}; set fs.s3a.{_PROVIDERS}, or set "
            "credentials up as for the AWS command line",
            url=f"s3://{bucket}",
        ) from None


def _keys_of_version_1(provider: Any) -> dict[str, str | None]:
    keys = provider.getCredentials()
    return _options(keys.getAWSAccessKeyId(), keys.getAWSSecretKey(), _token(keys, "getSessionToken"))


def _keys_of_version_2(provider: Any) -> dict[str, str | None]:
    keys = provider.resolveCredentials()
    return _options(keys.accessKeyId(), keys.secretAccessKey(), _token(keys, "sessionToken"))


def _options(access_key: str, secret_key: str, token: str | None) -> dict[str, str | None]:
    return dict(zip(_KEYS, (access_key, secret_key, token), strict=True))


def _token(keys: Any, method: str) -> str | None:
    """Token of temporary credentials; other credentials have no such method."""
    names = {method_object.getName() for method_object in keys.getClass().getMethods()}
    return getattr(keys, method)() if method in names else None


def first_line(error: Any) -> str:
    """Return the first line of the innermost error of Java, by the name of its class."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return str(cause.toString()).partition("\n")[0][:400]
