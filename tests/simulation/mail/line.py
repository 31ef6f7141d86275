"""A bad line between the machines: the real clients and applications, and what goes wrong between.

What happens to a request is drawn from the story's number.  See `tests/support/journey_network.py`
for how requests reach the applications without sockets.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from io import BytesIO
from typing import Final, cast
from urllib.parse import urlsplit

import urllib3
from tests.support.journey_faults import BaseClock, Life
from tests.support.journey_machines import Cloud
from tests.support.journey_network import Network, Sent, _Body, _Exchange, _scope
from tests.support.simengine import Killed
from typing_extensions import override
from urllib3.exceptions import NewConnectionError, ProtocolError

from overland.adapters.http import UrllibHttp
from overland.adapters.httpobjects import HttpObjects

__all__ = ["KINDS", "Line"]

KINDS: Final = (
    *("refused", "cut", "lost", "torn"),
    *("failing", "failed", "busy"),
    *("twice", "slow", "restart", "late restart"),
)
"""What can happen to one request:

| kind | what happens |
|---|---|
| refused | nobody answers |
| cut | the line breaks at some byte of the request |
| lost | it is done, and the answer is lost |
| torn | it is done, and the line breaks at some byte of the answer |
| failing, busy | status 500 or 503, and nothing is done |
| failed | it is done, and the answer is status 500 |
| twice | it arrives twice; the second answer counts |
| slow | hours pass before it arrives |
| restart, late restart | the cloud's program begins anew before it, or after it |
"""

_SLOW_HOURS: Final = (0.1, 0.1, 5.0, 13.0)
_GRANT_HOURS: Final = 12  # so long a grant counts; a request that outlives two of them fails
_DATA: Final = ("/vaults/", "/accounts/")


class Line(Network):
    """Carries requests, one at a time, and spoils some of them."""

    def __init__(self, base: BaseClock) -> None:
        super().__init__()
        self._base = base
        self._chance, self._kinds = random.Random(), tuple[str, ...]()
        self._rate = 0.0
        self._left = 0
        self._may_be_very_slow = True
        self.met: list[str] = []

    def worsen(self, seed: int, *, kinds: Sequence[str], rate: float, at_most: int) -> None:
        """Spoil each request with some probability from now on, up to `at_most` of them."""
        self._chance, self._kinds = random.Random(seed), tuple(kinds)
        self._rate, self._left = rate, at_most
        self.met = []
        self._may_be_very_slow = True

    def mend(self) -> None:
        """Spoil nothing any more."""
        self._left = 0

    @contextlib.contextmanager
    @override
    def calm(self) -> Iterator[None]:
        """Let nothing go wrong within the block."""
        left, self._left = self._left, 0
        try:
            yield
        finally:
            self._left = left

    @override
    def http(
        self, url: str, token: str | None, life: Life, pause: Callable[[float], None]
    ) -> UrllibHttp:
        http = UrllibHttp(url, token, None, pause=pause)
        http._wire._pool = _Wire(self, life)  # type: ignore[assignment]  # of its methods, one is used
        return http

    @override
    def objects(self, objects: HttpObjects, life: Life) -> HttpObjects:
        objects._wire._pool = _Wire(self, life)  # type: ignore[assignment]  # as above
        return objects

    def draw(self) -> str:
        """Return what happens to the next request; empty for nothing."""
        self.requests += 1
        if not self._left or self._chance.random() >= self._rate:
            return ""
        self._left -= 1
        self.losses += 1
        self.met.append(self._chance.choice(self._kinds))
        return self.met[-1]

    def below(self, count: int) -> int:
        """Return a place to break something of `count` bytes at."""
        return self._chance.randrange(count) if count else 0

    def wait(self) -> None:
        """Let a slow request take its time."""
        hours = self._chance.choice(_SLOW_HOURS)
        if hours > _GRANT_HOURS and not self._may_be_very_slow:
            hours = _SLOW_HOURS[0]
        self._may_be_very_slow &= hours < _GRANT_HOURS
        self._base.advance(timedelta(hours=hours))

    def begin_anew(self) -> None:
        """Start the cloud's program anew."""
        cast("Cloud", self.server).live(Life())


class _Wire:
    """As much of `urllib3.PoolManager` as our clients use."""

    def __init__(self, line: Line, life: Life) -> None:
        self._line, self._life = line, life

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
        path = urlsplit(url).path
        self._life.step(f"before {method} {path}")
        kind = self._line.draw()
        before = {"slow": self._line.wait, "restart": self._line.begin_anew}
        before.get(kind, lambda: None)()
        match kind:
            case "refused":
                raise NewConnectionError(cast("urllib3.connection.HTTPConnection", None), "refused")
            case "failing" | "busy":
                return _saying(500 if kind == "failing" else 503, method)
        request = _Request(self._line, method, url, headers)
        status: int | None = None
        try:
            answer = request.send(body, kind)
            self._life.step(f"after {method} {path}")
            status = answer.status
        finally:
            if method == "PUT" and path.startswith(_DATA):
                sent = Sent(
                    life=self._life, path=path, size_bytes=request.sent_bytes, status=status
                )
                self._line.sent.append(sent)
        return answer


class _Request:
    """One request on its way, and its answer."""

    def __init__(self, line: Line, method: str, url: str, headers: Mapping[str, str]) -> None:
        self._line, self._method = line, method
        self._url, self._headers = url, headers
        self.sent_bytes = 0

    def send(
        self, body: bytes | Iterable[bytes | memoryview] | None, kind: str
    ) -> urllib3.HTTPResponse:
        """Have it answered; raises as the line breaks."""
        if kind in {"cut", "twice"} and body is not None:
            body = body if isinstance(body, bytes) else b"".join(map(bytes, body))
        if kind == "cut":
            whole = body if isinstance(body, bytes) else b""
            self._exchange(_Body([whole[: self._line.below(len(whole))]], cut_at=1))
            raise ProtocolError("the line broke")
        if kind == "twice":
            self._exchange(_Body(body, cut_at=None))
        exchange = self._exchange(_Body(body, cut_at=None))
        if kind == "late restart":
            self._line.begin_anew()
        match kind:
            case "lost":
                raise ProtocolError("the answer was lost")
            case "failed":
                return _saying(500, self._method)
            case "torn":
                return self._torn(exchange)
        return exchange.response(self._method)

    def _exchange(self, sent: _Body) -> _Exchange:
        server = self._line.server
        assert server is not None, "somebody answers"
        exchange = _Exchange(sent)
        try:
            application = server.application(urlsplit(self._url).netloc)
            scope = _scope(self._method, self._url, self._headers, sent)
            asyncio.run(exchange.run(application, scope))
        except Killed:
            server.restart()
            raise ProtocolError("the server was killed") from None
        finally:
            self.sent_bytes += sent.size_bytes
        if sent.failure is not None and not isinstance(sent.failure, ProtocolError):
            raise sent.failure
        return exchange

    def _torn(self, exchange: _Exchange) -> urllib3.HTTPResponse:
        start, *bodies = exchange._messages
        headers = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        body = b"".join(each.get("body", b"") for each in bodies)
        if not body or "content-length" not in headers:
            raise ProtocolError("the line broke in the answer")
        return urllib3.HTTPResponse(
            body=BytesIO(body[: self._line.below(len(body))]),
            headers=headers,
            status=start["status"],
            preload_content=False,
            request_method=self._method,
        )


def _saying(status: int, method: str) -> urllib3.HTTPResponse:
    """Return what something between the machines says of its own, in words of its own."""
    return urllib3.HTTPResponse(
        body=BytesIO(b"<html>try again later</html>"),
        headers={"content-type": "text/html", "content-length": "28"},
        status=status,
        preload_content=False,
        request_method=method,
    )
