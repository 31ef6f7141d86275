"""The data plane's words: what a request may say, and how an answer refuses."""

import re
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from overland.cloud import grants
from overland.errors import (
    NotAuthorised,
    ObjectAbsent,
    ObjectCorrupt,
    ObjectExists,
    OutOfSpace,
    OverlandError,
    RefusedError,
    TransientError,
)
from overland.format.blob_description import is_reserved
from overland.values import is_object_name

__all__ = [
    "ATTACHED_HEADER",
    "DIGEST_HEADER",
    "HANDLERS",
    "MAX_BLOB_BYTES",
    "MAX_LISTED",
    "MAX_OBJECT_BYTES",
    "RangeInvalid",
    "RequestInvalid",
    "TooManyUploads",
    "UploadInterrupted",
    "UploadTooSlow",
    "bearer",
    "declared",
    "is_attached",
    "page_size",
    "span",
    "target",
]

DIGEST_HEADER: Final = "x-overland-sha256"

ATTACHED_HEADER: Final = "x-overland-attached"
"""How many bytes an upload has that are not its body, but in a file that comes with it."""

MAX_LISTED: Final = 1000
"""Objects per page of a listing."""

MAX_OBJECT_BYTES: Final = 2 << 30
"""Twice the largest pack."""

MAX_BLOB_BYTES: Final = 8 << 40
"""The documented largest page blob; containers take what drives of other tools bring."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
_PATH: Final = re.compile(r"(accounts/[^/]*/[^/]*|vaults/[^/]*)(?:/(.*))?", re.DOTALL)


log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RequestInvalid(RefusedError):
    """The request does not have the form that the data plane documents."""

    code: ClassVar[str] = "request-invalid"


class RangeInvalid(RefusedError):
    """The object has no such range of bytes, or more than one was asked for."""

    code: ClassVar[str] = "range-invalid"

    def __init__(self, *, size_bytes: int) -> None:
        super().__init__(f"ask for one range of bytes within the object's {size_bytes}")
        self.size_bytes = size_bytes


class UploadInterrupted(TransientError):
    """The sender went away before the object was whole; nothing was stored."""

    code: ClassVar[str] = "upload-interrupted"

    def __init__(self) -> None:
        super().__init__("the upload ended early and nothing was stored; send the object again")


class UploadTooSlow(TransientError):
    """The sender kept the store waiting for longer than what it sent so far may take."""

    code: ClassVar[str] = "upload-too-slow"

    def __init__(self, *, sent_bytes: int, slowest_bytes_per_s: float) -> None:
        super().__init__(
            f"the upload was slower than {slowest_bytes_per_s:.0f} bytes per second after "
            f"{sent_bytes} bytes, and nothing was stored; send the object again"
        )
        self.sent_bytes = sent_bytes


class TooManyUploads(TransientError):
    """As many uploads as one grant may have are under way; the others are left their share."""

    code: ClassVar[str] = "too-many-uploads"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} uploads are under way with this grant, which is as many as it may have; "
            "send the object again when one has ended"
        )
        self.limit = limit


def bearer(request: Request) -> str:
    """Return the text of the request's grant.

    Raises:
        GrantInvalid: There is none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise grants.GrantInvalid
    return token.strip()


def target(request: Request) -> tuple[str, str]:
    """Return the request's space and, within it, the object's name; "" for a listing.

    Raises:
        RequestInvalid: The path names no space, an unsafe name, or no object where one is needed.
    """
    found = _PATH.fullmatch(request.path_params["path"])
    if found is None or not grants.is_space(found[1]):
        raise RequestInvalid("the path is /accounts/ACCOUNT/CONTAINER/NAME or /vaults/UUID/NAME")
    space, name = found[1], found[2] or ""
    if name and not grants.is_safe_name(name):
        raise RequestInvalid("an object's name is relative and has no empty, `.` or `..` part")
    if not name and (request.method != "GET" or "list" not in request.query_params):
        raise RequestInvalid("the path names no object; a space is listed with GET and ?list")
    return space, name


def is_attached(request: Request) -> bool:
    """Return whether an upload's content is in a file that comes with it."""
    return ATTACHED_HEADER in request.headers


def declared(request: Request, *, space: str, name: str) -> tuple[int, str]:
    """Return the size and the SHA-256 that the sender promises for an upload.

    A vault takes a repository's objects only, and a name that is a digest has to be the right one:
    so no vault can ever hold other bytes under a pack's name.

    Raises:
        RequestInvalid: The size or the digest is absent, malformed or too large.
        ObjectCorrupt: The name promises another digest.
    """
    length_header = ATTACHED_HEADER if is_attached(request) else "content-length"
    length = request.headers.get(length_header, "")
    sha256 = request.headers.get(DIGEST_HEADER, "").lower()
    is_ours = space.startswith("vaults/") or is_reserved(name)
    longest = MAX_OBJECT_BYTES if is_ours else MAX_BLOB_BYTES
    if not _LENGTH.fullmatch(length) or int(length) > longest:
        raise RequestInvalid(f"an upload has {length_header.title()}, of at most {longest}")
    if not _DIGEST.fullmatch(sha256):
        raise RequestInvalid(f"an upload has {DIGEST_HEADER}: 64 hexadecimal digits")
    if space.startswith("vaults/"):
        _check_vault_name(name, sha256)
    return int(length), sha256


def span(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Return start and stop of the range that was asked for; None means the whole object.

    Raises:
        RangeInvalid: Several ranges, another unit, or none of its bytes exists.
    """
    if header is None:
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        raise RangeInvalid(size_bytes=size_bytes)
    if not found[1]:  # the last so many bytes
        start, stop = max(0, size_bytes - int(found[2])), size_bytes
    else:
        start = int(found[1])
        stop = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
    if start >= stop:
        raise RangeInvalid(size_bytes=size_bytes)
    return start, stop


def page_size(text: str | None) -> int:
    """Return how many objects a page may have.

    Raises:
        RequestInvalid: `text` is not a number from 1.
    """
    if text is None:
        return MAX_LISTED
    if not _LENGTH.fullmatch(text) or int(text) < 1:
        raise RequestInvalid(f"top is a number from 1 to {MAX_LISTED}")
    return min(int(text), MAX_LISTED)


# The first kind that fits counts, so leaves come before their families.
_STATUS: Final[tuple[tuple[type[OverlandError], int], ...]] = (
    (grants.GrantInsufficient, 403),
    (NotAuthorised, 401),
    (RangeInvalid, 416),
    (ObjectAbsent, 404),
    (ObjectExists, 409),
    (ObjectCorrupt, 422),
    (OutOfSpace, 507),
    (UploadTooSlow, 408),
    (TooManyUploads, 429),
    (TransientError, 503),
    (RefusedError, 400),
)


async def _refusal(request: Request, error: Exception) -> Response:
    """Answer with the status and the stable code that stand for one of our errors."""
    if isinstance(error, ClientDisconnect):  # nobody hears it; it ends the request in order
        error = UploadInterrupted()
    assert isinstance(error, OverlandError), "registered for our own errors only"
    answer = _problem(request, _status(error), error.code, str(error))
    if answer.status_code == 401:
        answer.headers["www-authenticate"] = "Bearer"
    if isinstance(error, RangeInvalid):
        answer.headers["content-range"] = f"bytes */{error.size_bytes}"
    return answer


async def _wrong_request(request: Request, error: Exception) -> Response:
    """Answer what the router itself refuses: an unknown method."""
    assert isinstance(error, HTTPException), "registered for the router's errors only"
    return _problem(request, error.status_code, RequestInvalid.code, error.detail)


async def _failure(request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; the server logs it with its trace."""
    log.error("request.failed", method=request.method, kind=type(error).__name__)
    return _problem(request, 500, "internal", "the data plane failed; its log says why")


HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    OverlandError: _refusal,
    ClientDisconnect: _refusal,
    HTTPException: _wrong_request,
    Exception: _failure,
}
"""What stands in for each kind of error: the only place where errors become answers."""


def _problem(request: Request, status: int, code: str, message: str) -> JSONResponse:
    """Return an answer of the shape that all our services use."""
    body = {"code": code, "message": message, "target": request.url.path, "details": []}
    return JSONResponse({"error": body}, status_code=status)


def _status(error: OverlandError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _check_vault_name(name: str, sha256: str) -> None:
    _, _, object_name = name.partition("/")
    if not is_object_name(object_name):
        raise RequestInvalid("a vault holds packs, index files, points and keyrings of computers")
    kind, _, last = object_name.rpartition("/")
    stated = last.partition(".")[0]
    if kind.startswith(("packs/", "index")) and stated != sha256:
        raise ObjectCorrupt(object_name, check="its name is not the SHA-256 that the sender states")
