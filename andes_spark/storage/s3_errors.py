"""Errors of obstore's S3 client as errors of the library, and whether the request was refused.

obstore hands over no status code, only the text of a Rust error: a sentence and, after it, the nested error
in Rust's debug form. The debug form is read from its end, where it cannot be mistaken for an object's name
or an answer's body. An error that is not recognized counts as an unknown outcome.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from andes_spark.errors import (
    AccessDeniedError,
    AndesError,
    NotFoundError,
    OptionError,
    StorageError,
    StorageFullError,
    StoreUnavailableError,
    ThrottledError,
)

# Bodies appear escaped in the debug form, so that no body and no key can hold these line breaks.
_STATUS = re.compile(r"inner: Status \{\n\s+status: (\d{3}),")
_HTTP_KIND = re.compile(r"HttpError \{\n\s+kind: (\w+),")
_NEVER_BUILT = re.compile(r"reqwest::Error \{\n\s+kind: Builder,")
# A redirect without a target: the bucket lies in another region.
_REDIRECTED = re.compile(r"inner: BareRedirect,\n")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")

_DENIED_CODES = {
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
}
_EXPIRED_CODES = {"ExpiredToken", "TokenRefreshRequired"}
_REGION_CODES = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull"}
UNANSWERED = "the store has not answered this process yet"
"""Note of an error that the first requests to a store ended with."""
_NEEDS_NO_OBJECT = ("list", "write", "create", "delete")
_TIMEOUT_CODES = {"RequestTimeout"}
"""Codes of answers with status 400 to a connection that was slow: the same request may succeed."""
_SLOW_CODES = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"}


@dataclass(frozen=True)
class Failure:
    """Details of a failed request.

    Attributes:
        status: HTTP status of the answer; None if there was none, or none that could be read.
        code: error code of S3's answer.
        text: one line for messages. It holds only code and message of the answer, since some answers repeat
            tokens.
        undone: whether the request had no effect although there is no status: it never left this machine,
            or was redirected.
        unanswered: whether no answer came, or none to its end.
    """

    status: int | None
    code: str | None
    text: str
    undone: bool
    unanswered: bool

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Read an error of obstore."""
        shown, _, debug = str(error).rpartition("\n\nDebug source:\n")
        shown = shown or str(error)
        statuses = _STATUS.findall(debug)
        status = int(statuses[-1]) if statuses else None
        code, message = _CODE.search(shown), _MESSAGE.search(shown)
        kind = _HTTP_KIND.search(debug) if status is None else None
        undone = status is None and (
            isinstance(error, UnauthenticatedError)
            or (kind is not None and kind.group(1) == "Connect")
            or _NEVER_BUILT.search(debug) is not None
            or _REDIRECTED.search(debug) is not None
        )
        text = shown.partition("\n")[0].partition(": <")[0][:400]
        if kind is not None:
            text += f" ({kind.group(1).lower()} error)"
        if code:
            text += f" {code.group(1)}" + (f", {message.group(1).rstrip('.')}" if message else "")
        return cls(status, code.group(1) if code else None, text, undone, kind is not None)

    @property
    def passing(self) -> bool:
        """Whether the store answered that it cannot carry out the request now."""
        return self.status is not None and (self.status >= 500 or self.status in (408, 429))

    @property
    def refused(self) -> bool:
        """Whether the request had no effect: a 3xx or 4xx answer, or ``undone``.

        408 is left out: a proxy may send it after it passed the request on.
        """
        return self.undone or (self.status is not None and 300 <= self.status < 500 and self.status != 408)


@contextmanager
def translated(action: str, url: str, path: str) -> Iterator[None]:
    """Raise errors of obstore as errors of the library."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, AndesError):
            raise
        # "from None": the original repeats the answer, and with it perhaps a token.
        raise translate(error, action, url, path) from None


def translate(error: Exception, action: str, url: str, path: str) -> AndesError:
    """Return the error of the library for an error of obstore."""
    failure = Failure.of(error)
    status, code = failure.status, failure.code
    problem = f"Could not {action} {path!r} in {url}: {failure.text.rstrip('.')}"
    known = {"path": path, "url": url, "status": status, "code": code}
    if code == "NoSuchBucket":
        return StorageError(f"{problem}; create the bucket, or correct its name", **known)
    if status == 404 and code is None and action in _NEEDS_NO_OBJECT:
        return StorageError(
            f"{problem}; what answers there does not know S3: check the storage option aws_endpoint, and "
            "aws_virtual_hosted_style_request if the bucket is part of the host's name",
            **known,
        )
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFoundError(f"There is no {path!r} in {url}", **known)
    if status in (429, 503) or code in _SLOW_CODES:
        return ThrottledError(f"{problem}; the service asks for fewer requests: try again later", **known)
    if code in _EXPIRED_CODES:
        return AccessDeniedError(f"{problem}; the credentials have expired: renew them, then try again", **known)
    if isinstance(error, UnauthenticatedError) or code in _DENIED_CODES:
        return AccessDeniedError(f"{problem}; check the credentials", **known)
    if isinstance(error, PermissionDeniedError) or status in (401, 403):
        return AccessDeniedError(
            f"{problem}; check the credentials and their permissions; without s3:ListBucket even a missing "
            "object is refused in this way",
            **known,
        )
    if status == 507 or code in _FULL_CODES:
        return StorageFullError(f"{problem}; free some space or raise the quota", **known)
    if status == 409 and isinstance(error, AlreadyExistsError):
        return ThrottledError(f"{problem}; other writers were busy with the same name: try again", **known)
    redirected = "configured region" in failure.text or (status is not None and 300 <= status < 400)
    if redirected or code in _REGION_CODES:
        return StorageError(f"{problem}; set the storage option aws_region to the region of the bucket", **known)
    if isinstance(error, ValueError):
        return OptionError(problem, **known)
    text = f"{problem}; check the network and the endpoint, then try again"
    if UNANSWERED in getattr(error, "__notes__", ()):
        text = f"{problem}; {UNANSWERED}: check the storage options aws_endpoint and aws_region, and the network"
    unavailable = status is None or status >= 500 or code in _TIMEOUT_CODES
    return StoreUnavailableError(text, **known) if unavailable else StorageError(text, **known)
