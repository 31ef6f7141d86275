"""A tiny HTTPS server at 127.0.0.1: scripted answers, or the data plane over any `Objects`."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.tls import Authority

from overland.errors import (
    NotAuthorised,
    ObjectAbsent,
    ObjectCorrupt,
    ObjectExists,
    OutOfSpace,
    OverlandError,
)
from overland.ports.objects import Objects

__all__ = ["DataPlane", "Handler", "data_plane", "serving"]

_STATUS: dict[type[OverlandError], int] = {
    NotAuthorised: 401,
    ObjectAbsent: 404,
    ObjectExists: 409,
    ObjectCorrupt: 422,
    OutOfSpace: 507,
}


class Handler(BaseHTTPRequestHandler):
    """Answers, quietly; derive from it and define `do_GET` and the others."""

    protocol_version = "HTTP/1.1"
    timeout = 120  # ends threads of clients that are gone; a slow one is waited for

    def log_message(self, *_: Any) -> None:  # type: ignore[explicit-override] # typing's is 3.12's
        """Keep quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, status: int, body: object) -> None:
        self.answer(status, json.dumps(body).encode(), Content_Type="application/json")

    def break_off(self) -> None:
        """Close the connection as a crash does."""
        self.close_connection = True
        self.connection.close()


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], authority: Authority) -> Iterator[str]:
    """Serve until the block ends; the value is the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients may go away
    server.socket = authority.server_context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def data_plane(
    objects: Objects,
    space: str,
    *,
    token: Callable[[], str] = lambda: "grant",
    page_size: int = 3,
) -> type["DataPlane"]:
    """Return a handler that serves one space as the real data plane does, in small pages."""
    return type(
        "DataPlaneOfOneSpace",
        (DataPlane,),
        {
            "objects": objects,
            "space": space,
            "token": staticmethod(token),
            "page_size": page_size,
        },
    )


class DataPlane(Handler):
    """The data plane over one space; made by `data_plane`."""

    objects: Objects
    space: str
    token: Callable[[], str]
    page_size: int

    def do_PUT(self) -> None:
        self._answered(self._put)

    def do_GET(self) -> None:
        self._answered(self._get)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def do_DELETE(self) -> None:
        self._answered(self._delete)

    def _answered(self, work: Callable[[str], None]) -> None:
        path = urlsplit(self.path).path.removeprefix("/")
        try:
            if self.headers["Authorization"] != f"Bearer {self.token()}":
                raise NotAuthorised("the grant has expired")
            assert path == self.space or path.startswith(f"{self.space}/"), "another space"
            work(unquote(path.removeprefix(self.space).removeprefix("/")))
        except OverlandError as error:
            self.close_connection = True  # the rest of an upload is not read
            message = {"code": error.code, "message": str(error)}
            self.answer_json(_status(error), {"error": message})

    def _put(self, name: str) -> None:
        size_bytes, sha256 = (
            int(self.headers["Content-Length"]),
            self.headers["x-overland-sha256"],
        )
        content = list(self._body(size_bytes))
        try:
            self.objects.head(name)
            status = 200
        except ObjectAbsent:
            status = 201
        self.objects.put(name, content, size_bytes=size_bytes, sha256=sha256)
        self.answer(status)

    def _body(self, size_bytes: int) -> Iterator[bytes]:
        left = size_bytes
        while left and (block := self.rfile.read(min(left, 1 << 20))):
            left -= len(block)
            yield block

    def _get(self, name: str) -> None:
        if not name:
            self._list()
            return
        size_bytes = self.objects.head(name).size_bytes
        if (span := self.headers["Range"]) is None:
            self.answer(200, self.objects.read(name), Content_Length=str(size_bytes))
            return
        first, last = span.removeprefix("bytes=").split("-")
        offset, stop = int(first), int(last) + 1 if last else size_bytes
        if offset >= size_bytes:
            self.answer(416)
            return
        self.answer(206, self.objects.read_range(name, offset=offset, length=stop - offset))

    def _list(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        assert "list" in query, "a space is listed on purpose"
        after = query["after"][0]
        found = [i for i in self.objects.names(query["prefix"][0]) if i.name > after]
        page = [{"name": i.name, "size_bytes": i.size_bytes} for i in found[: self.page_size]]
        last = found[self.page_size - 1].name if len(found) > self.page_size else None
        self.answer_json(200, {"objects": page, "next": last})

    def _delete(self, name: str) -> None:
        self.objects.delete(name)
        self.answer(204)


def _status(error: OverlandError) -> int:
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
