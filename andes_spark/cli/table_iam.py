"""``andes table iam``: the rights on S3 that users of a table need."""

from __future__ import annotations

import json
import re

import click

from andes_spark.cli.help import Command
from andes_spark.errors import OptionError
from andes_spark.storage.s3_rights import ROLES, Role, policy

_TABLE = re.compile(r"s3a?://([^/]+)(?:/(.*))?", re.DOTALL)
_KEY = re.compile(r"arn:(aws[a-z-]*):kms:[^:]+:\d+:(key|alias)/.+")


@click.command(cls=Command)
@click.argument("table", metavar="TABLE")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the user does with the table.")
@click.option("--kms-key", metavar="ARN", help="KMS key with which the objects are encrypted.")
@click.option(
    "--partition", type=click.Choice(["aws", "aws-cn", "aws-us-gov"]), default="aws", show_default=True,
    help="Partition of AWS.",
)  # fmt: skip
def iam(table: str, role: Role, kms_key: str | None, partition: str) -> None:
    """Print the IAM policy that a reader, a writer or a merger of a table on S3 needs. Asks no store.

    A writer applies batches without merges, as to a table with --merge manual. A merger merges, and does all else:
    create, convert, vacuum, repair, drop.
    """
    match = _TABLE.fullmatch(table)
    if match is None:
        raise OptionError(f"TABLE is a URL such as s3://bucket/folder, and {table!r} is none", option="table")
    if kms_key is not None and _KEY.fullmatch(kms_key) is None:
        raise OptionError(
            f"--kms-key is an ARN such as arn:aws:kms:eu-west-1:111122223333:key/ID, and {kms_key!r} is none",
            option="kms_key",
        )
    document = policy(role, match[1], match[2] or "", kms_key=kms_key, partition=partition)
    click.echo(json.dumps(document, indent=2))
