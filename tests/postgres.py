"""A PostgreSQL of its own for the tests of a session, on a Unix socket in a folder of its own.

Use: ``from tests.postgres import postgres`` in a test file makes the fixture known to it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_CONFIG = """
listen_addresses = ''
max_connections = 40
fsync = off
timezone = 'Europe/Berlin'
unix_socket_directories = '{folder}'
"""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    folder: Path
    user: str

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{self.user}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> Any:
        import pg8000.native

        return pg8000.native.Connection(
            self.user, unix_sock=f"{self.folder}/.s.PGSQL.5432", database=database, ssl_context=False
        )

    def sql(self, text: str, database: str = "postgres") -> Sequence[Sequence[Any]]:
        with closing(self.connect(database)) as connection:
            return connection.run(text) or []

    def new_database(self, name: str) -> str:
        """URL of a new database with a schema ``sales``."""
        self.sql(f"CREATE DATABASE {name}")
        self.sql("CREATE SCHEMA sales", name)
        return self.url(name)


def _bin() -> Path:
    """The folder of the server's programs: Debian has one for each version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if folders:
        return folders[-1]
    program = shutil.which("postgres")
    assert program is not None, "PostgreSQL is missing; as root: apt-get install postgresql"
    return Path(program).resolve().parent


@contextmanager
def started_postgres() -> Iterator[Postgres]:
    """Start a server in a new folder; stop it and remove the folder at the end. Root runs it as ``postgres``."""
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="andes-pg-"))
    owner = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    os.chown(folder, owner.pw_uid, owner.pw_gid)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(_bin() / program), *arguments],
            check=True, cwd=folder, user=user, group=user, extra_groups=[] if user else None,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-N", "-U", owner.pw_name)
        with open(folder / "data" / "postgresql.conf", "a", encoding="utf-8") as config:
            config.write(_CONFIG.format(folder=folder))
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "server.log"), "start")
        try:
            yield Postgres(folder, owner.pw_name)
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with started_postgres() as server:
        yield server
