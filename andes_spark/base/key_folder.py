"""Keys of base files in a folder of a local disk, memory-mapped: more than memory holds, and kept for new processes.

A file holds the keys of one row group. Its name tells which: data file, footer mark, row group, key columns and version
of this format. Data files never change, so an image is either right or damaged, which its checksum tells; it is then
made again. Nothing depends on the folder: it may be emptied at any time. It must be private to its user.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from andes_spark.base.packed import Ints, PackedIntegers
from andes_spark.law.keys.normalized import Form, Normalizer

FORMAT = 1
_SUFFIX = ".keys"
_MAGIC = b"ANDESKEY"
_HEADER = 64
"""Bytes before the Arrow file, which keep its buffers aligned: magic, CRC-32 of what follows, zeros."""
_WORD = "_andes_word"
_ABOUT = b"andes"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image:
    """The keys of one row group, as they are stored in a local folder.

    Attributes:
        starts: number of the first row of each row group of the file, and of all rows.
        packed: ascending integers; None for other keys.
        rows: other keys, in the order of the file.
        normalizer, words: normalizer of these keys, and the word of each row, ascending; None if they have none.
    """

    starts: Ints
    packed: PackedIntegers | None = None
    rows: pa.Table | None = None
    normalizer: Normalizer | None = None
    words: Any = None


class KeyFolder:
    """A folder of images. Threads and processes may share it.

    Args:
        folder: path of the folder; it is made when it is needed.
        limit_bytes: size of all images; beyond it the oldest ones are deleted.
    """

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self._folder = Path(folder)
        self._limit = limit_bytes

    def find(self, name: str) -> Image | None:
        """Map an image; None if there is none. A damaged one is deleted."""
        path = self._folder / (name + _SUFFIX)
        try:
            with pa.memory_map(str(path)) as source:
                data = source.read_buffer(source.size())
            image = _decode(data)
            with suppress(OSError):  # the folder may be mounted for reading only
                os.utime(path)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
            logger.warning("the key image %s is damaged and will be made again: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        return image

    def put(self, name: str, image: Image) -> Image | None:
        """Write an image and map it; None if that fails, which is logged, or if it is larger than the limit."""
        data = _encode(image)
        path = self._folder / (name + _SUFFIX)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._make_room(len(data)):
                return None
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            logger.warning("key images cannot be kept in %s: %s", self._folder, error)
            with suppress(OSError):
                temporary.unlink()
            return None
        return self.find(name)

    def _make_room(self, size: int) -> bool:
        if size > self._limit:
            return False
        images = []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # deleted by another process
                if entry.name.endswith(_SUFFIX):
                    images.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
        total = size + sum(image[1] for image in images)
        for _, image_size, path in sorted(images):
            if total <= self._limit:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= image_size
        return True


def image_name(path: str, mark: str, group: int, key: Sequence[tuple[str, pa.DataType]]) -> str:
    """Return the name of the image of a row group."""
    text = json.dumps([FORMAT, path, mark, group, [[name, str(kind)] for name, kind in key]])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _encode(image: Image) -> bytes:
    about: dict[str, Any] = {"format": FORMAT, "starts": image.starts.tolist()}
    if image.packed is not None:
        packed = image.packed
        about |= {"count": packed.count, "kind": packed.above.dtype.str}
        parts = [packed.first.tobytes(), packed.above.tobytes()]
        table = pa.table({name: pa.array([part], pa.large_binary()) for name, part in zip("fa", parts, strict=True)})
    else:
        assert image.rows is not None
        table = image.rows.combine_chunks()
        if image.normalizer is not None:
            about["exact"] = image.normalizer.exact
            about["forms"] = [[form.low, form.runs] for form in image.normalizer.forms]
            table = table.append_column(_WORD, pa.array(image.words))
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({_ABOUT: json.dumps(about)})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return _MAGIC + zlib.crc32(content).to_bytes(4, "little") + bytes(_HEADER - 12) + content


def _decode(data: pa.Buffer) -> Image:
    """Read an image.

    Raises:
        ValueError: its checksum is wrong.
    """
    content = memoryview(data).cast("B")[_HEADER:]
    header = data[:_HEADER].to_pybytes()
    if header[:8] != _MAGIC or zlib.crc32(content).to_bytes(4, "little") != header[8:12] or any(header[12:]):
        raise ValueError("its checksum is wrong")
    table = pa.ipc.open_file(pa.BufferReader(data.slice(_HEADER))).read_all()
    about = json.loads(table.schema.metadata[_ABOUT])
    starts = np.array(about["starts"], np.int64)
    if "count" in about:
        first, above = (
            np.frombuffer(table[name][0].as_buffer(), kind) for name, kind in (("f", "<i8"), ("a", about["kind"]))
        )
        return Image(starts, packed=PackedIntegers(first, above, about["count"]))
    table = table.replace_schema_metadata(None)
    if "forms" not in about:
        return Image(starts, rows=table)
    forms = tuple(Form(low, tuple(tuple(run) for run in runs)) for low, runs in about["forms"])
    words = table[_WORD].chunk(0).to_numpy() if table.num_rows else np.zeros(0, np.uint64)
    return Image(starts, rows=table.drop_columns([_WORD]), normalizer=Normalizer(forms, about["exact"]), words=words)
