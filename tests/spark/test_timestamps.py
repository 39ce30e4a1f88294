"""Reads by time as Spark DataFrames: a time without a zone is of the session's zone."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest

from andes_spark.errors import NoSuchVersionError, OptionError
from tests.spark.batches import SIMPLE, create, simple_rows, table_of


@pytest.mark.slow
def test_a_timestamp_without_a_zone_is_of_the_session(spark, tmp_path):
    table = create(tmp_path / "t")
    table.apply(table_of(simple_rows(0, 2, 1), SIMPLE))
    first = table.history(limit=1)[0].time
    table._open_table.log.clock = lambda: int(first.timestamp() * 1000) + 60_000
    table.apply(table_of(simple_rows(2, 2, 1), SIMPLE))
    kept = spark.conf.get("spark.sql.session.timeZone")
    try:
        for zone in ("America/Los_Angeles", "+05:30", "UTC"):
            spark.conf.set("spark.sql.session.timeZone", zone)
            offset = datetime.timedelta(hours=5.5) if zone == "+05:30" else None
            local = first.astimezone(ZoneInfo(zone) if offset is None else datetime.timezone(offset))
            for timestamp in (local, local.replace(tzinfo=None), local.replace(tzinfo=None).isoformat(" ")):
                assert table.read(timestamp=timestamp).count() == 2
            table.create_view("then", timestamp=local.replace(tzinfo=None))
            assert spark.table("then").count() == 2
            with pytest.raises(NoSuchVersionError):
                table.read(timestamp=local.date() - datetime.timedelta(days=2))
            with pytest.raises(OptionError, match="after version 2, the newest"):
                table.read(timestamp=local.replace(tzinfo=None) + datetime.timedelta(days=2))
            # Without Spark the zone of a session does not count.
            with pytest.raises(OptionError, match="has no zone"):
                table.to_arrow(timestamp=local.replace(tzinfo=None))
    finally:
        spark.conf.set("spark.sql.session.timeZone", kept)
