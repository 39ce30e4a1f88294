"""The proof that keys were forgotten: what was removed and written anew, and a verifier of what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from andes_spark.model.display import Displayed, count_text, counts_text, size_text
from andes_spark.storage.interface import ObjectInfo, Storage
from andes_spark.table.forgetting.mentions import UNKNOWN, Keys, Mention, mentions

_SHOWN = 10


@dataclass(frozen=True)
class Removed:
    """An object that was deleted.

    Attributes:
        path: path below the table's folder.
        bytes: size of the object in bytes.
    """

    path: str
    bytes: int


@dataclass(frozen=True)
class Rewritten:
    """An object that was written anew without the keys.

    Attributes:
        path: path below the table's folder.
        sha256: SHA-256 of the new content, in hex.
    """

    path: str
    sha256: str


@dataclass(frozen=True, repr=False)
class Checked(Displayed):
    """Result of decoding all objects of a table in search of keys.

    Attributes:
        objects: number of objects that were decoded.
        bytes: size of these objects in bytes.
        mentions: objects that name one of the keys, or that are damaged.
        unknown: paths of objects of others that cannot be decoded.
    """

    objects: int
    bytes: int
    mentions: tuple[Mention, ...]
    unknown: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing of the keys was found."""
        return not self.mentions

    def summary(self) -> str:
        """See ``Displayed``."""
        outcome = "nothing was found" if self.ok else f"{count_text(len(self.mentions), 'objects')} name the keys"
        others = f"; {count_text(len(self.unknown), 'objects')} of others cannot be decoded" if self.unknown else ""
        return f"{count_text(self.objects, 'objects')}, {size_text(self.bytes)}, decoded: {outcome}{others}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        lists = {"found": mentions_text(self.mentions), "not decoded": "\n".join(self.unknown)}
        return {"checked": self.summary(), **{name: text for name, text in lists.items() if text}}


def check(storage: Storage, keys: Keys, *, seen: Callable[[ObjectInfo], object] = lambda info: None) -> Checked:
    """Decode all objects of a table, and look for keys.

    Args:
        storage: the table's folder.
        keys: the keys.
        seen: called with each object.
    """
    decoded: list[ObjectInfo] = []
    all_mentions = mentions(storage, keys, checked=decoded.append)
    for info in decoded:
        seen(info)
    unknown = tuple(mention.path for mention in all_mentions if mention.what == UNKNOWN)
    named = tuple(mention for mention in all_mentions if mention.what != UNKNOWN)
    return Checked(len(decoded), sum(info.size for info in decoded), named, unknown)


@dataclass(frozen=True, repr=False)
class ForgetResult(Displayed):
    """Result of forgetting keys, as ``ModTable.forget`` returns it, and its proof.

    Attributes:
        version: version that released all earlier ones; None in a dry run, or if nothing names the keys.
        floor: oldest version that can be read.
        keys: number of keys.
        rows: number of rows with these keys that were deleted.
        before: mentions of the keys before anything was changed.
        removed: objects that were deleted.
        rewritten: objects that were written anew, with their checksums.
        left: what decoding all objects of the table found at the end; that of the start in a dry run.
        in_the_way: tags and pins that keep versions with the keys; only in a dry run, otherwise they are an error.
        dry_run: whether nothing was written.
    """

    version: int | None
    floor: int
    keys: int
    rows: int
    before: tuple[Mention, ...]
    removed: tuple[Removed, ...]
    rewritten: tuple[Rewritten, ...]
    left: Checked
    in_the_way: tuple[str, ...] = ()
    dry_run: bool = False
    _search: tuple[Storage, Keys] | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        """Whether nothing of the keys was left at the end."""
        return self.left.ok

    def verify(self) -> Checked:
        """Decode all objects below the table's folder again, and look for the keys.

        What was written since counts too: a new row with a forgotten key is found.
        """
        assert self._search is not None
        return check(*self._search)

    def summary(self) -> str:
        """See ``Displayed``."""
        keys = count_text(self.keys, "keys")
        if self.dry_run:
            return f"{keys} would be forgotten: {count_text(len(self.before), 'objects')} name them"
        if self.version is None:
            return f"{keys} sought, and nothing in the table names them"
        changes = (
            f"{count_text(len(self.removed), 'objects')} removed, {count_text(len(self.rewritten), 'written anew')}"
        )
        left = "" if self.ok else f"; {count_text(len(self.left.mentions), 'objects')} still name them"
        return f"{keys} forgotten: {count_text(self.rows, 'rows')}, {changes}{left}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        fields = {
            "forget": self.summary(),
            "found": mentions_text(self.before),
            "left": self.left.summary() if not self.dry_run else "",
            "in the way": "\n".join(self.in_the_way),
        }
        return {name: text for name, text in fields.items() if text}


def mentions_text(mentions: Iterable[Mention]) -> str:
    """Describe mentions: some of the objects, and the number of the others."""
    listed = list(mentions)
    lines = [f"{mention.path}: {mention.what} ({mention.count})" for mention in listed[:_SHOWN]]
    kinds = Counter(mention.what for mention in listed[_SHOWN:])
    return "\n".join([*lines, *([f"and more: {counts_text(kinds, none='')}"] if kinds else [])])
