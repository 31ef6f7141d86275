"""What surrounds every request: path in one spelling, api-version, size limit, common headers.

Paths of the resource manager are the same in any case.  Their fixed parts are rewritten to one
spelling before routing; names keep the caller's, and are compared without case in the core.
"""

import re
from typing import Final
from urllib.parse import parse_qs
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overland.format.signed import MAX_DOCUMENT_BYTES
from overland.server.problems import problem

__all__ = ["IMPORT_EXPORT_VERSIONS", "Envelope", "canonical_path"]

IMPORT_EXPORT_VERSIONS: Final = frozenset({"2016-11-01", "2020-08-01", "2021-01-01"})

_MAX_BODY_BYTES: Final = 1 << 20
_MANIFEST: Final = re.compile(r"/v1/seeds/[^/]+/manifest")
_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")

_SPELLING: Final = {
    name.casefold(): name
    for name in (
        "subscriptions",
        "resourceGroups",
        "providers",
        "Microsoft.ImportExport",
        "Microsoft.Storage",
        "Microsoft.RecoveryServices",
        "jobs",
        "locations",
        "operations",
        "listBitLockerKeys",
        "storageAccounts",
        "blobServices",
        "containers",
        "vaults",
    )
}


class Envelope:
    """ASGI middleware around the whole API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here when its envelope is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = canonical_path(scope["path"])
        scope = {**scope, "path": path, "raw_path": path.encode()}
        request_id = str(uuid4())

        async def send_with_headers(message: Message) -> None:
            """Send a message; the head of an answer with the common headers."""
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), request_id)
            await send(message)

        refused = _refusal(scope)
        with structlog.contextvars.bound_contextvars(request=request_id):
            await (refused or self._app)(scope, receive, send_with_headers)


def canonical_path(path: str) -> str:
    """Return a resource manager's path with its fixed parts in one spelling; others unchanged."""
    if path.casefold().split("/")[1:2] not in (["subscriptions"], ["providers"]):
        return path
    parts, follows = path.split("/")[1:], "fixed"
    for position, part in enumerate(parts):
        if follows == "name":
            follows = "fixed"
            continue
        parts[position] = _SPELLING.get(part.casefold(), part)
        is_providers = follows == "fixed" and parts[position] == "providers"
        follows = "namespace" if is_providers else "fixed" if follows == "namespace" else "name"
    return "/" + "/".join(parts)


def _refusal(scope: Scope) -> ASGIApp | None:
    path, headers = scope["path"], Headers(scope=scope)
    if "transfer-encoding" in headers:
        return problem(path, status=411, code="length-required", message="send Content-Length")
    limit = MAX_DOCUMENT_BYTES if _MANIFEST.fullmatch(path) else _MAX_BODY_BYTES
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > limit:
        message = f"send at most {limit} bytes"
        return problem(path, status=413, code="body-too-large", message=message)
    if path.startswith(("/subscriptions", "/providers")):
        return _version_refusal(path, scope["query_string"].decode("latin-1"))
    return None


def _version_refusal(path: str, query: str) -> ASGIApp | None:
    versions = parse_qs(query).get("api-version", [])
    if len(versions) != 1:
        message = "the query parameter api-version is required, once"
        return problem(path, status=400, code="missing-api-version-parameter", message=message)
    if _VERSION.fullmatch(versions[0]) is None:
        message = "an api-version is a date such as 2021-01-01"
        return problem(path, status=400, code="invalid-api-version-parameter", message=message)
    known = "/providers/Microsoft.ImportExport/" in path
    if known and versions[0] not in IMPORT_EXPORT_VERSIONS:
        supported = ", ".join(sorted(IMPORT_EXPORT_VERSIONS))
        message = (
            f"Microsoft.ImportExport has no api-version {versions[0]} here; "
            f"the supported api-versions are {supported}"
        )
        return problem(path, status=400, code="no-registered-provider-found", message=message)
    return None


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    headers.setdefault("cache-control", "no-cache")  # answers with tokens say no-store
    headers["pragma"] = "no-cache"
    headers["expires"] = "-1"
    headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"
    headers["x-content-type-options"] = "nosniff"
    headers["x-ms-request-id"] = request_id
    headers["x-ms-correlation-request-id"] = request_id
