"""A cloud that says one thing, whatever it is asked."""

from typing_extensions import override

from overland.ports.http import Http, Reply

__all__ = ["Answering"]


class Answering(Http):
    """Answers 200 with one body."""

    def __init__(self, body: object) -> None:
        self._body = body

    @override
    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        return Reply(status=200, body=self._body, raw=b"")
