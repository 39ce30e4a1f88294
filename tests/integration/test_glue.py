"""sync_glue on a table on S3, against the Glue API of a server; PyIceberg and polars read what it names."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyiceberg.catalog import load_catalog

from andes_spark import ModTable
from andes_spark.cli.app import andes
from andes_spark.errors import (
    AccessDeniedError,
    ForeignWriteError,
    MergeBlockedError,
    NoSuchTableError,
    NotFoundError,
    OptionError,
    UnsupportedTableError,
)
from andes_spark.jobs.sync_catalog import parse, run
from andes_spark.testing.s3 import S3Server
from tests.glue_double import RefusedError, strict_glue

pytestmark = pytest.mark.integration


@pytest.fixture
def orders(s3_server: S3Server) -> ModTable:
    """A table on S3; the name of its bucket is free as the name of a database."""
    table = ModTable.create(
        f"s3://{s3_server.make_bucket()}/lake/orders",
        "order_id BIGINT COMMENT 'number', status STRING, lsn BIGINT, region STRING",
        primary_key="order_id",
        sequence_by="lsn",
        partition_by="region",
        merge="manual",
        storage_options=s3_server.options,
    )
    apply(table, 1)
    table.merge()
    return table


def apply(table: ModTable, number: int) -> None:
    mods = {"order_id": [1, number + 1], "status": ["new", "open"], "lsn": [number, number], "region": ["eu", "us"]}
    table.apply(pa.table(mods), batch_id=("shop", number))


def database(table: ModTable) -> str:
    return table.url.split("/")[2]


def client(server: S3Server) -> Any:
    access = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("glue", endpoint_url=server.endpoint, **access)


def entry(server: S3Server, name: str) -> dict[str, Any]:
    database, table = name.split(".")
    answer: dict[str, Any] = client(server).get_table(DatabaseName=database, Name=table)["Table"]
    return answer


def sync(table: ModTable, server: S3Server, as_: Any = "delta", **options: Any):
    return table.sync_glue(f"{database(table)}.orders", as_, endpoint=server.endpoint, **options)


def test_the_delta_form_leads_readers_to_the_table(orders, s3_server):
    with pytest.raises(NotFoundError, match="no database"):
        sync(orders, s3_server)
    result = sync(orders, s3_server, create_database=True)
    assert [plan.action for plan in result.entries] == ["create"]
    assert not sync(orders, s3_server).changed
    apply(orders, 2)
    result = sync(orders, s3_server)
    assert (result.pending, result.entries[0].applied) == (1, 1)
    orders.merge()
    assert sync(orders, s3_server).entries[0].applied == 2
    stored = entry(s3_server, f"{database(orders)}.orders")
    assert [column["Name"] for column in stored["StorageDescriptor"]["Columns"]][-1] == "region"
    assert json.loads(stored["Parameters"]["andes.partition_by"]) == ["region"]
    rows = pl.read_delta(stored["StorageDescriptor"]["Location"], storage_options=s3_server.options)
    assert rows.sort("order_id").to_dicts() == orders.to_polars().sort("order_id").to_dicts()


def test_the_iceberg_form_is_read_through_the_catalog(orders, s3_server):
    sync(orders, s3_server, "both", create_database=True)
    catalog = load_catalog(
        "glue",
        **{
            "type": "glue",
            "glue.endpoint": s3_server.endpoint,
            "glue.region": "us-east-1",
            "glue.access-key-id": "test",
            "glue.secret-access-key": "test",
            "s3.endpoint": s3_server.endpoint,
            "s3.access-key-id": "test",
            "s3.secret-access-key": "test",
            "s3.region": "us-east-1",
        },
    )
    name = f"{database(orders)}.orders_iceberg"
    for number in (2, 3):
        expected = orders.to_arrow().sort_by("order_id")
        assert catalog.load_table(name).scan().to_arrow().sort_by("order_id").to_pylist() == expected.to_pylist()
        apply(orders, number)
        orders.merge()
        before = entry(s3_server, name)["Parameters"]["metadata_location"]
        result = sync(orders, s3_server, "both")
        assert [plan.action for plan in result.entries] == ["update", "update"]
        parameters = entry(s3_server, name)["Parameters"]
        assert parameters["previous_metadata_location"] == before != parameters["metadata_location"]
    assert not sync(orders, s3_server, "both").changed


def test_of_several_callers_at_once_one_updates_the_entry(orders, s3_server):
    sync(orders, s3_server, create_database=True)
    apply(orders, 2)
    orders.merge()
    handles = [ModTable.open(orders.url, storage_options=s3_server.options) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda table: sync(table, s3_server), handles))
    actions = [result.entries[0].action for result in results]
    assert sorted(actions) == ["nothing", "nothing", "nothing", "update"]
    stored = entry(s3_server, f"{database(orders)}.orders")
    assert (stored["Parameters"]["andes.applied"], stored["VersionId"]) == ("2", "2")


def test_a_commit_of_another_writer_of_the_iceberg_form_is_never_overwritten(orders, s3_server):
    sync(orders, s3_server, "iceberg", create_database=True)
    stored = entry(s3_server, f"{database(orders)}.orders")
    foreign = stored["StorageDescriptor"]["Location"] + "/metadata/00002-1b9d6bcd.metadata.json"
    table_input = {key: stored[key] for key in ("Name", "TableType", "StorageDescriptor", "Parameters")}
    table_input["Parameters"]["metadata_location"] = foreign
    client(s3_server).update_table(DatabaseName=database(orders), TableInput=table_input)
    apply(orders, 2)
    orders.merge()
    for adopt in (False, True):
        with pytest.raises(ForeignWriteError, match="another writer committed to it"):
            sync(orders, s3_server, "iceberg", adopt=adopt)
    assert entry(s3_server, f"{database(orders)}.orders")["Parameters"]["metadata_location"] == foreign


def test_after_a_forget_the_iceberg_form_begins_anew(orders, s3_server):
    sync(orders, s3_server, "iceberg", create_database=True)
    apply(orders, 2)
    orders.merge()
    sync(orders, s3_server, "iceberg")
    orders.forget(keys=[3], confirm="orders")
    result = sync(orders, s3_server, "iceberg")
    location = entry(s3_server, f"{database(orders)}.orders")["Parameters"]["metadata_location"]
    assert result.changed
    assert location.endswith("/v1.metadata.json")


def test_mods_are_merged_first_if_they_have_been_pending_for_long(orders, s3_server):
    sync(orders, s3_server, create_database=True)
    apply(orders, 2)
    result = sync(orders, s3_server, freshness="1 hour")
    assert (result.merge, result.merge_due, result.pending) == (None, False, 1)
    planned = sync(orders, s3_server, freshness="0 seconds", dry_run=True)
    assert (planned.merge_due, orders.status().pending_versions) == (True, 1)
    assert "would be made first" in str(planned)
    result = sync(orders, s3_server, freshness="0 seconds")
    assert result.merge is not None
    assert result.merge.status == "merged"
    assert (result.pending, result.entries[0].applied) == (0, 2)
    assert not sync(orders, s3_server, freshness="0 seconds").merge_due


def test_a_failure_is_shown_by_status_and_the_next_run_does_it_all(orders, s3_server):
    assert orders.status().targets == ()
    with strict_glue() as glue:
        name, options = f"{database(orders)}.orders", {"as_": "both", "endpoint": glue.endpoint}
        glue.databases[database(orders)] = {"Name": database(orders)}
        glue.planted["CreateTable"] = [RefusedError("AccessDeniedException", "not authorized")]
        with pytest.raises(AccessDeniedError, match="glue:CreateTable is needed"):
            orders.sync_glue(name, **options)
        failed, done = sorted(orders.status().targets, key=lambda outcome: outcome.form)
        assert failed.error.startswith("AccessDeniedError: Glue, CreateTable")
        assert (done.error, done.applied, done.target) == (None, 1, f"glue {name}_iceberg")
        assert "FAILED" in str(orders.status())
        assert orders.verify().ok

        result = orders.sync_glue(name, **options)
        assert [plan.action for plan in result.entries] == ["create", "nothing"]
        assert [outcome.error for outcome in orders.status().targets] == [None, None]
        assert f"glue {name}" in str(orders.status())


def test_a_merge_that_fails_is_shown_by_status_and_leaves_the_entry(orders, s3_server, monkeypatch):
    sync(orders, s3_server, create_database=True)
    apply(orders, 2)

    def blocked(open_table):
        raise MergeBlockedError("version 2 cannot be merged", version=2)

    with monkeypatch.context() as planted:
        planted.setattr("andes_spark.table.glue.run_merge", blocked)
        with pytest.raises(MergeBlockedError):
            sync(orders, s3_server, freshness="0 seconds")
    (outcome,) = orders.status().targets
    assert outcome.error == "MergeBlockedError: version 2 cannot be merged"
    assert entry(s3_server, f"{database(orders)}.orders")["Parameters"]["andes.applied"] == "1"
    assert sync(orders, s3_server, freshness="0 seconds").entries[0].applied == 2
    assert orders.status().targets[0].error is None


def test_nothing_to_do_is_one_request_and_a_new_version_two(orders):
    with strict_glue() as glue:
        glue.databases["sales"] = {"Name": "sales"}
        for form in ("delta", "iceberg"):
            glue.tables.clear()
            orders.sync_glue("sales.orders", form, endpoint=glue.endpoint)
            glue.requests.clear()
            orders.sync_glue("sales.orders", form, endpoint=glue.endpoint)
            assert glue.actions == ["GetTable"]
            apply(orders, orders.version + 1)
            orders.merge()
            glue.requests.clear()
            orders.sync_glue("sales.orders", form, endpoint=glue.endpoint)
            assert glue.actions == ["GetTable", "UpdateTable"]
            assert glue.requests[-1][1]["SkipArchive"] is True


@pytest.mark.parametrize("form", ["delta", "iceberg"])
def test_a_dry_run_writes_nothing(orders, s3_server, form):
    from andes_spark.storage.open import open_storage

    storage = open_storage(orders.url, options=s3_server.options)
    with strict_glue() as glue:
        result = orders.sync_glue(
            "sales.orders", form, endpoint=glue.endpoint, create_database=True, freshness="0 seconds", dry_run=True
        )
        assert (glue.databases, glue.tables, result.changed) == ({}, {}, True)
        assert "would be created" in str(result)
        assert not list(storage.list("_andes/targets"))
        assert not list(storage.list("_andes/iceberg"))
        orders.sync_glue("sales.orders", form, endpoint=glue.endpoint, create_database=True)
        assert not orders.sync_glue("sales.orders", form, endpoint=glue.endpoint, dry_run=True).changed
        apply(orders, 2)
        orders.merge()
        planned = orders.sync_glue("sales.orders", form, endpoint=glue.endpoint, dry_run=True).entries[0]
        assert orders.sync_glue("sales.orders", form, endpoint=glue.endpoint).entries[0].table_input == (
            planned.table_input
        )


def test_what_glue_cannot_hold_is_named_before_a_request_changes_anything(orders, s3_server):
    orders.alter.rename_comment("status", "x" * 256)
    orders.merge()
    with strict_glue() as glue:
        with pytest.raises(UnsupportedTableError, match="comment of 256 characters") as caught:
            orders.sync_glue("sales.orders", endpoint=glue.endpoint, create_database=True)
        assert caught.value.column == "status"
        assert set(glue.actions) == {"GetTable", "GetDatabase"}


@pytest.mark.parametrize("form", ["delta", "iceberg"])
def test_a_table_is_opened_by_its_name(orders, s3_server, form):
    access = {"endpoint": s3_server.endpoint, "storage_options": s3_server.options}
    name = f"{database(orders)}.orders"
    with pytest.raises(NoSuchTableError, match="Glue has no table"):
        ModTable.for_name(None, name, **access)
    sync(orders, s3_server, form, create_database=True)
    apply(orders, 2)
    named = ModTable.for_name(None, name, **access)
    assert (named.url, named.version) == (orders.url, 2)
    assert named.to_arrow().sort_by("order_id").equals(orders.to_arrow().sort_by("order_id"))


def test_a_name_of_a_table_that_is_gone_leads_to_no_other_one(orders, s3_server):
    sync(orders, s3_server, create_database=True)
    orders.drop(confirm="orders")
    ModTable.create(orders.url, "a BIGINT", primary_key="a", storage_options=s3_server.options)
    with pytest.raises(ForeignWriteError, match="of a table that was in"):
        ModTable.for_name(
            None, f"{database(orders)}.orders", endpoint=s3_server.endpoint, storage_options=s3_server.options
        )


def test_options_that_cannot_be_used_are_named(orders, tmp_path):
    local = ModTable.create(tmp_path / "local", "a BIGINT", primary_key="a")
    with pytest.raises(OptionError, match="is not on S3"):
        local.sync_glue("sales.orders")
    for options, problem in (
        ({"as_": "hive"}, "as_ is"),
        ({"iceberg_name": "sales.x"}, 'iceberg_name is for as_="both"'),
        ({"as_": "both", "iceberg_name": "sales.orders"}, "cannot be the name of both forms"),
        ({"freshness": "soon"}, "freshness"),
        ({"endpoint": "no url"}, "endpoint"),
    ):
        with pytest.raises(OptionError, match=problem):
            orders.sync_glue("sales.orders", **options)


def test_the_command_and_the_job_do_the_same(orders, s3_server):
    access = [part for name, value in s3_server.options.items() for part in ("--storage-option", f"{name}={value}")]
    name = f"{database(orders)}.orders"
    flags = [orders.url, name, "--as", "both", "--create-database", "--endpoint", s3_server.endpoint, *access]
    outcome = CliRunner().invoke(andes, ["sync", "glue", *flags, "--dry-run"])
    assert outcome.exit_code == 0, outcome.output
    assert "would be created" in outcome.output
    outcome = CliRunner().invoke(andes, ["sync", "glue", *flags, "--output", "json"])
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    assert [plan["action"] for plan in document["entries"]] == ["create", "create"]
    assert document["changed"]

    options = ["--endpoint", s3_server.endpoint, *access]
    lines: list[str] = []
    job = parse([f"{name}={orders.url}", f"{database(orders)}.gone={orders.url}x", *options])
    assert run(job, lines.append) == 1
    assert lines[0] == f"{name} (delta): nothing to do, shows version 1"
    assert "NoSuchTableError" in lines[1]
    assert run(parse([f"{name}={orders.url}", *options]), lines.append) == 0


def test_the_rights_in_the_guide_are_those_that_are_used(orders):
    guide = (Path(__file__).parent.parent.parent / "docs" / "glue.md").read_text("utf-8")
    match = re.search(r"```json\n(.*?)```", guide, re.DOTALL)
    assert match is not None
    (statement,) = json.loads(match[1])["Statement"]
    with strict_glue() as glue:
        orders.sync_glue("sales.orders", "both", create_database=True, endpoint=glue.endpoint)
        apply(orders, 2)
        orders.sync_glue("sales.orders", "both", freshness="0 seconds", endpoint=glue.endpoint)
        assert {f"glue:{action}" for action in glue.actions} == {*statement["Action"], "glue:CreateDatabase"}
