"""An ASGI application, called directly: one request at a time, without a socket."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

__all__ = ["Answer", "AsgiClient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:  # whatever the application sent
        return json.loads(self.content)


class AsgiClient:
    """Sends requests with `headers`, and as many more as a call brings; None leaves one out."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self.headers: dict[str, str] = {}

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str | None] | None = None,
        pieces: Iterable[bytes] = (),
    ) -> Answer:
        """Return the answer; the body's `pieces` arrive one by one."""
        path, _, query = url.partition("?")
        query = urlencode(params) if params is not None else query
        given = {k: v for k, v in (self.headers | dict(headers or {})).items() if v is not None}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
            "server": ("here", 80),
            "client": ("there", 1),
        }
        return asyncio.run(self._exchange(scope, iter(pieces)))

    async def _exchange(self, scope: dict[str, Any], pieces: Iterable[bytes]) -> Answer:
        sent: list[dict[str, Any]] = []
        messages = itertools.chain(
            ({"type": "http.request", "body": piece, "more_body": True} for piece in pieces),
            [{"type": "http.request", "body": b"", "more_body": False}],
        )

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:  # the client waits, connected, for the end of the answer
                await asyncio.Event().wait()
            assert message is not None, "nothing ever wakes it"
            return message

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        failed = False
        try:
            await self._app(scope, receive, send)
        except Exception:  # noqa: BLE001 - what a server logs after the answer was sent
            failed = True
        assert sent or not failed, "an answer is sent even when the application fails"
        start, *bodies = sent
        return Answer(
            status=start["status"],
            headers={k.decode(): v.decode() for k, v in start["headers"]},
            content=b"".join(each.get("body", b"") for each in bodies),
        )
