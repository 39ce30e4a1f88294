"""Stored JSON documents: encoding, checksums, decoding and checks.

Format 2. A document of a later release may have members unknown to this release. They do not change the meaning of
the known members, and are kept when a part is copied into another document. Additions that a reader must not ignore
are named in ``reader_features`` or are events, see ``model.features`` and ``model.events``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeVar

import msgspec

from andes_spark.errors import LogDamagedError, UnsupportedTableError

FORMAT = 2
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
T = TypeVar("T", bound="Document")

_UNKNOWN = "__unknown__"
_SEAL = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\Z')
_SEAL_BYTES = len(',"checksum":""}') + 64


class Document(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Base of stored JSON documents.

    Attributes:
        unknown: members unknown to this release, as read; written again with copies of the document.
    """

    unknown: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict, name=_UNKNOWN)


def encode(document: Document) -> bytes:
    """Encode a document as JSON, deterministic for equal content.

    The last member of a document with a ``checksum`` is the SHA-256 of its bytes without that member. It detects
    edits of the newest manifest, to which no later manifest refers yet.
    """
    if not hasattr(document, "checksum"):
        return _plain(document)
    return seal(_plain(msgspec.structs.replace(document, checksum="")))


def seal(body: bytes) -> bytes:
    """Append the checksum of a JSON object as its last member."""
    return b'%b,"checksum":"%b"}' % (body[:-1], digest_of(body).encode())


def is_sealed(data: bytes) -> bool:
    """Return whether a JSON object ends with the checksum of its other members."""
    match = _SEAL.search(data, max(0, len(data) - _SEAL_BYTES))
    return match is not None and digest_of(data[: match.start()] + b"}").encode() == match[1]


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of a document's bytes in hex, the form of ``previous`` in the next manifest."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes, kind: type[T], *, table: str, path: str, version: int) -> T:
    """Read a sealed document.

    Raises:
        UnsupportedTableError: another format; ``feature``.
        LogDamagedError: not a document of this kind, or changed after it was written.
    """
    fields = {"table": table, "path": path, "version": version}
    if len(data) > MAX_DOCUMENT_BYTES:
        raise LogDamagedError(
            f"{table}: {path} has {len(data)} bytes; no such file is written by this library", **fields
        )
    try:
        check_format(msgspec.json.decode(data, type=_Head).format, **fields)
        _check_seal(data, **fields)
        return _decoded(data, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LogDamagedError(
            f"{table}: {path} is not a document of this library ({error}); restore it from a backup", **fields
        ) from error


def check_format(number: int, **fields: Any) -> None:
    """Refuse a format other than that of this release.

    Raises:
        UnsupportedTableError: ``feature`` names it.
    """
    if number == FORMAT:
        return
    remedy = "install a newer andes_spark" if number > FORMAT else "create the table again"
    raise UnsupportedTableError(
        f"{fields['table']}: {fields['path']} has format {number}, this release reads format {FORMAT}; {remedy}",
        feature=f"format {number}",
        **fields,
    )


def json_schema(kind: type[Document]) -> dict[str, Any]:
    """Return the JSON Schema of a document; unknown members are allowed everywhere."""
    schema: dict[str, Any] = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        definition.get("properties", {}).pop(_UNKNOWN, None)
    return schema


class _Head(msgspec.Struct):
    format: int


def _check_seal(data: bytes, **fields: Any) -> None:
    if not is_sealed(data):
        raise LogDamagedError(
            f"{fields['table']}: {fields['path']} is not as it was written: its checksum differs; it was edited or "
            "damaged: restore it from a backup",
            **fields,
        )


def _decoded(data: bytes, kind: type[T]) -> T:
    document = msgspec.json.decode(data, type=kind)
    # A document that is encoded to the same bytes has no unknown members.
    return document if msgspec.json.encode(document) == data else _with_unknown(document, data)


def _with_unknown(value: Any, raw: bytes | msgspec.Raw) -> Any:
    """Add the unknown members of all documents in a decoded value."""
    if isinstance(value, list | tuple):
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        return type(value)(_with_unknown(element, part) for element, part in zip(value, items, strict=True))
    if not isinstance(value, Document):
        return value
    members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    members.pop(value.__struct_config__.tag_field or "", None)
    known = {}
    for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        if encoded in members:
            known[name] = _with_unknown(getattr(value, name), members.pop(encoded))
    unknown = {name: member.copy() for name, member in members.items()}
    return msgspec.structs.replace(value, **{**known, "unknown": unknown})


def _plain(document: Document) -> bytes:
    data = msgspec.json.encode(document)
    # The name may also occur in user-defined properties: check the tree.
    return msgspec.json.encode(_tree(document)) if f'"{_UNKNOWN}":'.encode() in data else data


def _tree(value: Any) -> Any:
    """Convert a value for the encoder, with unknown members beside the known ones."""
    if isinstance(value, list | tuple):
        return [_tree(element) for element in value]
    if not isinstance(value, Document):
        return value
    config = value.__struct_config__
    members: dict[str, Any] = {config.tag_field: config.tag} if config.tag_field else {}
    for field in msgspec.structs.fields(value):
        member = getattr(value, field.name)
        empty = field.default_factory is not msgspec.NODEFAULT and member in ([], {}, ())
        if field.name != "unknown" and not empty and member is not field.default and member != field.default:
            members[field.encode_name] = _tree(member)
    return members | value.unknown
