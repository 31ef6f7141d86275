"""How refusals and failures look on the wire: one shape, the right status, a stable code.

Everything that is not a success has the body `{"error": {"code", "message", "target", "details"}}`.
Below `/v1` the code is ours (`docs/reference/errors.md`); elsewhere it is in the form that the
resource manager's clients know.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from overland.cloud import refusals
from overland.cloud.grants import GrantExpired, GrantInsufficient, GrantInvalid
from overland.errors import (
    IntegrityError,
    NotAuthorised,
    ObjectAbsent,
    OverlandError,
    RefusedError,
    TransientError,
)
from overland.jobs.edits import EditRefused
from overland.jobs.importjob import DriveNotInJob
from overland.jobs.records import JobAbsent, TrackingNumberUsed
from overland.jobs.states import ConditionMissing, EventRefused
from overland.vault.keychanging import KeyChangeBehind, KeyChangeRefused
from overland.vault.marks import PointReclaimed, PointStays
from overland.vault.replacing import ChainChanged, ChainRepacked

__all__ = ["install", "problem"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_STATUS: Final[Sequence[tuple[type[OverlandError], int]]] = (
    (refusals.Forbidden, 403),
    (GrantInvalid, 403),
    (GrantExpired, 403),
    (GrantInsufficient, 403),
    (NotAuthorised, 401),
    (refusals.ResourceAbsent, 404),
    (JobAbsent, 404),
    (ObjectAbsent, 404),
    (DriveNotInJob, 404),
    (refusals.Conflict, 409),
    (EventRefused, 409),
    (EditRefused, 409),
    (ConditionMissing, 409),
    (TrackingNumberUsed, 409),
    (PointStays, 409),
    (PointReclaimed, 409),
    (ChainChanged, 409),
    (ChainRepacked, 409),
    (KeyChangeBehind, 409),
    (KeyChangeRefused, 409),
    (RefusedError, 400),
    (IntegrityError, 400),
    (TransientError, 503),
)
"""The first family that fits decides."""

_ARM_CODES: Final[Mapping[str, str]] = {
    "not-authorised": "InvalidAuthenticationToken",
    "forbidden": "AuthorizationFailed",
    "not-found": "ResourceNotFound",
    "job-absent": "ResourceNotFound",
    "resource-group-absent": "ResourceGroupNotFound",
    "invalid": "InvalidRequestContent",
    "conflict": "Conflict",
    "event-refused": "InvalidJobState",
    "edit-refused": "InvalidJobState",
    "condition-missing": "InvalidJobState",
}
_HTTP_CODES: Final[Mapping[int, str]] = {
    400: "invalid",
    404: "not-found",
    405: "method-not-allowed",
}
_MAX_DETAILS: Final = 20
_GROUP: Final = "resource group "


def install(app: FastAPI) -> None:
    """Make every failure of `app` answer in the one shape."""
    app.add_exception_handler(OverlandError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)


def problem(
    path: str,
    *,
    status: int,
    code: str,
    message: str,
    target: str | None = None,
    details: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error as a response; `path` decides whose codes are used."""
    shown = code if path.startswith("/v1/") else _ARM_CODES.get(code, _pascal(code))
    error: dict[str, object] = {"code": shown, "message": message}
    if target is not None:
        error["target"] = target
    if details:
        error["details"] = list(details)
    challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(
        {"error": error}, status_code=status, headers={**challenge, **(headers or {})}
    )


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OverlandError), "installed for this family"
    status = next((status for family, status in _STATUS if isinstance(error, family)), 500)
    log.info("request.refused", code=error.code, status=status, method=request.method)
    return problem(
        request.url.path,
        status=status,
        code=_code(request.url.path, error),
        message=str(error),
        target=getattr(error, "target", None),
    )


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError), "installed for this family"
    log.info("request.refused", code="invalid", status=400, method=request.method)
    found = [
        {"code": str(each["type"]), "target": _place(each["loc"]), "message": str(each["msg"])}
        for each in error.errors()[:_MAX_DETAILS]
    ]
    message = "; ".join(f"{each['target']}: {each['message']}" for each in found[:3])
    return problem(
        request.url.path,
        status=400,
        code="invalid",
        message=message or "the request does not have the documented form",
        target=found[0]["target"] if found else None,
        details=found,
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException), "installed for this family"
    code = _HTTP_CODES.get(error.status_code, "refused")
    log.info("request.refused", code=code, status=error.status_code, method=request.method)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return problem(
        request.url.path,
        status=error.status_code,
        code=code,
        message=message,
        headers=_allow(request) if error.status_code == 405 else error.headers,
    )


def _allow(request: Request) -> Mapping[str, str]:
    """Return the methods of all routes that have the path; the router tells the first one's."""
    routes = cast("Sequence[APIRoute]", getattr(request.app.state, "routes", ()))  # `create_app`'s
    here = [route for route in routes if route.path_regex.match(request.scope["path"])]
    methods = {method for route in here for method in route.methods or ()}
    return {"allow": ", ".join(sorted(methods))} if methods else {"allow": "GET"}


async def _failed(request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", method=request.method, exc_info=error)
    message = "the cloud failed; its log says why"
    return problem(request.url.path, status=500, code="internal-error", message=message)


def _code(path: str, error: OverlandError) -> str:
    """Return the error's code; the resource manager has one of its own for absent groups."""
    is_group = isinstance(error, refusals.ResourceAbsent) and error.what.startswith(_GROUP)
    return "resource-group-absent" if is_group and not path.startswith("/v1/") else error.code


def _place(location: object) -> str:
    parts = cast("Sequence[object]", location)  # pydantic: names and positions, outermost first
    return ".".join(str(part) for part in parts if part != "body") or "body"


def _pascal(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("-"))
