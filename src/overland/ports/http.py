"""A conversation with Overland's API, as a port."""

from typing import Any, Protocol

import msgspec

from overland.errors import NotAuthorised, ObjectAbsent, RefusedError, Unreachable

__all__ = ["Http", "RefusedByCloud", "Reply", "accept"]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: status, decoded JSON body (None when empty), and raw bytes."""

    status: int
    body: Any  # whatever JSON the server sent; callers decode it into their own types
    raw: bytes


class Http(Protocol):
    """Requests to one server, with one credential."""

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        """Send a request and return the answer, whatever its status.

        `path` starts with `/` and may hold a query.  `json` or `raw` is the body.

        Raises:
            Unreachable: There was no answer within the time limit, after bounded retries.
        """
        ...


class RefusedByCloud(RefusedError):
    """The cloud understood the request and refused it; `reason` is its own stable code."""

    code = "refused-by-cloud"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def accept(reply: Reply, *, what: str) -> Any:  # noqa: ANN401 - the server's JSON
    """Return the body of a successful answer to a request for `what`.

    The four answers that a user must be able to tell apart stay apart: absent, not authorised,
    refused, and not reachable.

    Raises:
        ObjectAbsent: 404.
        NotAuthorised: 401 or 403.
        Unreachable: 5xx or 429.
        RefusedByCloud: Any other error; carries the server's code and message.
    """
    if reply.status < 300:
        return reply.body
    error = reply.body.get("error", {}) if isinstance(reply.body, dict) else {}
    reason = str(error.get("code", reply.status))
    message = str(error.get("message", "")) or f"the cloud answered {reply.status}"
    match reply.status:
        case 404:
            raise ObjectAbsent(what)
        case 401 | 403:
            raise NotAuthorised(f"{what}: {message}")
        case 429:
            raise Unreachable(f"{what}: the cloud asks to wait: {message}")
        case status if status >= 500:
            raise Unreachable(f"{what}: the cloud failed: {message}")
        case _:
            raise RefusedByCloud(reason, f"{what}: {message}")
