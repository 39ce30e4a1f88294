"""A session with a database that speaks the protocol of PostgreSQL, by pg8000."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from andes_spark.errors import (
    AccessDeniedError,
    CommitConflictError,
    CommitUnknownError,
    MissingPackageError,
    OptionError,
    StorageError,
    StoreUnavailableError,
)

UNIQUE_VIOLATION = "23505"
_CONFLICTS = ("40001", "40P01", "55P03")
_UNAVAILABLE = ("08", "53", "57")
_DENIED = ("28000", "28P01", "42501")
_KNOWN = ("host", "sslmode", "sslrootcert", "connect_timeout")


@dataclass(frozen=True)
class Address:
    """Where a database is and who asks, from a URL.

    Attributes:
        scheme: ``postgresql`` or ``redshift``.
        host: name of the server, or folder of its Unix socket.
        shown: the URL without its password, for messages.
    """

    scheme: str
    user: str
    password: str | None
    host: str
    port: int
    database: str
    sslmode: str
    sslrootcert: str | None
    connect_timeout: float
    shown: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL such as ``postgresql://user:password@host:5432/database?sslmode=verify-full``.

        Raises:
            OptionError: another URL; its text is not in the message, since it may hold a password.
        """
        try:
            parts = urlsplit(url)
            scheme = {"postgres": "postgresql"}.get(parts.scheme, parts.scheme)
            port = parts.port or (5439 if scheme == "redshift" else 5432)
            options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
            timeout = float(options.get("connect_timeout", 30))
        except ValueError:
            raise OptionError("url is not the URL of a database", option="url") from None
        if scheme not in ("postgresql", "redshift"):
            raise OptionError("url is one such as postgresql://user@host:5432/database", option="url")
        unknown = [name for name in options if name not in _KNOWN]
        sslmode = options.get("sslmode", "verify-full" if scheme == "redshift" else "prefer")
        if unknown or sslmode not in ("disable", "prefer", "require", "verify-full"):
            raise OptionError(
                f"url has the option {unknown[0] if unknown else f'sslmode={sslmode}'}; options are "
                f"{', '.join(_KNOWN)}, and sslmode is disable, prefer, require or verify-full",
                option="url",
            )
        user = unquote(parts.username or os.environ.get("PGUSER", ""))
        database = unquote(parts.path.lstrip("/"))
        if not user or not database:
            raise OptionError("url names no user or no database", option="url")
        password = os.environ.get("PGPASSWORD") if parts.password is None else unquote(parts.password)
        host = options.get("host") or parts.hostname or "localhost"
        return cls(
            scheme, user, password, host, port, database, sslmode, options.get("sslrootcert"), timeout,
            f"{scheme}://{host}:{port}/{database}",
        )  # fmt: skip

    def secure(self) -> ssl.SSLContext | bool | None:
        """Return what pg8000 is told about TLS: None tries it and goes on without."""
        match self.sslmode:
            case "disable":
                return False
            case "prefer":
                return None
        context = ssl.create_default_context(cafile=self.sslrootcert)
        if self.sslmode == "require":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class Answer:
    """Answer to a statement: its rows, and the number of rows that it changed."""

    rows: Sequence[Sequence[Any]]
    count: int


class Session:
    """An open session; used as a context, after which an open transaction is rolled back.

    Attributes:
        address: where the database is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._driver = _driver()
        self._socket: socket.socket | None = None
        self._connection: Any = None
        try:
            self._connect()
            self.execute("set encoding", "SET client_encoding TO 'UTF8'")
        except BaseException as error:
            self._close()
            if isinstance(error, (self._driver.Error, OSError)):
                self._raise("connect", error)
            raise

    def _connect(self) -> None:
        address = self.address
        if address.host.startswith("/"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(address.connect_timeout)
            self._socket.connect(f"{address.host}/.s.PGSQL.{address.port}")
        else:
            self._socket = socket.create_connection((address.host, address.port), address.connect_timeout)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection = self._driver.Connection(
            address.user,
            host=address.host,
            sock=self._socket,
            database=address.database,
            password=address.password,
            ssl_context=False if address.host.startswith("/") else address.secure(),
            application_name="andes_spark",
        )
        # A statement may take as long as it takes.
        self._connection._usock.settimeout(None)

    def _close(self) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
        except (self._driver.Error, OSError):
            pass  # the connection was lost before
        finally:
            if self._socket is not None:
                self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection: the server rolls back what is not committed."""
        self._close()

    def execute(self, step: str, sql: str, *, stream: Iterable[bytes] | None = None, **values: Any) -> Answer:
        """Run a statement.

        Args:
            step: name of the step, for messages.
            sql: the statement, with ``:name`` for values.
            stream: what a COPY loads.
            values: values by name.

        Raises:
            AccessDeniedError, StoreUnavailableError, CommitConflictError, StorageError: as the database says; ``code``
                is its SQLSTATE.
            CommitUnknownError: the connection was lost while the transaction was committed.
        """
        try:
            rows = self._connection.run(sql, stream=stream, **values)
        except (self._driver.Error, OSError) as error:
            self._raise(step, error)
        return Answer(rows or [], self._connection.row_count)

    def _raise(self, step: str, error: Exception) -> NoReturn:
        answer = _answer(error)
        code, text = str(answer.get("C", "")), str(answer.get("M", error))
        problem = f"{self.address.shown}, {step}: {text}"
        if code in _CONFLICTS:
            raise CommitConflictError(f"{problem}; nothing was delivered, deliver again") from None
        if not code and step == "commit":
            raise CommitUnknownError(
                f"{problem}: the connection was lost while the delivery was committed, and it may have been; deliver "
                "again, which goes on where the cursor is"
            ) from None
        if not code or code.startswith(_UNAVAILABLE):
            raise StoreUnavailableError(
                f"{problem}; nothing was delivered, try again later", url=self.address.shown, code=code or None
            ) from None
        kind = AccessDeniedError if code in _DENIED else StorageError
        raise kind(f"{problem}; nothing was delivered", url=self.address.shown, code=code) from None


def _answer(error: BaseException | None) -> dict[str, str]:
    """Return the fields of the server's error; pg8000 may hide it behind the loss of the connection that follows."""
    while error is not None:
        if error.args and isinstance(error.args[0], dict):
            return error.args[0]
        error = error.__context__
    return {}


def _driver() -> Any:
    try:
        import pg8000.native
    except ImportError:
        raise MissingPackageError(
            "delivery into a database needs pg8000: pip install 'andes_spark[sql]'", package="pg8000"
        ) from None
    return pg8000.native
