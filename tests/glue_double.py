"""A strict double of the Glue Data Catalog, over HTTP: what the servers for tests let pass, it refuses.

Lengths and characters are checked against the model of the API that botocore has; ``UpdateTable`` needs ``SkipArchive``
and a current ``VersionId``, as AWS documents; answers can be planted, and callers be overtaken. Its answers have the
form of JSON 1.1 of AWS.
"""

from __future__ import annotations

import copy
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import botocore.session

from andes_spark.sync.glue.client import GlueApi, glue_api

ACCESS = {"aws_region": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
Json = dict[str, Any]


class RefusedError(Exception):
    """An answer with an error code."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class StrictGlue:
    """The catalog.

    Attributes:
        endpoint: URL of the double.
        requests: actions with their requests, in order.
        planted: answers for the next requests of an action, before the catalog looks at them.
        before: called once before the next request of an action is carried out.
    """

    endpoint: str = ""
    databases: dict[str, Json] = field(default_factory=dict)
    tables: dict[tuple[str, str], Json] = field(default_factory=dict)
    requests: list[tuple[str, Json]] = field(default_factory=list)
    planted: dict[str, list[RefusedError]] = field(default_factory=dict)
    before: dict[str, Callable[[], object]] = field(default_factory=dict)

    @property
    def actions(self) -> list[str]:
        return [action for action, _ in self.requests]

    @cached_property
    def api(self) -> GlueApi:
        return glue_api(ACCESS, endpoint=self.endpoint, region=None)

    def edit(self, database: str, name: str, change: Callable[[Json], object]) -> None:
        """Change an entry as somebody else would, in a new version."""
        table = self.tables[database, name]
        change(table)
        table["VersionId"] = str(int(table["VersionId"]) + 1)

    def answer(self, action: str, request: Json) -> Json:
        self.requests.append((action, copy.deepcopy(request)))
        if self.planted.get(action):
            raise self.planted[action].pop(0)
        check(action, request)
        change = self.before.pop(action, None)
        if change is not None:
            change()
        answer: Json = getattr(self, f"_{action}")(request)
        return copy.deepcopy(answer)

    def _GetDatabase(self, request: Json) -> Json:
        return {"Database": self._database(request["Name"])}

    def _CreateDatabase(self, request: Json) -> Json:
        database = request["DatabaseInput"]
        if database["Name"] in self.databases:
            raise RefusedError("AlreadyExistsException", "Database already exists.")
        self.databases[database["Name"]] = database
        return {}

    def _GetTable(self, request: Json) -> Json:
        self._database(request["DatabaseName"])
        return {"Table": self._table(request["DatabaseName"], request["Name"])}

    def _CreateTable(self, request: Json) -> Json:
        self._database(request["DatabaseName"])
        table = request["TableInput"]
        key = (request["DatabaseName"], table["Name"].lower())
        if key in self.tables:
            raise RefusedError("AlreadyExistsException", "Table already exists.")
        self.tables[key] = stored(key[0], table, "0")
        return {}

    def _UpdateTable(self, request: Json) -> Json:
        table = request["TableInput"]
        present = self._table(request["DatabaseName"], table["Name"])
        if request.get("SkipArchive") is not True:
            raise RefusedError("ResourceNumberLimitExceededException", "too many archived versions")
        if request.get("VersionId") != present["VersionId"]:
            raise RefusedError(
                "ConcurrentModificationException", "Update table failed due to concurrent modifications."
            )
        version = str(int(present["VersionId"]) + 1)
        self.tables[request["DatabaseName"], table["Name"]] = stored(request["DatabaseName"], table, version)
        return {}

    def _database(self, name: str) -> Json:
        if name not in self.databases:
            raise RefusedError("EntityNotFoundException", f"Database {name} not found.")
        return self.databases[name]

    def _table(self, database: str, name: str) -> Json:
        if (database, name) not in self.tables:
            raise RefusedError("EntityNotFoundException", "Entity Not Found")
        return self.tables[database, name]


def stored(database: str, table: Json, version: str) -> Json:
    """An entry as GetTable returns it: with what Glue itself adds."""
    table = {key: value for key, value in table.items() if value is not None}
    table["StorageDescriptor"] = {
        **{"Compressed": False, "NumberOfBuckets": 0, "SortColumns": [], "StoredAsSubDirectories": False},
        **table["StorageDescriptor"],
    }
    return {
        **{"Retention": 0, "PartitionKeys": []},
        **table,
        **{"DatabaseName": database, "CreateTime": 1790000000.0, "UpdateTime": 1790000001.0, "VersionId": version},
        **{"CreatedBy": "arn:aws:sts::123456789012:assumed-role/a/b", "IsRegisteredWithLakeFormation": False},
        **{"CatalogId": "123456789012", "IsMultiDialectView": False},
    }


def check(action: str, request: Json) -> None:
    """Check a request against the model of the API, lengths and characters included."""
    _check(_model().operation_model(action).input_shape, request, action)


@cache
def _model() -> Any:
    return botocore.session.get_session().get_service_model("glue")


def _check(shape: Any, value: Any, path: str) -> None:
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        missing = set(shape.required_members) - set(value)
        if unknown or missing:
            raise RefusedError("InvalidInputException", f"{path}: unknown {unknown}, missing {missing}")
        for name, member in value.items():
            _check(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for number, member in enumerate(value):
            _check(shape.member, member, f"{path}[{number}]")
    elif shape.type_name == "map":
        for key, member in value.items():
            _check(shape.key, key, path)
            _check(shape.value, member, f"{path}.{key}")
    elif shape.type_name == "string":
        _check_text(shape, value, path)


def _check_text(shape: Any, value: str, path: str) -> None:
    limits = shape.metadata
    if not limits.get("min", 0) <= len(value) <= limits.get("max", len(value)):
        raise RefusedError("InvalidInputException", f"{path} has {len(value)} characters")
    if "pattern" in limits and "uD800" in limits["pattern"]:
        lines = "\r\n" if "\\r\\n" in limits["pattern"] else ""
        if re.search(rf"[^\t{lines}\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", value):
            raise RefusedError("InvalidInputException", f"{path} has characters that are not allowed")


@contextmanager
def strict_glue() -> Iterator[StrictGlue]:
    """Serve the double on a free port of the loopback interface."""
    glue = StrictGlue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, glue.answer(self.headers["X-Amz-Target"].removeprefix("AWSGlue."), body)
            except RefusedError as refused:
                status, answer = refused.status, {"__type": refused.code, "Message": refused.message}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    glue.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield glue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
