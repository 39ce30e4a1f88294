"""The Glue API by boto3: requests of the Data Catalog, and its errors as errors of the library.

Throttled and interrupted requests are repeated by boto3's retry mode ``standard``, see "Retries" in its guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from andes_spark.errors import (
    AccessDeniedError,
    AndesError,
    MissingPackageError,
    NotFoundError,
    OptionError,
    StorageError,
    StoreUnavailableError,
    ThrottledError,
)
from andes_spark.storage.s3_options import S3Options
from andes_spark.sync.glue.names import GlueName

Json: TypeAlias = "dict[str, Any]"

ATTEMPTS = 6
"""Number of times that boto3 sends a request which is throttled, or gets no answer."""
_DENIED = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "UnrecognizedClientException",
}
_THROTTLED = {
    "ConcurrentRunsExceededException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_UNAVAILABLE = {"InternalServiceException", "OperationTimeoutException", "ResourceNotReadyException"}
CONFLICTS = {"AlreadyExistsException", "ConcurrentModificationException", "EntityNotFoundException"}
"""Codes of answers to a change that was planned on what is no longer so."""


@dataclass(frozen=True)
class Conflict:
    """The answer to a change that another writer came before.

    Attributes:
        code: code of the answer.
    """

    code: str


class GlueApi:
    """Requests of the Data Catalog.

    Args:
        client: client of boto3 for Glue.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def table(self, name: GlueName) -> Json | None:
        """Return the entry of a table; None if there is none, or no such database."""
        answer = self._send("GetTable", name, missing=True, DatabaseName=name.database, Name=name.table)
        table: Json | None = None if answer is None else answer["Table"]
        return table

    def has_database(self, name: GlueName) -> bool:
        """Return whether the database of a name exists."""
        return self._send("GetDatabase", name, missing=True, Name=name.database) is not None

    def create_database(self, name: GlueName) -> None:
        """Create the database of a name, unless there is one."""
        self._change("CreateDatabase", name, DatabaseInput={"Name": name.database})

    def create_table(self, name: GlueName, table_input: Json) -> Conflict | None:
        """Create the entry of a table; return the conflict with another writer, if there is one."""
        return self._change("CreateTable", name, DatabaseName=name.database, TableInput=table_input)

    def update_table(self, name: GlueName, table_input: Json, version_id: str | None) -> Conflict | None:
        """Replace the entry of a table if it still is at a version; return the conflict, if there is one.

        Args:
            name: name of the table.
            table_input: the whole new entry.
            version_id: ``VersionId`` of the entry that it was made from, the optimistic lock.
        """
        lock = {} if version_id is None else {"VersionId": version_id}
        return self._change(
            "UpdateTable", name, DatabaseName=name.database, TableInput=table_input, SkipArchive=True, **lock
        )

    def _change(self, action: str, name: GlueName, **request: Any) -> Conflict | None:
        try:
            self._send(action, name, missing=False, **request)
        except StorageError as error:
            if error.code in CONFLICTS:
                return Conflict(error.code)
            raise
        return None

    def _send(self, action: str, name: GlueName, *, missing: bool, **request: Any) -> Json | None:
        """Send a request; None if what it names does not exist and may be ``missing``."""
        method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in action).lstrip("_")
        try:
            with translated(action, name):
                answer: Json = getattr(self._client, method)(**request)
                return answer
        except StorageError as error:
            if missing and error.code == "EntityNotFoundException":
                return None
            raise


def glue_api(access: Mapping[str, str], *, endpoint: str | None, region: str | None) -> GlueApi:
    """Return the Glue API with the credentials and the region of storage options, else those of boto3's chain.

    Args:
        access: storage options of S3, see ``andes_spark.storage.s3_options``.
        endpoint: URL of the API, for another service than AWS; None for that of the region.
        region: region of the catalog; None for that of the options, of the environment or of the profile.

    Raises:
        MissingPackageError: boto3 is not installed.
        OptionError: no region is known, or the endpoint is no URL.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ModuleNotFoundError as error:
        raise MissingPackageError("Glue needs boto3: pip install 'andes_spark[aws]'", package=error.name) from error
    options = S3Options.parse(access)
    try:
        client = boto3.client(
            "glue",
            endpoint_url=endpoint,
            region_name=region or options.region,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS}, connect_timeout=10, read_timeout=60
            ),
        )
    except NoRegionError as error:
        raise OptionError(
            "The region of the Glue catalog is not known: set the option region, or the storage option aws_region",
            option="region",
        ) from error
    except ValueError as error:
        raise OptionError(f"The endpoint of Glue cannot be used: {error}", option="endpoint") from error
    return GlueApi(client)


@contextmanager
def translated(action: str, name: GlueName) -> Iterator[None]:
    """Raise errors of boto3 as errors of the library; their messages hold no credentials."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        raise _refused(error.response, action, name) from None
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise AccessDeniedError(
            f"Glue, {action} {name}: {error}; set credentials up as for the AWS command line, or give them as storage "
            "options",
            url=str(name),
        ) from None
    except ParamValidationError as error:
        raise StorageError(f"Glue, {action} {name}: {error}", url=str(name)) from None
    except BotoCoreError as error:
        raise StoreUnavailableError(
            f"Glue, {action} {name}: {error}; check the network, the region and the endpoint, then try again",
            url=str(name),
        ) from None


def _refused(response: Mapping[str, Any], action: str, name: GlueName) -> AndesError:
    """Return the error of the library for an answer of Glue."""
    answer = response.get("Error", {})
    code, message = str(answer.get("Code", "")), str(answer.get("Message", "")).rstrip(".")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    problem = f"Glue, {action} {name}: {code}" + (f", {message}" if message else "")
    known = {"url": str(name), "status": status, "code": code}
    if code in _DENIED or status == 403:
        return AccessDeniedError(f"{problem}; the right glue:{action} is needed, see the guide on Glue", **known)
    if code in _THROTTLED or status == 429:
        return ThrottledError(f"{problem}; the service asks for fewer requests: try again later", **known)
    if code in _UNAVAILABLE or (status is not None and status >= 500):
        return StoreUnavailableError(f"{problem}; try again later", **known)
    return StorageError(problem, **known)


def no_database(name: GlueName) -> NotFoundError:
    """Return the error for a name whose database does not exist."""
    return NotFoundError(f"Glue has no database {name.database!r}: create it, or set create_database", url=str(name))
