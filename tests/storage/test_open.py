from __future__ import annotations

import os
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.open import open_storage
from andes_spark.storage.s3_options import S3Options

S3 = {"aws_access_key_id": "AKIA-KEY", "aws_secret_access_key": "S3CRET"}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/lake/orders", "/lake/orders"),
        ("/lake/orders/", "/lake/orders"),
        ("/lake//x/../orders", "/lake/orders"),
        ("/a b/100%25/q'\"/größe", "/a b/100%25/q'\"/größe"),
        ("file:///lake/orders", "/lake/orders"),
        ("file:/lake/orders", "/lake/orders"),
        ("FILE:///lake/orders", "/lake/orders"),
        ("file://localhost/lake/orders", "/lake/orders"),
        ("file:///a%20b/100%25/%C3%A9?x#y", "/a b/100%/é?x#y"),
    ],
)
def test_folders_on_disk(url: str, path: str) -> None:
    storage = open_storage(url)
    assert isinstance(storage, DiskStorage)
    assert storage.url == path


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("lake/a:b")
    assert storage.url == str(tmp_path / "lake/a:b")
    monkeypatch.chdir("/")
    storage.put("x", b"1")
    assert (tmp_path / "lake/a:b/x").read_bytes() == b"1"


@given(st.lists(st.text("ab %é'\"#?&+:@日", min_size=1, max_size=6), min_size=1, max_size=4).map("/".join))
def test_a_quoted_file_url_names_the_plain_path(path: str) -> None:
    assert open_storage("file:///" + quote(path)).url == open_storage("/" + path).url == os.path.normpath("/" + path)


@pytest.mark.parametrize(
    "url",
    ["s3://lake/orders", "s3a://lake/orders", "S3A://lake/orders/"],
)
def test_s3(url: str) -> None:
    assert open_storage(url, options=S3).url == "s3://lake/orders"


def test_the_root_of_a_bucket() -> None:
    assert open_storage("s3://lake", options=S3).url == open_storage("s3://lake/", options=S3).url == "s3://lake"


def test_an_s3_folder_is_not_decoded() -> None:
    assert open_storage("s3://lake/a%20b/c d?#x", options=S3).url == "s3://lake/a%20b/c d?#x"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hdfs://nn/x", "hdfs:// are not supported"),
        ("s3n://lake/x", "did you mean s3://"),
        ("abfss://c@a.dfs.core.windows.net/x", "abfss"),
        ("memory://x", "memory"),
        ("http://x/y", "http"),
        ("gs:/x", "gs"),
        ("file://host/x", "host"),
        ("file://host", "host"),
        ("file:///%ff", "UTF-8"),
        ("file:///a%00", "NUL"),
        ("a\0b", "named by"),
        ("", "named by"),
        ("s3://", "bucket"),
        ("s3:/lake/x", "bucket"),
        ("s3:///x", "bucket"),
        ("s3://la ke/x", "bucket"),
        ("s3://lake/a/../b", "'..'"),
        ("s3://lake//b", "absolute"),
        ("s3://lake/a//b", "''"),
        ("s3://lake/a\nb", "control character"),
    ],
)
def test_refused_by_name(url: str, message: str) -> None:
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        open_storage(url, options=S3 if url.startswith("s3:") else None)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(OptionError) as caught:
        open_storage("s3://AKIA-KEY:S3CRET@lake/orders")
    assert "S3CRET" not in str(caught.value) + repr(caught.value.fields)


def test_a_directory_bucket_is_refused() -> None:
    with pytest.raises(UnsupportedTableError, match="use a general purpose bucket"):
        open_storage("s3://lake--use1-az4--x-s3/orders")


def test_a_disk_takes_no_options() -> None:
    with pytest.raises(OptionError, match="aws_region"):
        open_storage("/lake", options={"aws_region": "x"})
    assert open_storage("/lake", options={}).url == "/lake"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aws_endpont": "x"}, "did you mean aws_endpoint"),
        ({"AWS_REGION": "x"}, "did you mean aws_region"),
        ({"session_token": "x"}, "did you mean aws_session_token"),
        ({"zzz": "x"}, "known are"),
        ({"aws_region": ""}, "aws_region must be a string"),
        ({"aws_region": 1}, "aws_region must be a string"),
        ({"aws_access_key_id": "S3CRET"}, "together"),
        ({"aws_secret_access_key": "S3CRET"}, "together"),
        ({"aws_session_token": "S3CRET"}, "aws_session_token belongs"),
        ({"aws_allow_http": "yes"}, '"true" or "false"'),
        ({"aws_endpoint": "localhost:9000"}, "must be a URL"),
        ({"aws_endpoint": "https://u:S3CRET@host"}, "without credentials"),
        ({"aws_endpoint": "http://localhost:9000"}, "aws_allow_http"),
    ],
)
def test_s3_options_are_checked(options, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        open_storage("s3://lake/orders", options=options)
    assert "S3CRET" not in str(caught.value) + repr(caught.value.fields)


def test_secrets_stay_out_of_the_repr() -> None:
    options = {**S3, "aws_session_token": "T0KEN"}
    shown = repr(open_storage("s3://lake/orders", options=options)) + repr(S3Options.parse(options))
    assert "S3CRET" not in shown
    assert "T0KEN" not in shown
    assert "AKIA-KEY" not in shown
