"""An entry of Glue in the Delta form, on a strict double: requests, edits of others, drift, races, failures."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import (
    AccessDeniedError,
    CommitConflictError,
    ForeignWriteError,
    NotFoundError,
    StoreUnavailableError,
    ThrottledError,
)
from andes_spark.sync.glue.client import ATTEMPTS
from andes_spark.sync.glue.entry import delta_entry, iceberg_entry
from andes_spark.sync.glue.names import GlueName
from andes_spark.sync.glue.synchronizer import GlueSynchronizer
from andes_spark.table.iceberg import shown_by
from tests.glue_double import RefusedError, StrictGlue, strict_glue

GOLDEN = Path(__file__).parent.parent / "golden"
LOCATION = "s3://lake/orders"
COLUMNS = (
    "order_id BIGINT COMMENT 'number of the order', Status STRING, lsn BIGINT, "
    "lines ARRAY<STRUCT<sku: STRING, price: DECIMAL(10,2)>>, seen TIMESTAMP_NTZ"
)


@pytest.fixture
def glue():
    with strict_glue() as double:
        double.databases["sales"] = {"Name": "sales"}
        yield double


@pytest.fixture
def orders(tmp_path) -> ModTable:
    table = ModTable.create(
        tmp_path / "orders", COLUMNS, primary_key="order_id", sequence_by="lsn", comment="Orders of the shop"
    )
    apply(table, 1)
    return table


def apply(table: ModTable, number: int) -> None:
    columns = [name for name in table.schema.names if name not in ("order_id", "lsn")]
    mods = pa.table({"order_id": [number], "lsn": [number]})
    table.apply(mods, missing="null", batch_id=("shop", number)) if columns else table.apply(mods)


def synchronizer(glue: StrictGlue, table: ModTable, **options: Any) -> GlueSynchronizer:
    return GlueSynchronizer(
        glue.api,
        GlueName.parse("sales.orders"),
        lambda: delta_entry(shown_by(table._open_table), LOCATION),
        **options,
    )


def sync(glue: StrictGlue, table: ModTable, **options: Any):
    """Synchronize; return the plan and the actions of its requests."""
    glue.requests.clear()
    return synchronizer(glue, table, **options).apply(3), glue.actions


def entry(glue: StrictGlue) -> dict[str, Any]:
    return glue.tables["sales", "orders"]


def column(glue: StrictGlue, name: str) -> dict[str, Any]:
    return next(column for column in entry(glue)["StorageDescriptor"]["Columns"] if column["Name"] == name)


def golden(name: str, request: Any, table: ModTable) -> None:
    """Compare a request with the one of a file, which names the documentation that it is made by."""
    text = json.dumps(request).replace(table._open_table.table_id, "TABLE-ID")
    assert json.loads(text) == json.loads((GOLDEN / name).read_text("utf-8"))["request"]


def test_an_entry_is_created_as_documented_then_one_request_and_two_for_a_new_version(glue, orders):
    plan, actions = sync(glue, orders)
    assert (plan.action, plan.applied, actions) == ("create", 1, ["GetTable", "GetDatabase", "CreateTable"])
    golden("glue_create_table_delta.json", glue.requests[-1][1], orders)

    plan, actions = sync(glue, orders)
    assert (plan.action, plan.changes, actions) == ("nothing", (), ["GetTable"])

    apply(orders, 2)
    plan, actions = sync(glue, orders)
    assert (plan.action, actions) == ("update", ["GetTable", "UpdateTable"])
    assert "parameter andes.applied 2, was 1" in plan.changes
    golden("glue_update_table_delta.json", glue.requests[-1][1], orders)
    assert sync(glue, orders)[1] == ["GetTable"]


def test_a_plan_changes_nothing_and_says_all(glue, orders):
    plan = synchronizer(glue, orders).plan()
    assert glue.actions == ["GetTable", "GetDatabase"]
    assert not glue.tables
    assert plan.summary() == "sales.orders (delta): would be created, shows version 1"
    assert "column order_id bigint" in str(plan)
    assert plan.table_input is not None
    assert plan.table_input["Parameters"]["table_type"] == "delta"


def test_a_missing_database_is_named_or_created(glue, orders):
    glue.databases.clear()
    with pytest.raises(NotFoundError, match="no database 'sales'"):
        sync(glue, orders)
    plan, actions = sync(glue, orders, create_database=True)
    assert plan.creates_database
    assert actions == ["GetTable", "GetDatabase", "CreateDatabase", "CreateTable"]
    assert list(glue.databases) == ["sales"]


def test_columns_come_become_wider_get_comments_and_go(glue, orders):
    orders.alter.add_column("small", "INT")
    orders.merge()
    sync(glue, orders)
    orders.alter.add_column("city", "STRING", comment="of the buyer")
    orders.alter.widen("small", "BIGINT")
    orders.alter.rename_comment("order_id", "key")
    orders.alter.drop_column("seen")
    orders.merge()
    plan, actions = sync(glue, orders)
    assert actions == ["GetTable", "UpdateTable"]
    shape = [(column["Name"], column["Type"]) for column in entry(glue)["StorageDescriptor"]["Columns"]]
    assert shape == [
        ("order_id", "bigint"),
        ("status", "string"),
        ("lsn", "bigint"),
        ("lines", "array<struct<sku:string,price:decimal(10,2)>>"),
        ("small", "bigint"),
        ("city", "string"),
    ]
    assert (column(glue, "order_id")["Comment"], column(glue, "city")["Comment"]) == ("key", "of the buyer")
    changes = {"column seen dropped", "column city string added", "column small is bigint, was int"}
    assert changes | {"comment of column order_id"} <= set(plan.changes)
    stored = json.loads(entry(glue)["Parameters"]["spark.sql.sources.schema.part.0"])
    assert [field["name"] for field in stored["fields"]][:2] == ["order_id", "Status"]


def test_what_others_set_stays(glue, orders):
    sync(glue, orders)

    def edit(table):
        table["Owner"] = "data-platform"
        table["Description"] = "Bestellungen"
        table["Parameters"]["team"] = "shop"
        table["StorageDescriptor"]["Columns"][1]["Comment"] = "set in the console"
        table["StorageDescriptor"]["Columns"][1]["Parameters"] = {"pii": "no"}
        table["StorageDescriptor"]["Parameters"] = {"crawler": "x"}

    glue.edit("sales", "orders", edit)
    plan, actions = sync(glue, orders)
    assert actions == ["GetTable"]
    assert set(plan.kept) == {"comment of column status", "parameter team", "description", "owner data-platform"}
    orders.alter.rename_comment("Status", "of the order")
    apply(orders, 2)
    sync(glue, orders)
    assert (entry(glue)["Owner"], entry(glue)["Description"]) == ("data-platform", "Bestellungen")
    assert entry(glue)["Parameters"]["team"] == "shop"
    assert entry(glue)["Parameters"]["andes.applied"] == str(orders.version)
    assert column(glue, "status")["Comment"] == "set in the console"
    assert column(glue, "status")["Parameters"] == {"pii": "no"}
    assert entry(glue)["StorageDescriptor"]["Parameters"] == {"crawler": "x"}


def test_comments_of_the_table_follow_it_where_nobody_edited_them(glue, orders):
    sync(glue, orders)
    orders.alter.set(comment="All orders")
    orders.alter.rename_comment("order_id", None)
    orders.merge()
    sync(glue, orders)
    assert entry(glue)["Description"] == "All orders"
    assert "Comment" not in column(glue, "order_id")
    orders.alter.unset("comment")
    orders.merge()
    sync(glue, orders)
    assert entry(glue)["Description"] == ""
    assert "andes.comment" not in entry(glue)["Parameters"]
    assert sync(glue, orders)[1] == ["GetTable"]


def parameters(**changes: str | None):
    def edit(table):
        for name, value in changes.items():
            table["Parameters"].pop(name.replace("__", "."), None)
            if value is not None:
                table["Parameters"][name.replace("__", ".")] = value

    return edit


def storage(**changes: Any):
    return lambda table: table["StorageDescriptor"].update(changes)


ADOPTABLE = {
    "written by another program": (parameters(andes__table_id=None), "this library did not write it"),
    "of another table": (parameters(andes__table_id="x"), "it is of another table of this library"),
    "a column added by hand": (
        lambda table: table["StorageDescriptor"]["Columns"].append({"Name": "x", "Type": "int"}),
        "its columns were edited",
    ),
    "a type changed by hand": (
        lambda table: table["StorageDescriptor"]["Columns"][0].update(Type="string"),
        "its columns were edited",
    ),
    "formats changed by hand": (storage(InputFormat="x"), "its InputFormat was edited"),
    "a serde changed by hand": (storage(SerdeInfo={"SerializationLibrary": "x"}), "its SerdeInfo was edited"),
}
OTHERS = {
    "another folder": (storage(Location="s3://lake/other"), "it shows another folder, s3://lake/other"),
    "a view": (lambda table: table.update(TableType="VIRTUAL_VIEW"), "it is a view"),
    "a table of Hive": (
        parameters(table_type=None, spark__sql__sources__provider="parquet"),
        "it is of the form of no Delta and no Iceberg table",
    ),
    "an Iceberg table": (parameters(table_type="ICEBERG"), "it is of the form iceberg"),
    "a later version": (parameters(andes__applied="7"), "it shows version 7, and the base has version 1"),
}


@pytest.mark.parametrize(("edit", "problem"), [*ADOPTABLE.values(), *OTHERS.values()], ids=[*ADOPTABLE, *OTHERS])
def test_an_entry_of_others_is_reported_and_never_overwritten(glue, orders, edit, problem):
    sync(glue, orders)
    glue.edit("sales", "orders", edit)
    before = json.dumps(entry(glue))
    apply(orders, 2)
    planned = synchronizer(glue, orders).plan()
    assert planned.action == "refused" or problem.endswith("version 1")
    with pytest.raises(ForeignWriteError, match="left as it is") as caught:
        sync(glue, orders)
    assert any(text.startswith(problem.partition(", and")[0]) for text in caught.value.problems or ())
    assert json.dumps(entry(glue)) == before


@pytest.mark.parametrize("edit", [edit for edit, _ in ADOPTABLE.values()], ids=ADOPTABLE)
def test_an_entry_of_the_same_folder_can_be_taken_over(glue, orders, edit):
    sync(glue, orders)
    expected = {**copy.deepcopy(entry(glue)), "VersionId": "2"}
    glue.edit("sales", "orders", edit)
    assert sync(glue, orders, adopt=True)[0].action == "update"
    assert entry(glue) == expected
    assert sync(glue, orders)[1] == ["GetTable"]


@pytest.mark.parametrize("edit", [edit for edit, _ in OTHERS.values()], ids=OTHERS)
def test_no_other_entry_can_be_taken_over(glue, orders, edit):
    sync(glue, orders)
    glue.edit("sales", "orders", edit)
    with pytest.raises(ForeignWriteError):
        sync(glue, orders, adopt=True)


def test_an_edit_between_get_and_update_is_seen_and_kept(glue, orders):
    sync(glue, orders)
    apply(orders, 2)
    glue.before["UpdateTable"] = lambda: glue.edit("sales", "orders", parameters(team="shop"))
    plan, actions = sync(glue, orders)
    assert actions == ["GetTable", "UpdateTable", "GetTable", "UpdateTable"]
    assert plan.done
    assert entry(glue)["Parameters"]["team"] == "shop"
    assert entry(glue)["Parameters"]["andes.applied"] == "2"


def test_a_writer_that_is_always_overtaken_ends_with_a_conflict(glue, orders):
    sync(glue, orders)
    apply(orders, 2)
    conflict = RefusedError("ConcurrentModificationException", "concurrent")
    glue.planted["UpdateTable"] = [conflict] * 3
    with pytest.raises(CommitConflictError, match="3 times"):
        sync(glue, orders)
    assert sync(glue, orders)[0].action == "update"


def test_an_entry_that_was_deleted_meanwhile_is_created_again(glue, orders):
    sync(glue, orders)
    apply(orders, 2)
    glue.before["UpdateTable"] = glue.tables.clear
    plan, actions = sync(glue, orders)
    assert (plan.action, actions[-1]) == ("create", "CreateTable")
    assert entry(glue)["Parameters"]["andes.applied"] == "2"


def test_two_that_create_the_entry_end_with_one(glue, orders):
    glue.before["CreateTable"] = lambda: synchronizer(glue, orders).apply(3)
    plan, actions = sync(glue, orders)
    assert plan.action == "nothing"
    assert actions.count("CreateTable") == 2


def test_an_answer_that_was_lost_is_a_repeated_request_that_finds_its_own_work(glue, orders):
    """boto3 sends the request again after a 500, and the first one was carried out."""
    sync(glue, orders)
    apply(orders, 2)

    def carried_out():
        glue.answer("UpdateTable", glue.requests[-1][1])
        raise RefusedError("InternalServiceException", "lost", 500)

    glue.before["UpdateTable"] = carried_out
    plan, _ = sync(glue, orders)
    assert plan.action == "nothing"
    assert entry(glue)["Parameters"]["andes.applied"] == "2"


@pytest.mark.parametrize(
    ("refusal", "error", "text"),
    [
        (RefusedError("AccessDeniedException", "no right"), AccessDeniedError, "glue:GetTable is needed"),
        (RefusedError("ThrottlingException", "Rate exceeded"), ThrottledError, "fewer requests"),
        (RefusedError("InternalServiceException", "broken", 500), StoreUnavailableError, "try again later"),
    ],
    ids=["rights", "throttled", "broken"],
)
def test_refusals_are_named(glue, orders, monkeypatch, refusal, error, text):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    glue.planted["GetTable"] = [refusal] * 20
    with pytest.raises(error, match=text) as caught:
        sync(glue, orders)
    assert (caught.value.code, caught.value.status) == (refusal.code, refusal.status)
    assert len(glue.requests) == (1 if error is AccessDeniedError else 6)


def test_throttling_is_waited_for(glue, orders, monkeypatch):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    glue.planted["GetTable"] = [RefusedError("ThrottlingException", "Rate exceeded")] * 3
    glue.planted["CreateTable"] = [RefusedError("ThrottlingException", "Rate exceeded")] * 2
    assert sync(glue, orders)[0].action == "create"


def test_requests_are_repeated_in_the_standard_mode(glue):
    retries = glue.api._client.meta.config.retries
    assert retries == {"mode": "standard", "total_max_attempts": ATTEMPTS}


def test_a_service_that_does_not_answer_is_named(orders, monkeypatch):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    with strict_glue() as double:
        gone = synchronizer(double, orders)
    with pytest.raises(StoreUnavailableError, match="check the network, the region and the endpoint"):
        gone.apply(3)


def iceberg(glue: StrictGlue, table: ModTable, number: int, **options: Any):
    """Synchronize the Iceberg form, with the metadata file of a number."""
    folder = f"{LOCATION}/_andes/iceberg"
    metadata = f"{folder}/metadata/v{number}.metadata.json"
    glue.requests.clear()
    name = GlueName.parse("sales.orders_iceberg")
    read = lambda: iceberg_entry(shown_by(table._open_table), folder, metadata)  # noqa: E731
    return GlueSynchronizer(glue.api, name, read, **options).apply(3)


def test_the_iceberg_form_is_made_as_documented(glue, orders):
    iceberg(glue, orders, 1)
    golden("glue_create_table_iceberg.json", glue.requests[-1][1], orders)
    apply(orders, 2)
    iceberg(glue, orders, 2)
    golden("glue_update_table_iceberg.json", glue.requests[-1][1], orders)


@pytest.mark.parametrize(
    "location",
    [
        f"{LOCATION}/_andes/iceberg/metadata/00002-1b9d6bcd.metadata.json",
        "s3://lake/other/_andes/iceberg/metadata/v2.metadata.json",
        "",
    ],
)
def test_a_foreign_metadata_location_is_never_overwritten(glue, orders, location):
    iceberg(glue, orders, 1)
    stored = glue.tables["sales", "orders_iceberg"]["Parameters"]
    stored["metadata_location"] = location
    for adopt in (False, True):
        with pytest.raises(ForeignWriteError, match="another writer committed to it"):
            iceberg(glue, orders, 2, adopt=adopt)
    assert glue.tables["sales", "orders_iceberg"]["Parameters"]["metadata_location"] == location


def test_metadata_of_the_face_by_another_scheme_and_of_a_face_that_was_dropped_is_its_own(glue, orders):
    iceberg(glue, orders, 7)
    parameters = glue.tables["sales", "orders_iceberg"]["Parameters"]
    parameters["metadata_location"] = parameters["metadata_location"].replace("s3://", "s3a://")
    assert iceberg(glue, orders, 1).action == "update"
    assert parameters["metadata_location"].endswith("v7.metadata.json")
    stored = glue.tables["sales", "orders_iceberg"]["Parameters"]
    assert stored["metadata_location"].endswith("v1.metadata.json")
    assert stored["previous_metadata_location"] == parameters["metadata_location"]
