"""The data plane: objects in and out of spaces, opened by grants.

It runs on its own port, and needs nothing of the control plane but its public key.  Bulk bytes
pass in bounded blocks; files are read and written in threads, so that the event loop stays free.

| request                                   | answer                                            |
|-------------------------------------------|---------------------------------------------------|
| `PUT /SPACE/NAME` with `Content-Length`,  | 201 stored; 200 the same is there already; 409    |
|   `x-overland-sha256`                     |   other content is there; 422 digest; 507 full    |
| `GET /SPACE/NAME`, one `Range` of bytes   | 200, 206; 416 outside the object                  |
| `HEAD /SPACE/NAME`                        | 200 with `Content-Length`                         |
| `DELETE /SPACE/NAME`                      | 204, also when there was nothing                  |
| `GET /SPACE?list&prefix=&after=&top=`     | `{"objects": [{"name", "size_bytes"}], "next"}`   |
| `GET /healthz`                            | 200, without a grant                              |

On the socket of this computer a `PUT` may have `x-overland-attached: LENGTH` and no body: then its
content is in a file that comes with it (`server.attached`), and `/healthz` says `attachedFiles`.

Every other request has `Authorization: Bearer GRANT`.  Names are those within the space, so they
begin with one of the grant's prefixes.  A listing is sorted by name; `next` is the `after` of the
next page, or null.  An answer of 400 or more has the body
`{"error": {"code", "message", "target", "details"}}`: 400 malformed, 401 no good grant, 403 the
grant does not allow it, 404 absent, 408 the upload is slower than the least rate, 429 too many
uploads at once with one grant, 503 try again.  An interrupted upload leaves nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from overland.cloud import grants
from overland.errors import ObjectAbsent
from overland.ports.clock import Clock
from overland.ports.objects import Objects, Spaces
from overland.server import objects_wire as wire
from overland.server.attached import FILES, AttachedFiles, ReadFile
from overland.server.bulk import BODY
from overland.server.uploads import Limits, Shares, Upload, paced

__all__ = ["create_objects_app"]

_BLOCK_BYTES: Final = 1 << 20  # of a download; two of them are held at a time
_READERS: Final = 8

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One authorised request: what it is about, and the store that it may touch."""

    request: Request
    space: str
    name: str
    store: Objects
    holder: str


def create_objects_app(
    spaces: Spaces,
    *,
    public_key: bytes,
    clock: Clock,
    limits: Limits | None = None,
    read_file: ReadFile | None = None,
) -> Starlette:
    """Return the data plane over `spaces`, for grants whose signer has `public_key`.

    With `read_file` files are accepted where connections can bring them, and read with it.
    """
    plane = _DataPlane(
        spaces,
        public_key=public_key,
        clock=clock,
        limits=limits or Limits(),
        read_file=read_file,
    )
    return Starlette(
        routes=[
            Route("/healthz", plane.healthz, methods=["GET"]),
            Route("/{path:path}", plane.answer, methods=["GET", "HEAD", "PUT", "DELETE"]),
        ],
        exception_handlers=wire.HANDLERS,
    )


def _files(request: Request) -> AttachedFiles | None:
    """Return what came with a request; None where nothing can."""
    files = request.scope.get("extensions", {}).get(FILES)
    assert files is None or isinstance(files, AttachedFiles), "set by the protocol"
    return files


class _DataPlane:
    """What all requests share: the stores, the key that checks grants, the threads."""

    def __init__(
        self,
        spaces: Spaces,
        *,
        public_key: bytes,
        clock: Clock,
        limits: Limits,
        read_file: ReadFile | None,
    ) -> None:
        self._spaces, self._public_key, self._clock = spaces, public_key, clock
        self._limits, self._shares, self._read_file = limits, Shares(limits), read_file
        self._writers = ThreadPoolExecutor(limits.writers, thread_name_prefix="objects-put")
        # A drive that hangs holds one of these, and none that others' uploads need.
        self._copiers = ThreadPoolExecutor(limits.writers, thread_name_prefix="objects-copy")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="objects-get")

    async def healthz(self, request: Request) -> Response:
        """Say that the data plane runs, and whether files may be attached here."""
        can_attach = self._read_file is not None and _files(request) is not None
        return JSONResponse({"status": "ok"} | ({"attachedFiles": True} if can_attach else {}))

    async def answer(self, request: Request) -> Response:
        """Answer a request; what is raised becomes an answer in `wire.HANDLERS`."""
        return await self._dispatch(self._authorised(request))

    def _authorised(self, request: Request) -> _Call:
        """Return the request with its store, if its grant allows it; touches no object yet."""
        token = wire.bearer(request)
        grant = grants.verify(token, public_key=self._public_key, at=self._clock.now())
        space, name = wire.target(request)
        match request.method:
            case "GET" if not name:
                prefix = request.query_params.get("prefix", "")
                grants.require_listing(grant, space=space, prefix=prefix)
            case "GET" | "HEAD":
                grants.require(grant, "read", space=space, name=name)
            case "PUT":
                grants.require(grant, "create", space=space, name=name)
            case _:
                grants.require(grant, "delete", space=space, name=name)
        # A grant that was renewed opens the same corner, and has the same share of the threads.
        holder = f"{grant.space}/{grant.prefix}"
        store = self._spaces.open(space)
        return _Call(request=request, space=space, name=name, store=store, holder=holder)

    async def _dispatch(self, call: _Call) -> Response:
        match call.request.method:
            case "PUT":
                return await self._put(call)
            case "DELETE":
                await self._read(lambda: call.store.delete(call.name))
                log.info("object.deleted", space=call.space)
                return Response(status_code=204)
            case "HEAD":
                info = await self._read(lambda: call.store.head(call.name))
                return Response(headers=_headers(info.size_bytes))
            case _:
                return await (self._get(call) if call.name else self._list(call))

    async def _put(self, call: _Call) -> Response:
        size_bytes, sha256 = wire.declared(call.request, space=call.space, name=call.name)

        def store(content: Iterator[bytes | memoryview]) -> bool:
            """Store the object; return whether its name was free before."""
            created = not _holds(call.store, call.name)
            call.store.put(call.name, content, size_bytes=size_bytes, sha256=sha256)
            return created

        with self._shares.taken(call.holder):
            if wire.is_attached(call.request):
                created = await self._copy(call.request, store, size_bytes)
            else:
                upload = Upload(limits=self._limits, monotonic_s=self._clock.monotonic_s)
                body = call.request.scope.get("extensions", {}).get(BODY) or call.request.stream()
                created = await upload.run(body, store, on=self._writers)
        log.info("object.stored", space=call.space, size_bytes=size_bytes, created=created)
        return Response(status_code=201 if created else 200)

    async def _copy(
        self, request: Request, store: Callable[[Iterator[memoryview]], T], size_bytes: int
    ) -> T:
        """Run `store` over the file that came with a request, in a thread."""
        files, read_file = _files(request), self._read_file
        if files is None or read_file is None:
            raise wire.RequestInvalid("no file can come with a request here")

        def read(descriptor: int) -> Generator[memoryview, None, None]:
            """Yield the file in blocks; raises where they come slower than the least rate."""
            blocks = read_file(descriptor)
            return paced(blocks, limits=self._limits, monotonic_s=self._clock.monotonic_s)

        file = files.take()
        try:
            copying = partial(file.feed, store, size_bytes=size_bytes, read=read)
            return await asyncio.get_running_loop().run_in_executor(self._copiers, copying)
        except asyncio.CancelledError:
            file.stop()
            raise

    async def _get(self, call: _Call) -> Response:
        size_bytes = (await self._read(lambda: call.store.head(call.name))).size_bytes
        span = wire.span(call.request.headers.get("range"), size_bytes)
        start, stop = span or (0, size_bytes)
        headers = _headers(stop - start)
        if span is not None:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
        status = 200 if span is None else 206
        content = self._content(call, start, stop)
        return StreamingResponse(content, status_code=status, headers=headers)

    async def _content(self, call: _Call, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the range in blocks; the next one is read while one is sent."""

        def begin(offset: int) -> asyncio.Future[bytes]:
            """Begin to read the block at `offset`, cut where the range ends."""
            length = min(_BLOCK_BYTES, stop - offset)
            return self._read(
                partial(call.store.read_range, call.name, offset=offset, length=length)
            )

        if start == stop:
            return
        pending = begin(start)
        for offset in range(start, stop, _BLOCK_BYTES):
            block = await pending
            assert len(block) == min(_BLOCK_BYTES, stop - offset), "objects never change"
            if offset + _BLOCK_BYTES < stop:
                pending = begin(offset + _BLOCK_BYTES)
            yield block

    async def _list(self, call: _Call) -> Response:
        query = call.request.query_params
        prefix, after = query.get("prefix", ""), query.get("after", "")
        top = wire.page_size(query.get("top"))

        def page() -> list[dict[str, str | int]]:
            """Return a page of the listing, and one more object if there are more."""
            found = islice(call.store.names(prefix, start_after=after), top + 1)
            return [{"name": each.name, "size_bytes": each.size_bytes} for each in found]

        found = await self._read(page)
        more = found[top - 1]["name"] if len(found) > top else None
        return JSONResponse({"objects": found[:top], "next": more})

    def _read(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin file work in a reading thread."""
        return asyncio.get_running_loop().run_in_executor(self._readers, work)


def _headers(size_bytes: int) -> dict[str, str]:
    return {
        "content-length": str(size_bytes),
        "content-type": "application/octet-stream",
        "accept-ranges": "bytes",
        "cache-control": "no-store",
    }


def _holds(store: Objects, name: str) -> bool:
    try:
        store.head(name)
    except ObjectAbsent:
        return False
    return True
