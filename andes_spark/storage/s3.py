"""A table's folder on S3, or on a compatible service that supports ``If-None-Match: *`` on PUT."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError
from obstore.store import S3Store

from andes_spark.errors import AndesError, NotFoundError, OptionError, StorageError, UnsupportedTableError
from andes_spark.settings import STORE_SECONDS
from andes_spark.storage.interface import ObjectInfo, OutputFile, PutOutcome, Requests, check_folder, check_path
from andes_spark.storage.ranges import RemoteRanges
from andes_spark.storage.s3_clients import S3Clients
from andes_spark.storage.s3_errors import Failure, translate, translated
from andes_spark.storage.s3_input import TAIL_BYTES, RangeReader, Span
from andes_spark.storage.s3_options import Access, S3Options
from andes_spark.storage.s3_output import PART_BYTES, S3Output
from andes_spark.storage.scheduler import ThreadScheduler

if TYPE_CHECKING:
    from obstore import ListStream, ObjectMeta

T = TypeVar("T")

_URL = re.compile(r"s3a?://([^/]*)(?:/(.*))?", re.DOTALL | re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_DIRECTORY_BUCKET = "--x-s3"
_LIST_PAGE = 1000
_DELETE_PAGE = 1000
_COPY_BYTES = 5 * 1024 * 1024 * 1024
"""Largest object that S3 copies in one request."""
_UPLOADS = 4
# Attempts after a 409: another conditional write of this name is in progress, with an unknown outcome.
_BUSY_ATTEMPTS = 5
_BUSY_SECONDS = 0.05


class S3Storage:
    """``Storage`` of a folder on S3. Connects at the first call.

    After a fork, open or unpickle a new object in the child process: the threads of a used client do not
    survive the fork.

    Args:
        url: ``s3://bucket/folder`` or ``s3a://bucket/folder``, taken as it is, never percent-decoded.
        options: see ``andes_spark.storage.s3_options``. They travel with a pickle, as of then; the repr never shows
            them.
        seconds: time for which the client repeats a request, with growing random pauses, while the store throttles,
            fails or does not answer; one that has never answered this process is given ``FIRST_SECONDS``.
            ``put_if_absent`` is never repeated by the client.
        timeout: time limit of one attempt, in seconds.
        retries: maximum number of repetitions.

    Raises:
        OptionError: the URL or an option cannot be used.
    """

    def __init__(
        self,
        url: str,
        options: Access | None = None,
        *,
        seconds: float = STORE_SECONDS,
        timeout: float = 60.0,
        retries: int = 1_000,
    ) -> None:
        self._bucket, self._prefix = _parse_url(url)
        self.url = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self.counts = Requests()
        self.scheduler = ThreadScheduler("andes-s3")
        self._access = options if callable(options) else dict(options or {})
        if not callable(self._access):
            S3Options.parse(self._access)
        self._patience: dict[str, Any] = {"seconds": seconds, "timeout": timeout, "retries": retries}
        self._clients = S3Clients(self._bucket, self._access, self.url, **self._patience)

    def __repr__(self) -> str:
        return f"S3Storage({self.url!r})"

    @property
    def access_options(self) -> Access:
        """Storage options that open the same store; without a key they use the default credential chain of AWS."""
        return self._access

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.url, self._clients.options(), self._patience))

    def get(self, path: str) -> bytes:
        """See ``Storage.get``."""
        key = self._key(path)
        self.scheduler.wait(path)
        self.counts.add("get")
        data = self._ask("read", path, lambda store: obstore.get(store, key).bytes().to_bytes())
        self.counts.add_bytes(read=len(data))
        return data

    def find(self, path: str) -> bytes | None:
        """See ``Storage.find``."""
        try:
            return self.get(path)
        except NotFoundError:
            return None

    def size(self, path: str) -> int | None:
        """See ``Storage.size``. In a bucket that does not exist nothing does."""
        info = self.info(path)
        return None if info is None else info.size

    def info(self, path: str) -> ObjectInfo | None:
        """See ``Storage.info``."""
        key = self._key(path)
        self.scheduler.wait(path)
        self.counts.add("head")
        try:
            meta = self._ask("look at", path, lambda store: obstore.head(store, key))
            return ObjectInfo(path, meta["size"], int(meta["last_modified"].timestamp() * 1000))
        except NotFoundError:
            return None
        except StorageError as error:
            if error.status is not None and error.code is None:
                # An answer to HEAD has no body: that to GET tells the reason.
                self._ranges(path, [(0, 1)])
            raise

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """See ``Storage.put``; S3 is always durable."""
        key = self._key(path)
        self.counts.add("put", written=len(data))
        with self._writing("write", path) as store:
            obstore.put(store, key, data, use_multipart=False)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        """See ``Storage.put_if_absent``: one PUT with ``If-None-Match: *``, never repeated by the client."""
        key = self._key(path)
        # The object may refer to any object whose write was started before.
        self.scheduler.barrier()
        for attempt in range(_BUSY_ATTEMPTS):
            self.counts.add("put_if_absent", written=len(data))
            with translated("create", self.url, path):
                store = self._clients.once
            try:
                obstore.put(store, key, data, mode="create", use_multipart=False)
            except (BaseError, OSError, ValueError) as error:
                failure = Failure.of(error)
                if failure.status == 409 and attempt + 1 < _BUSY_ATTEMPTS:
                    time.sleep(_BUSY_SECONDS * 2**attempt)
                    continue
                return self._outcome(error, failure, path)
            return PutOutcome.CREATED
        raise AssertionError("the last attempt returns or raises")

    def _outcome(self, error: Exception, failure: Failure, path: str) -> PutOutcome:
        if failure.status != 409 and isinstance(error, AlreadyExistsError | PreconditionError | NotModifiedError):
            return PutOutcome.EXISTS
        if failure.refused or isinstance(error, ValueError):
            raise translate(error, "create", self.url, path) from None
        return PutOutcome.UNKNOWN

    def copy_from(self, source: object, path: str, new_path: str, size: int) -> bool:
        """Copy an object of another folder of this bucket without reading it.

        Args:
            source: storage of that folder.
            path: path of the object there.
            new_path: path of the copy here.
            size: bytes of the object.

        Returns:
            False if the store cannot do it: another store, bucket or access, or an object above 5 GiB.
        """
        if not isinstance(source, S3Storage) or size > _COPY_BYTES:
            return False
        if (source._bucket, source._access) != (self._bucket, self._access):
            return False
        source.scheduler.wait(path)
        self.counts.add("put", written=size)
        with self._writing("copy", new_path) as store:
            obstore.copy(store, source._key(path), self._key(new_path))
        return True

    def delete(self, paths: Iterable[str]) -> None:
        """See ``Storage.delete``: a thousand in one request."""
        names = list(paths)
        keys = [self._key(path) for path in names]
        self.scheduler.forget(names)
        for start in range(0, len(keys), _DELETE_PAGE):
            page = keys[start : start + _DELETE_PAGE]
            self.counts.add("delete")
            with self._writing("delete", names[start]) as store:
                obstore.delete(store, page)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``Storage.list``. The empty objects that Hadoop writes for folders are left out."""
        return self._list(check_folder(prefix), after)

    def _list(self, folder: str, after: str | None) -> Iterator[ObjectInfo]:
        start = f"{self._prefix}/" if self._prefix else ""
        within = f"{start}{folder}/" if folder else start
        offset = f"{start}{_offset(after)}" if _offset(after) else None
        last = ""
        for page in self._pages(folder, within.removesuffix("/"), offset):
            for meta in page:
                # Of a folder's marker the client cuts the slash off, by which it is ordered.
                if meta["size"]:
                    if meta["path"] < last:
                        raise self._unordered()
                    last = meta["path"]
                path = meta["path"][len(start) :]
                if not meta["path"].startswith(within) or (after is not None and path <= after):
                    continue
                # A folder's marker, "mods/", is shown as "mods"; there is no object of that name.
                if meta["size"] == 0 and self.size(path) is None:
                    continue
                yield ObjectInfo(path, meta["size"], int(meta["last_modified"].timestamp() * 1000))

    def _pages(self, folder: str, prefix: str, offset: str | None) -> Iterator[Sequence[ObjectMeta]]:
        """Pages of a listing, without the empty one at its end."""

        def begun(store: S3Store, offset: str | None) -> ListStream[Sequence[ObjectMeta]]:
            return obstore.list(store, prefix=prefix or None, offset=offset, chunk_size=_LIST_PAGE)

        def first(store: S3Store) -> tuple[ListStream[Sequence[ObjectMeta]], Sequence[ObjectMeta] | None]:
            stream = begun(store, offset)
            return stream, next(stream, None)

        was_silent = not self._clients.has_answered
        stream, page = self._ask("list", folder, first)
        if was_silent and page and len(page) == _LIST_PAGE and page[-1]["size"]:
            # The client of the first request has no patience with the next ones. It stays after a folder's marker,
            # behind which no listing can begin.
            stream = begun(self._clients.patient, page[-1]["path"])
        while page is not None:
            # The client requests one more page only after a full last page.
            self.counts.add("list")
            yield page
            with translated("list", self.url, folder):
                page = next(stream, None)

    def _unordered(self) -> UnsupportedTableError:
        return UnsupportedTableError(
            f"{self.url}: the store lists objects in another order than that of their names, so that files of a table "
            "would be overlooked: use a general purpose bucket of Amazon S3, or a service with ordered listings",
            feature="unordered listing",
            url=self.url,
        )

    def open_input(self, path: str) -> pa.NativeFile:
        """See ``Storage.open_input``: one request fetches the size and the last megabyte."""
        key = self._key(path)
        self.scheduler.wait(path)
        size, tail = self._ask("open", path, lambda store: self._tail(store, key))
        self.counts.add_bytes(read=tail.nbytes)
        return pa.PythonFile(RangeReader(partial(self._ranges, path), size, tail), mode="r")

    def open_ranges(self, path: str, size: int) -> RemoteRanges:
        """See ``Storage.open_ranges``."""
        check_path(path)
        return RemoteRanges(partial(self._ranges, path), size)

    def _ranges(self, path: str, spans: Sequence[Span]) -> Sequence[memoryview]:
        key = self._key(path)
        self.scheduler.wait(path)
        self.counts.add("get", len(spans), read=sum(end - start for start, end in spans))
        starts, ends = [span[0] for span in spans], [span[1] for span in spans]
        parts = self._ask(
            "read", path, lambda store: obstore.get_ranges(store, key, starts=starts, ends=ends, coalesce=0)
        )
        return [memoryview(part).cast("B") for part in parts]

    def _tail(self, store: S3Store, key: str) -> tuple[int, memoryview]:
        self.counts.add("get")
        try:
            result = obstore.get(store, key, options={"range": {"suffix": TAIL_BYTES}})
        except BaseError as error:
            # An empty object has no ranges; services report this differently.
            if Failure.of(error).status not in (None, 416):
                raise
            self.counts.add("get")
            result = obstore.get(store, key)
        return result.meta["size"], memoryview(result.bytes())

    def open_output(self, path: str) -> OutputFile:
        """See ``Storage.open_output``. An aborted upload is cancelled at the store.

        The scheduler writes a small object, beside the caller where writes are deferred.
        """
        key = self._key(path)

        def put_now(data: bytes) -> None:
            with self._writing("write", path) as store:
                obstore.put(store, key, data, use_multipart=False)

        def put_whole(data: bytes) -> None:
            self.scheduler.begin(path, len(data), lambda: put_now(data))

        def put_parts(parts: Iterator[bytes]) -> None:
            with self._writing("write", path) as store:
                obstore.put(store, key, parts, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=_UPLOADS)

        def closed(requests: int, size: int) -> None:
            self.counts.add("put", requests, written=size)

        return S3Output(path, put_whole=put_whole, put_parts=put_parts, closed=closed)

    def _ask(self, action: str, path: str, request: Callable[[S3Store], T]) -> T:
        """Send a request that reads."""
        with translated(action, self.url, path):
            return self._clients.ask(request)

    @contextmanager
    def _writing(self, action: str, path: str) -> Iterator[S3Store]:
        """Yield the client for a request that writes, once the store has answered this process."""
        with translated(action, self.url, path):
            if self._clients.greet(self._key(path)):
                self.counts.add("head")
            yield self._clients.patient

    def _key(self, path: str) -> str:
        check_path(path)
        return f"{self._prefix}/{path}" if self._prefix else path


def _reopen(url: str, options: dict[str, str], patience: Any) -> S3Storage:
    return S3Storage(url, options, **patience)


def _parse_url(url: str) -> tuple[str, str]:
    match = _URL.fullmatch(url)
    bucket, prefix = (match.group(1), match.group(2) or "") if match else ("", "")
    if bucket.endswith(_DIRECTORY_BUCKET):
        raise UnsupportedTableError(
            f"s3://{bucket}: directory buckets list objects in no order; use a general purpose bucket",
            feature="directory bucket",
            url=f"s3://{bucket}",
        )
    if not _BUCKET.fullmatch(bucket):
        # Not the URL itself: the part before an "@" may be a secret.
        raise OptionError(
            "A table on S3 is named by s3://bucket/folder. The name of the bucket is missing or has "
            "characters that buckets do not have; credentials are given as storage options, never in the URL"
        )
    try:
        return bucket, check_folder(prefix)
    except AndesError as error:
        raise OptionError(f"The folder in s3://{bucket}/... cannot be used: {error.message}", url=url) from error


def _offset(after: str | None) -> str | None:
    """Start offset for the store's own listing, None if it cannot skip to ``after``."""
    if not after:
        return None
    try:
        return check_folder(after)
    except OptionError:
        return None
