"""Capture a change feed from a running PostgreSQL 15, with PostgreSQL's own final tables beside it.

    python -m scripts.capture_feed tests/data

Starts a private cluster in a temporary folder (Unix socket only, stopped and removed afterwards), lets
several clients write to it at once, and stores what logical decoding with wal2json says about it. As root
it installs the missing Debian packages and runs the server as the user ``postgres``; as any other user the
packages must be there. The load is seeded; only the order in which the clients' transactions commit, and
with it which of them fail, differs from run to run. Nothing here is used by the library.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import lzma
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from scripts.feed_load import TABLES, client_script

BIN = Path("/usr/lib/postgresql/15/bin")
PLUGIN = Path("/usr/lib/postgresql/15/lib/wal2json.so")
PACKAGES = ("postgresql-15", "postgresql-15-wal2json")
SLOT = "andes"
DATABASE = "shop"

# A zone with summer time, so that the feed's time stamps carry more than one offset.
CONFIG = """
listen_addresses = ''
wal_level = logical
max_wal_senders = 4
max_replication_slots = 2
max_connections = 40
fsync = off
timezone = 'Europe/Berlin'
log_min_messages = fatal
log_min_error_statement = fatal
"""

OPTIONS = {
    "format-version": "2",
    "include-lsn": "true",
    "include-xids": "true",
    "include-types": "true",
    "include-pk": "true",
}

ORDERS = pa.schema(
    [
        pa.field("order_id", pa.int64(), nullable=False),
        pa.field("customer", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("note", pa.string()),
        pa.field("amount", pa.decimal128(18, 4)),
        pa.field("quantity", pa.int32()),
        pa.field("score", pa.float64()),
        pa.field("paid", pa.bool_()),
        pa.field("ordered_on", pa.date32()),
        pa.field("created_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("shipped_at", pa.timestamp("us")),
        pa.field("tags", pa.string()),
        pa.field("details", pa.string()),
        pa.field("receipt", pa.binary()),
        pa.field("document", pa.string()),
    ]
)
CUSTOMERS = pa.schema(
    [
        pa.field("region", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("credit", pa.decimal128(12, 2)),
    ]
)


class Cluster:
    """A private PostgreSQL: its folder, its user, and the programs run against it."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder = folder
        self.user = user

    def run(self, program: str, *arguments: str, text: str | None = None, check: bool = True) -> bytes:
        """Run one of PostgreSQL's programs as the cluster's user and return what it printed."""
        environ = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "PGHOST": str(self.folder),
            "PGDATABASE": DATABASE,
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [str(BIN / program), *arguments],
            input=None if text is None else text.encode(),
            capture_output=True,
            cwd=self.folder,
            env=environ,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            check=False,
        )
        if check and done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def sql(self, text: str) -> bytes:
        """Run SQL; the first error ends the capture."""
        return self.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", text=text)

    def start_client(self, number: int, text: str) -> subprocess.Popen[bytes]:
        """Start one client with a script of its own; what fails in it is rolled back and it goes on."""
        script = self.folder / f"client-{number}.sql"
        script.write_text(text, encoding="utf-8")
        return subprocess.Popen(
            [str(BIN / "psql"), "-Xq", "-f", str(script)],
            cwd=self.folder,
            env={
                "PGHOST": str(self.folder),
                "PGDATABASE": DATABASE,
                "PGCLIENTENCODING": "UTF8",
                "PATH": "/usr/bin:/bin",
            },
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def install_packages() -> None:
    """Install what is missing with apt, which needs root."""
    if (BIN / "postgres").exists() and PLUGIN.exists():
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    if os.geteuid() != 0:
        raise SystemExit(f"PostgreSQL 15 with wal2json is missing; as root: {' '.join(command)}")
    subprocess.run(["apt-get", "update"], check=True, stdout=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def started_cluster() -> Iterator[Cluster]:
    """Create and start a cluster in a temporary folder; stop and remove it at the end."""
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="andes-feed-"))
    try:
        if user:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        cluster = Cluster(folder, user)
        data = str(folder / "data")
        # Nobody else can enter the folder that holds the socket (mode 0700), so trust is enough.
        cluster.run("initdb", "-D", data, "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-N")
        with open(folder / "data" / "postgresql.conf", "a", encoding="utf-8") as config:
            config.write(f"{CONFIG}unix_socket_directories = '{folder}'\n")
            # Newer minor releases load no output plugin but those that the administrator, here us, allows.
            if b"output_plugin_libraries\t" in cluster.run("postgres", "--describe-config"):
                config.write("output_plugin_libraries = 'wal2json'\n")
        cluster.run("pg_ctl", "-D", data, "-w", "-l", str(folder / "server.log"), "start")
        try:
            cluster.run("createdb", DATABASE)
            yield cluster
        finally:
            cluster.run("pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder)


def run_load(cluster: Cluster, *, clients: int, transactions: int, seed: int) -> None:
    """Let all clients write at once and wait for them."""
    scripts = [client_script(seed + number, transactions) for number in range(clients)]
    running = [cluster.start_client(number, script) for number, script in enumerate(scripts)]
    failed = [client.returncode for client in running if client.wait() != 0]
    if failed:
        raise SystemExit(f"{len(failed)} clients could not run their scripts: exit codes {failed}")


def receive_feed(cluster: Cluster) -> bytes:
    """Everything the slot has up to now, one JSON document per line."""
    end = cluster.sql("SELECT pg_current_wal_insert_lsn();").decode().strip()
    # The receiver stops when the server says that it has passed the end, so let there be something after it.
    cluster.sql("SELECT pg_switch_wal(); CHECKPOINT;")
    feed = cluster.folder / "feed.jsonl"
    options = [part for name, value in OPTIONS.items() for part in ("-o", f"{name}={value}")]
    cluster.run(
        "pg_recvlogical",
        "-d",
        DATABASE,
        "-S",
        SLOT,
        "--start",
        "--endpos",
        end,
        "--no-loop",
        "-f",
        str(feed),
        *options,
    )
    return feed.read_bytes()


def final_table(cluster: Cluster, name: str, schema: pa.Schema, key: str) -> pa.Table:
    """The rows of a table as COPY prints them.

    They are read by pyarrow's CSV reader, in another time zone: nothing of the decoder under test is in it.
    """
    columns = ", ".join(
        f"encode({field.name}, 'hex') AS {field.name}" if pa.types.is_binary(field.type) else field.name
        for field in schema
    )
    query = f"SELECT {columns} FROM {name} ORDER BY {key}"
    text = cluster.sql(f"SET timezone = 'UTC'; COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER true);")
    # COPY quotes an empty string and leaves NULL bare: the reader must look at the quotes.
    table = pa.csv.read_csv(
        io.BytesIO(text),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types={f.name: pa.string() if pa.types.is_binary(f.type) else f.type for f in schema},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    for position, field in enumerate(schema):
        if pa.types.is_binary(field.type):
            values = [None if v is None else bytes.fromhex(v) for v in table[field.name].to_pylist()]
            table = table.set_column(position, field, pa.array(values, field.type))
    return table.cast(schema)


def count_changes(feed: bytes) -> dict[str, int]:
    """How often each kind of change occurs, counted from the raw lines."""
    counts: collections.Counter[str] = collections.Counter()
    deleted: set[int] = set()
    for line in feed.splitlines():
        change = json.loads(line)
        action, table = change["action"], change.get("table", "transaction")
        counts[f"{table} {action}"] += 1
        if action == "B":
            deleted.clear()
        if action == "D" and table == "orders":
            deleted.add(change["identity"][0]["value"])
        if action == "I" and table == "orders":
            counts["orders deleted and inserted in one transaction"] += change["columns"][0]["value"] in deleted
        if action != "U" or table != "orders":
            continue
        new = {column["name"]: column["value"] for column in change["columns"]}
        old = {column["name"]: column["value"] for column in change["identity"]}
        counts["orders key changes"] += new["order_id"] != old["order_id"]
        counts["orders values left out"] += "document" not in new
        counts["orders key changes with a value left out"] += (
            new["order_id"] != old["order_id"] and "document" not in new
        )
    return dict(sorted(counts.items()))


def main() -> None:
    """Parse the arguments, capture, store, and print what was captured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the files go, for instance tests/data")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--transactions", type=int, default=2700, help="per client")
    parser.add_argument("--seed", type=int, default=15)
    arguments = parser.parse_args()

    install_packages()
    with started_cluster() as cluster:
        cluster.sql(TABLES)
        cluster.sql(f"SELECT pg_create_logical_replication_slot('{SLOT}', 'wal2json');")
        run_load(cluster, clients=arguments.clients, transactions=arguments.transactions, seed=arguments.seed)
        feed = receive_feed(cluster)
        orders = final_table(cluster, "orders", ORDERS, "order_id")
        customers = final_table(cluster, "customers", CUSTOMERS, "region, code")
        server = cluster.sql("SELECT version();").decode().strip()

    arguments.folder.mkdir(parents=True, exist_ok=True)
    packed = lzma.compress(feed, preset=9 | lzma.PRESET_EXTREME)
    (arguments.folder / "orders.wal2json.jsonl.xz").write_bytes(packed)
    for name, table in (("orders", orders), ("customers", customers)):
        pa.parquet.write_table(
            table, arguments.folder / f"{name}.final.parquet", compression="zstd", compression_level=19
        )
    report = {
        "server": server,
        "bytes": {"feed": len(feed), "compressed": len(packed)},
        "rows": {"orders": orders.num_rows, "customers": customers.num_rows},
        "counts": count_changes(feed),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
