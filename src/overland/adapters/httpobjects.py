"""Objects of a vault or a container, over the data plane."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from overland.adapters.http import Wire, read_body
from overland.adapters.localsocket import Attachment
from overland.crypto.secrets import Secret
from overland.errors import (
    NotAuthorised,
    ObjectAbsent,
    ObjectCorrupt,
    ObjectExists,
    OutOfSpace,
    RefusedError,
    Unreachable,
)
from overland.format.stored import UNREADABLE
from overland.ports.files import name_parts
from overland.ports.objects import FileContent
from overland.values import ObjectInfo

__all__ = ["HttpObjects", "RefusedByStore"]

_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 120.0  # a busy disk syncs a pack of 1 GiB in less
_RESUMES: Final = 4  # of one download, without a byte of progress between them
_MAX_LIST_BYTES: Final = 16 << 20  # a page has at most 1,000 names
_MAX_PROBLEM_BYTES: Final = 64 << 10


class RefusedByStore(RefusedError):
    """The data plane understood the request and refused it."""

    code = "refused-by-store"


class _Listed(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size_bytes: int


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    objects: list[_Listed]
    next: str | None = None


class _Health(msgspec.Struct, frozen=True, kw_only=True):
    attachedFiles: bool = False  # noqa: N815 - as it is written on the line


class HttpObjects:
    """`Objects` below one prefix of one space, with one grant.

    Every call raises `NotAuthorised` where the grant does not allow it, `Unreachable` where the
    store does not answer, however often it is asked, and `RefusedByStore` for an answer of another
    form.
    """

    def __init__(
        self,
        endpoint: str,
        space: str,
        prefix: str,
        token: Secret | str,
        ca_pem: str | None,
        renew: Callable[[], Secret | str] | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
        local: Path | None = None,
    ) -> None:
        """Open the objects whose names in `space` begin with `prefix`.

        Args:
            endpoint: The data plane's address.
            space: Such as `vaults/<uuid>`.
            prefix: Empty, or ends with a slash; names in calls and answers are without it.
            token: The grant.
            ca_pem: The only certificates that are trusted.
            renew: Returns a new grant when the old one is no longer accepted.
            pause: Sleeps between two attempts.
            local: A socket of this computer to take in place of `endpoint`.
        """
        assert not prefix or prefix.endswith("/"), "a prefix names a folder"
        self._wire = Wire(endpoint, token, ca_pem, timeout_s=_TIMEOUT_S, pause=pause, local=local)
        self._space, self._prefix, self._renew = f"/{space}", prefix, renew
        self._may_attach = None if local is not None else False  # None: not asked yet

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        """Store an object durably; see the port.

        When the way breaks, the upload begins again from its first byte.  That takes content that
        can be iterated anew: a list, or an object with `__iter__`.  A generator gives its bytes
        once, so with one of those a break raises `Unreachable` as soon as a byte was taken.

        A store on this computer is handed the file of `FileContent`, and reads it itself.
        """
        path = self._path(name)
        headers = {"Content-Type": "application/octet-stream", "x-overland-sha256": sha256}
        body: Callable[[], Iterator[bytes | memoryview]] | Attachment
        if isinstance(content, FileContent) and self._store_reads_files():
            headers |= {"Content-Length": "0", "x-overland-attached": str(size_bytes)}
            body = Attachment(content)
        else:
            headers["Content-Length"] = str(size_bytes)
            body = _Upload(name, content, size_bytes).begin
        response = self._send("PUT", path, headers=headers, body=body)
        self._done(response, name, size_bytes=size_bytes)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; see the port."""
        assert offset >= 0, "a range starts in the object"
        if length <= 0:
            self.head(name)
            return b""
        return b"".join(self._download(name, offset, offset + length))

    def read(self, name: str) -> bytes:
        """Return a whole object; see the port."""
        return b"".join(self._download(name, 0, None))

    def blocks(self, name: str) -> Iterator[memoryview]:
        """Yield the content in order; see the port.  A broken download goes on where it ended."""
        return (memoryview(block) for block in self._download(name, 0, None))

    def head(self, name: str) -> ObjectInfo:
        """Return the object's size; see the port."""
        response = self._send("HEAD", self._path(name))
        self._done(response, name)
        return ObjectInfo(name=name, size_bytes=int(response.headers["Content-Length"]))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name, page by page."""
        after: str | None = self._prefix + start_after if start_after else ""
        while after is not None:
            query = urlencode({"list": "", "prefix": self._prefix + prefix, "after": after})
            page = self._page(f"{self._space}?{query}")
            for listed in page.objects:
                name = listed.name.removeprefix(self._prefix)
                yield ObjectInfo(name=name, size_bytes=listed.size_bytes)
            after = page.next

    def delete(self, name: str) -> None:
        """Remove an object; do nothing if it is absent."""
        response = self._send("DELETE", self._path(name))
        if response.status == 404:
            response.close()
            return
        self._done(response, name)

    def _store_reads_files(self) -> bool:
        """Return whether a file may be handed over; a store that is older does not say so."""
        if self._may_attach is None:
            response = self._send("GET", "/healthz")
            self._check(response, "/healthz")
            try:
                health = msgspec.json.decode(self._read(response, _MAX_PROBLEM_BYTES), type=_Health)
            except UNREADABLE:
                health = _Health()
            self._may_attach = health.attachedFiles
        return self._may_attach

    def _path(self, name: str) -> str:
        name_parts(name)
        return f"{self._space}/{quote(self._prefix + name, safe='/')}"

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Callable[[], Iterator[bytes | memoryview]] | Attachment | None = None,
    ) -> BaseHTTPResponse:
        """Send a request, with a new grant if the old one is no longer accepted."""
        response = self._wire.send(method, path, headers=headers or {}, body=body)
        if response.status != 401 or self._renew is None:
            return response
        response.close()
        token = self._renew()
        self._wire.token = Secret(token.encode()) if isinstance(token, str) else token
        return self._wire.send(method, path, headers=headers or {}, body=body)

    def _page(self, path: str) -> _Page:
        response = self._send("GET", path)
        self._check(response, path)
        content = self._read(response, _MAX_LIST_BYTES)
        try:
            return msgspec.json.decode(content, type=_Page)
        except UNREADABLE as error:
            raise RefusedByStore(f"{self._wire.host} sent a list of another form") from error

    def _download(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield a range in blocks; go on after breaks for as long as there is progress."""
        breaks = 0
        while stop is None or start < stop:
            response = self._get(name, start, stop)
            if response is None:
                return
            try:
                while block := response.read(_BLOCK_BYTES):
                    start, breaks = start + len(block), 0
                    yield block
            except HTTPError as error:
                breaks += 1
                if breaks > _RESUMES:
                    raise Unreachable(f"{self._wire.host} breaks off every answer") from error
            else:
                return
            finally:
                response.close()

    def _get(self, name: str, start: int, stop: int | None) -> BaseHTTPResponse | None:
        """Ask for a range; return None when the object has nothing from `start` on."""
        is_whole = start == 0 and stop is None
        last = "" if stop is None else stop - 1
        headers = {} if is_whole else {"Range": f"bytes={start}-{last}"}
        response = self._send("GET", self._path(name), headers=headers)
        if response.status == 416:
            response.close()
            return None
        self._check(response, name)
        if response.status != (200 if is_whole else 206):
            response.close()
            raise RefusedByStore(f"{self._wire.host} answered a range with {response.status}")
        return response

    def _done(self, response: BaseHTTPResponse, name: str, *, size_bytes: int = 0) -> None:
        """Check an answer that has no body of interest, and free its connection."""
        self._check(response, name, size_bytes=size_bytes)
        self._read(response, _MAX_PROBLEM_BYTES)

    def _check(self, response: BaseHTTPResponse, name: str, *, size_bytes: int = 0) -> None:
        """Raise what the status says."""
        if response.status < 300:
            return
        problem = self._problem(response)
        match response.status:
            case 401 | 403:
                raise NotAuthorised(f"{self._wire.host} does not allow it: {problem}")
            case 404:
                raise ObjectAbsent(name)
            case 409:
                raise ObjectExists(name)
            case 422:
                raise ObjectCorrupt(name, check=problem)
            case 507:
                raise OutOfSpace(self._wire.host, needed_bytes=size_bytes, free_bytes=0)
            case 408 | 425 | 429 | 500 | 502 | 503 | 504:
                raise Unreachable(f"{self._wire.host} cannot answer now: {problem}")
            case status:
                raise RefusedByStore(f"{self._wire.host} answered {status}: {problem}")

    def _problem(self, response: BaseHTTPResponse) -> str:
        """Return what the server says of its refusal."""
        try:
            body = msgspec.json.decode(self._read(response, _MAX_PROBLEM_BYTES))
            return str(body["error"]["message"])
        except (msgspec.DecodeError, Unreachable, LookupError, TypeError):
            return f"status {response.status}"

    def _read(self, response: BaseHTTPResponse, max_bytes: int) -> bytes:
        try:
            return read_body(response, max_bytes, host=self._wire.host)
        finally:
            # Gives the connection back when the body was read to its end, else closes it.
            response.close()


class _Upload:
    """Content on its way: as long as announced, and begun anew only where that is possible."""

    def __init__(self, name: str, content: Iterable[bytes | memoryview], size_bytes: int) -> None:
        self._name, self._content, self._size_bytes = name, content, size_bytes
        self._is_taken = False
        self._error: Exception | None = None

    def begin(self) -> Iterator[bytes | memoryview]:
        """Return the content from its first byte.

        Raises:
            Unreachable: It can be had once only, and was.
            Exception: What the content itself raised before.
        """
        if self._error is not None:
            # To the connection, an OSError of the medium looks like one of its own, and it tries
            # again; but this is why the upload ended.
            raise self._error
        pieces = iter(self._content)
        if self._is_taken and pieces is self._content:
            raise Unreachable("the upload broke off and its content was read once; run again")
        if self._size_bytes == 0:  # the server need not wait for any byte of it
            return iter(list(self._checked(pieces)))
        return self._checked(pieces)

    def _checked(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        self._is_taken = True
        try:
            yield from self._measured(pieces)
        except Exception as error:  # whatever the content fails with is for the caller of `put`
            self._error = error
            raise

    def _measured(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Yield the content, its last byte when nothing follows it.

        With that byte the server has a whole object, and keeps it: a surplus must show before.
        """
        sent_bytes, last = 0, b""
        for piece in pieces:
            size_bytes = memoryview(piece).nbytes
            sent_bytes += size_bytes
            if sent_bytes > self._size_bytes:
                raise ObjectCorrupt(self._name, check="longer than announced")
            if sent_bytes == self._size_bytes and size_bytes:
                yield piece[:-1]
                last = bytes(piece[-1:])
            else:
                yield piece
        if sent_bytes < self._size_bytes:
            raise ObjectCorrupt(self._name, check="shorter than announced")
        yield last
