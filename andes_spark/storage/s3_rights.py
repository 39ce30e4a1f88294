"""Rights on S3 that readers, writers and mergers of a table need, as statements of IAM policies.

Sources: the actions of S3's requests and what a missing object is answered without ``s3:ListBucket`` are in the S3 API
reference (GetObject, "Permissions"); those of multipart uploads and of encryption by KMS in the S3 user guide,
"Multipart upload API and permissions": parts are decrypted before an upload completes, so writers need ``kms:Decrypt``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Role = Literal["reader", "writer", "merger"]
ROLES: tuple[Role, ...] = ("reader", "writer", "merger")

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject")
_KEY = {"reader": ("kms:Decrypt",), "writer": ("kms:Decrypt", "kms:GenerateDataKey")}
_LOG = "_andes/"


def policy(role: Role, bucket: str, folder: str, *, kms_key: str | None = None, partition: str = "aws") -> Any:
    """Build the IAM policy of a role.

    Args:
        role: ``reader``; ``writer``, which applies batches without merges; or ``merger``, which does all else too.
        bucket: the bucket.
        folder: the table's folder in it; empty for the whole bucket.
        kms_key: ARN of the KMS key with which the objects are encrypted.
        partition: ``aws``, ``aws-cn`` or ``aws-us-gov``.
    """
    within = f"{folder.strip('/')}/" if folder.strip("/") else ""
    lake = f"arn:{partition}:s3:::{bucket}"
    statements = [
        {
            # Without a prefix in the request, as for an object that is missing, the condition holds.
            **_statement("List", ("s3:ListBucket",), lake),
            "Condition": {"StringLikeIfExists": {"s3:prefix": [within.rstrip("/"), f"{within}*"]}},
        },
        # S3A in Spark asks whether the folder itself is an object.
        _statement("Read", _READ, *([f"{lake}/{within.rstrip('/')}"] if within else []), f"{lake}/{within}*"),
    ]
    if role != "reader":
        statements.append(_statement("Write", _WRITE, f"{lake}/{within}{_LOG if role == 'writer' else ''}*"))
    if kms_key is not None:
        statements.append(_statement("Encryption", _KEY["reader" if role == "reader" else "writer"], kms_key))
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(name: str, actions: Sequence[str], *resources: str) -> Mapping[str, Any]:
    return {"Sid": f"AndesTable{name}", "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
