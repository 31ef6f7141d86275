"""The way between the machines, in one process: the real clients and the real applications.

In place of sockets there is a pool of connections, as `urllib3` has it, whose requests call the
ASGI application; they can be refused, cut in the middle, or lose their answer on the way back.
"""

import asyncio
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit

import urllib3
from tests.support.journey_faults import Life
from tests.support.simengine import Killed
from urllib3.exceptions import NewConnectionError, ProtocolError

from overland.adapters.http import UrllibHttp
from overland.adapters.httpobjects import HttpObjects

__all__ = ["Network", "Sent", "Server", "Trouble"]

Trouble = Literal["refused", "cut", "lost"]
"""Nobody answers; the line breaks within the request; the server does it, and nobody hears."""

Application = Callable[..., Any]  # an ASGI application


class Server(Protocol):
    """A machine that answers, and may be killed while it does."""

    def application(self, host: str) -> Application:
        """Return what answers at `host`."""
        ...

    def restart(self) -> None:
        """Start anew after a kill."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One object that was put over the data plane, or a try of it."""

    life: Life
    path: str
    size_bytes: int
    status: int | None  # None: the sender never learnt how it ended


class Network:
    """Carries requests; `troubles` are met one by one, by one request each."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.troubles: list[Trouble] = []
        self.sent: list[Sent] = []
        self.requests = self.losses = 0
        self._lock = threading.Lock()

    def http(
        self, url: str, token: str | None, life: Life, pause: Callable[[float], None]
    ) -> UrllibHttp:
        """Return the real client of the API, over this network."""
        http = UrllibHttp(url, token, None, pause=pause)
        http._wire._pool = _Pool(self, life)  # type: ignore[assignment] # of its methods, one is used
        return http

    def objects(self, objects: HttpObjects, life: Life) -> HttpObjects:
        """Return the real client of the data plane, over this network."""
        objects._wire._pool = _Pool(self, life)  # type: ignore[assignment] # as above
        return objects

    def trouble(self) -> Trouble | None:
        """Return what happens to the next request."""
        with self._lock:
            self.requests += 1
            trouble = self.troubles.pop(0) if self.troubles else None
            self.losses += trouble is not None
        return trouble

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Let nothing go wrong within the block."""
        kept, self.troubles = self.troubles, []
        try:
            yield
        finally:
            self.troubles = kept


class _Pool:
    """As much of `urllib3.PoolManager` as our clients use."""

    def __init__(self, network: Network, life: Life) -> None:
        self._network, self._life = network, life

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | Iterable[bytes | memoryview] | None,
        headers: Mapping[str, str],
        **options: object,
    ) -> urllib3.HTTPResponse:
        assert options["redirect"] is False, "a token belongs to one server"
        self._life.step(f"before {method} {urlsplit(url).path}")
        trouble = self._network.trouble()
        if trouble == "refused":
            raise NewConnectionError(_NOWHERE, "refused")
        sent = _Body(body, cut_at=1 if trouble == "cut" else None)
        status: int | None = None
        try:
            answer = self._exchange(method, url, headers, sent)
            if trouble is not None:
                raise ProtocolError("the answer was lost")
            self._life.step(f"after {method} {urlsplit(url).path}")
            status = answer.status
        finally:
            if method == "PUT" and urlsplit(url).path.startswith(("/vaults/", "/accounts/")):
                done = Sent(
                    life=self._life,
                    path=urlsplit(url).path,
                    size_bytes=sent.size_bytes,
                    status=status,
                )
                self._network.sent.append(done)
        return answer

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], sent: "_Body"
    ) -> urllib3.HTTPResponse:
        server = self._network.server
        assert server is not None, "somebody answers"
        parts = urlsplit(url)
        try:
            application = server.application(parts.netloc)
            exchange = _Exchange(sent)
            asyncio.run(exchange.run(application, _scope(method, url, headers, sent)))
        except Killed:
            server.restart()
            raise ProtocolError("the server was killed") from None
        if sent.failure is not None:
            raise sent.failure
        return exchange.response(method)


_NOWHERE: Any = None  # the connection, which urllib3's error wants and nobody reads


class _Body:
    """A request's body on its way; remembers why it ended early."""

    def __init__(
        self, body: bytes | Iterable[bytes | memoryview] | None, *, cut_at: int | None
    ) -> None:
        self.length = len(body) if isinstance(body, bytes) else 0 if body is None else None
        self.size_bytes = 0
        self.failure: BaseException | None = None
        self._pieces = iter([body] if isinstance(body, bytes) else body or ())
        self._left = cut_at

    def next(self) -> dict[str, Any]:
        """Return the next message to the application."""
        if self._left == 0:
            self.failure = ProtocolError("the line broke")
            return {"type": "http.disconnect"}
        self._left = None if self._left is None else self._left - 1
        try:
            piece = next(self._pieces, None)
        except BaseException as error:  # noqa: BLE001 - the sender's own, raised when it is told
            self.failure = error
            return {"type": "http.disconnect"}
        if piece is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        data = bytes(piece)
        self.size_bytes += len(data)
        return {"type": "http.request", "body": data, "more_body": True}


class _Exchange:
    """One request and its answer."""

    def __init__(self, sent: _Body) -> None:
        self._sent, self._messages = sent, list[dict[str, Any]]()
        self._is_read = False

    async def run(self, application: Application, scope: dict[str, Any]) -> None:
        try:
            await application(scope, self._receive, self._send)
        except Exception as error:
            if self._sent.failure is None:
                raise AssertionError(f"the server failed at {scope['path']}") from error

    async def _receive(self) -> dict[str, Any]:
        if self._is_read:  # the client waits, connected, for the end of the answer
            await asyncio.Event().wait()
        message = self._sent.next()
        self._is_read = not message.get("more_body", False) and self._sent.failure is None
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    def response(self, method: str) -> urllib3.HTTPResponse:
        start, *bodies = self._messages
        return urllib3.HTTPResponse(
            body=io.BytesIO(b"".join(each.get("body", b"") for each in bodies)),
            headers={k.decode(): v.decode() for k, v in start["headers"]},
            status=start["status"],
            preload_content=False,
            request_method=method,
        )


def _scope(method: str, url: str, headers: Mapping[str, str], sent: _Body) -> dict[str, Any]:
    parts = urlsplit(url)
    given = {"host": parts.netloc, **{name.lower(): text for name, text in headers.items()}}
    if sent.length is not None and method != "GET":
        given.setdefault("content-length", str(sent.length))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": parts.scheme,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        "server": (parts.hostname, parts.port),
        "client": ("127.0.0.1", 1),
    }
