"""Storage options of S3: names, checks, and the source of credentials.

The names are those of obstore, which delta-rs and polars accept as well:

==================================  ====================================================================
``aws_endpoint``                    URL of another S3 service; in virtual-host style it holds the bucket
``aws_region``                      region of the bucket; else that of the AWS profile or environment
``aws_access_key_id``               credentials, given together with the next one
``aws_secret_access_key``           |
``aws_session_token``               the token of temporary credentials
``aws_allow_http``                  "true" to permit an ``http://`` endpoint
``aws_virtual_hosted_style_request``  "true" for ``bucket.host/key`` instead of ``host/bucket/key``
``aws_sse_kms_key_id``              KMS key with which S3 encrypts what is written; else as the bucket says
==================================  ====================================================================

Without a key, boto3's default chain is used (environment, profile, web identity, container, instance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias, cast

from andes_spark.errors import AccessDeniedError, MissingPackageError, OptionError

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential, S3CredentialProvider

NAMES = (
    "aws_endpoint",
    "aws_region",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_allow_http",
    "aws_virtual_hosted_style_request",
    "aws_sse_kms_key_id",
)

Access: TypeAlias = "Mapping[str, str] | Callable[[str], Mapping[str, str]]"
"""Storage options, or what gives those of a bucket as of now: it is asked again, since credentials expire."""

RENEWAL = timedelta(minutes=10)
"""Time for which credentials of boto3 are used; boto3 hands out none that expire earlier, and renews them itself."""
ASKED_AGAIN = timedelta(minutes=6)
"""Time for which credentials of an ``Access`` count as valid: obstore asks again when less than 5 minutes are left."""


@dataclass(frozen=True)
class S3Options:
    """Checked options; secrets are left out of the ``repr``."""

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    allow_http: bool = False
    virtual_hosted_style: bool = False
    kms_key: str | None = None

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> S3Options:
        """Check options by name and form.

        Raises:
            OptionError: an unknown name, a wrong value, or half a pair of credentials. No message holds a
                value.
        """
        for name in options:
            _check_name(name)
            if not isinstance(options[name], str) or not options[name]:
                raise OptionError(f"The storage option {name} must be a string that is not empty", option=name)
        parsed = cls(
            endpoint=options.get("aws_endpoint"),
            region=options.get("aws_region"),
            access_key_id=options.get("aws_access_key_id"),
            secret_access_key=options.get("aws_secret_access_key"),
            session_token=options.get("aws_session_token"),
            allow_http=_flag(options, "aws_allow_http"),
            virtual_hosted_style=_flag(options, "aws_virtual_hosted_style_request"),
            kms_key=options.get("aws_sse_kms_key_id"),
        )
        parsed._check()
        return parsed

    def _check(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise OptionError(
                "aws_access_key_id and aws_secret_access_key are given together or not at all",
                option="aws_secret_access_key" if self.access_key_id else "aws_access_key_id",
            )
        if self.session_token and not self.access_key_id:
            raise OptionError(
                "aws_session_token belongs to an access key: give aws_access_key_id and aws_secret_access_key too",
                option="aws_session_token",
            )
        if self.endpoint is None:
            return
        if not self.endpoint.startswith(("http://", "https://")) or "@" in self.endpoint:
            raise OptionError(
                "aws_endpoint must be a URL such as https://s3.example.com, without credentials",
                option="aws_endpoint",
            )
        if self.endpoint.startswith("http://") and not self.allow_http:
            raise OptionError(
                "aws_endpoint is an http:// URL, over which everything travels in the clear: set "
                'aws_allow_http to "true" if that is meant',
                option="aws_endpoint",
            )

    def config(self) -> S3Config:
        """Return the part of obstore's configuration that is not about credentials."""
        config: S3Config = {
            # Set although it is the default, so that the environment cannot switch it off.
            "conditional_put": "etag",
            "virtual_hosted_style_request": self.virtual_hosted_style,
        }
        if self.endpoint:
            config["endpoint"] = self.endpoint
        if self.region:
            config["region"] = self.region
        if self.kms_key:
            config["server_side_encryption"] = "aws:kms"
            config["sse_kms_key_id"] = self.kms_key
        return config

    def credentials(self) -> S3CredentialProvider:
        """Return the source of credentials: those of the options alone, or boto3's chain.

        Raises:
            MissingPackageError: boto3 is needed and not installed.
            AccessDeniedError: boto3 finds no credentials.
        """
        if self.access_key_id and self.secret_access_key:
            # A provider, since a token from the environment would be added to a configuration.
            return _StaticCredentials(self.access_key_id, self.secret_access_key, self.session_token)
        try:
            from obstore.auth.boto3 import Boto3CredentialProvider
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                "Credentials from the AWS environment need boto3: pip install 'andes_spark[aws]', or give "
                "aws_access_key_id and aws_secret_access_key as storage options",
                package=error.name,
            ) from error
        try:
            return cast("S3CredentialProvider", Boto3CredentialProvider(ttl=RENEWAL))
        except ValueError as error:
            raise AccessDeniedError(
                "No AWS credentials were found in the environment, in a profile or on this machine: set them "
                "up as for the AWS command line, or give aws_access_key_id and aws_secret_access_key"
            ) from error


def finds_credentials() -> bool:
    """Return whether boto3 is installed, and its default chain has credentials."""
    try:
        S3Options().credentials()
    except (AccessDeniedError, MissingPackageError):
        return False
    return True


class RenewedCredentials:
    """Credentials of an access, asked for again and again.

    Args:
        options: function that returns the options of now, with a key.
    """

    def __init__(self, options: Callable[[], Mapping[str, str]]) -> None:
        self._options = options

    def __call__(self) -> S3Credential:
        """Ask for the credentials of now."""
        options = self._options()
        return {
            "access_key_id": options["aws_access_key_id"],
            "secret_access_key": options["aws_secret_access_key"],
            "token": options.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + ASKED_AGAIN,
        }


class _StaticCredentials:
    """Credentials that do not change."""

    def __init__(self, key: str, secret: str, token: str | None) -> None:
        self._credential: S3Credential = {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": token,
            "expires_at": None,
        }

    def __call__(self) -> S3Credential:
        return self._credential


def _check_name(name: object) -> None:
    if name in NAMES:
        return
    near = get_close_matches(str(name).lower(), NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(NAMES)}"
    raise OptionError(f"Unknown storage option {name!r}: {hint}", option=name, suggestion=near[0] if near else None)


def _flag(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "false").lower()
    if value not in ("true", "false"):
        raise OptionError(f'The storage option {name} must be "true" or "false".', option=name)
    return value == "true"
