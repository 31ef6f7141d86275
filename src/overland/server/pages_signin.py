"""The pages where a person confirms a sign-in, or chooses a password; and the device endpoint.

Pages are plain HTML without scripts.  Every form carries a secret that is also in a cookie which
only this site can set and read, so that no other site can send it; the policy in the headers
allows nothing but our own stylesheet.  Whatever is shown of what people or commands sent is
escaped.
"""

import hmac
import html
import secrets
from collections.abc import Callable, Mapping
from string import Template
from typing import Annotated, Final, ParamSpec, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from overland.cloud import proofs, signin
from overland.cloud.accesstokens import OAuthRefused
from overland.cloud.proofs import Claimed, SignInRefused
from overland.cloud.ratelimits import RateLimit, network_of
from overland.cloud.refusals import Invalid
from overland.cloud.services import Services
from overland.server.answers import FORM_FAILURES
from overland.server.caller import address_of
from overland.server.pagefiles import page_text, style

__all__ = ["router"]

router = APIRouter(tags=["Sign-in"], responses=FORM_FAILURES)

P = ParamSpec("P")
T = TypeVar("T")

_COOKIE: Final = "__Host-overland-form"
_MAX_FORM_BYTES: Final = 4096
_MAX_FIELDS: Final = 12
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)


class _FormRefused(Exception):
    """A form that no page of ours sent, or one too many."""

    def __init__(self, *, is_too_many: bool = False) -> None:
        super().__init__()
        self.is_too_many = is_too_many


@router.post("/{tenant_id}/oauth2/v2.0/devicecode")
async def begin(tenant_id: str, request: Request) -> JSONResponse:
    """Begin a sign-in by device code (RFC 8628 §3.1)."""
    services: Services = request.app.state.services
    headers = {"cache-control": "no-store"}
    try:
        form = await _fields(request, services.code_rate)
        made = await run_in_threadpool(
            signin.start,
            services,
            tenant_id,
            client_id=form.get("client_id", ""),
            client_name=form.get("client_name", "a command"),
            address=address_of(request),
        )
    except _FormRefused as refused:
        if refused.is_too_many:
            return JSONResponse({"error": "temporarily_unavailable"}, 429, headers)
        return JSONResponse({"error": "invalid_request"}, 400, headers)
    except OAuthRefused as refused:
        content = {"error": refused.error, "error_description": refused.description}
        return JSONResponse(content, refused.status, headers)
    page = f"{services.endpoints.url}/device"
    content_made: dict[str, object] = {
        "device_code": made.device_code,
        "user_code": made.user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?code={made.user_code}",
        "expires_in": made.expires_in,
        "interval": made.interval,
        "message": f"Open {page} and enter the code {made.user_code}.",
    }
    return JSONResponse(content_made, headers=headers)


@router.get("/device", include_in_schema=False)
def show_device(
    request: Request, typed: Annotated[str, Query(alias="code", max_length=16)] = ""
) -> Response:
    """Show where a code, a name and a password are typed."""
    return _page(request, "device", title="Sign in", shown={"code": typed})


@router.post("/device", include_in_schema=False)
async def review_device(request: Request) -> Response:
    """Show what asks and from where, to the person who proved who they are."""
    services: Services = request.app.state.services
    form: Mapping[str, str] = {}
    try:
        form = await _form(request)
        asked = await _in_slot(
            services,
            signin.review,
            services,
            form.get("code", ""),
            name=form.get("name", ""),
            password=form.get("password", ""),
            totp=form.get("totp", ""),
            address=address_of(request),
        )
    except _FormRefused as refused:
        return _expired(request, is_too_many=refused.is_too_many)
    except SignInRefused as refused:
        typed = {"code": form.get("code", "")[:16], "name": form.get("name", "")[:128]}
        return _page(
            request, "device", title="Sign in", status=401, problem=str(refused), shown=typed
        )
    shown = {
        "ticket": asked.ticket,
        "user": asked.user_name,
        "client": asked.client_name,
        "address": asked.client_address,
        "since": f"{asked.asked_at:%Y-%m-%d %H:%M} UTC",
    }
    return _page(request, "consent", title="Let it in?", shown=shown)


@router.post("/device/decision", include_in_schema=False)
async def decide_device(request: Request) -> Response:
    """Take the decision, which counts once."""
    services: Services = request.app.state.services
    try:
        form = await _form(request)
        is_approved = form.get("decision") == "allow"
        await run_in_threadpool(
            signin.decide,
            services,
            form.get("ticket", ""),
            is_approved=is_approved,
            address=address_of(request),
        )
    except (_FormRefused, SignInRefused) as refused:
        is_too_many = isinstance(refused, _FormRefused) and refused.is_too_many
        return _expired(request, is_too_many=is_too_many)
    if is_approved:
        said = "The command is signed in. You can close this page."
        return _page(request, "done", title="Signed in", shown={"said": said})
    said = "The command was refused, and got nothing. You can close this page."
    return _page(request, "done", title="Refused", shown={"said": said})


@router.get("/password", include_in_schema=False)
def show_password(request: Request, tenant: str = "", name: str = "") -> Response:
    """Show where an invited person, or one who has a password, chooses a new one."""
    typed = {"tenant": tenant[:36], "name": name[:128]}
    return _page(request, "password", title="Choose a password", shown=typed)


@router.post("/password", include_in_schema=False)
async def change_password(request: Request) -> Response:
    """Store a new password, which nobody else ever sees."""
    services: Services = request.app.state.services
    typed: dict[str, str] = {}
    try:
        form = await _form(request)
        typed = {"tenant": form.get("tenant", "")[:36], "name": form.get("name", "")[:128]}
        new = form.get("new", "")
        _check_twice(new, form.get("again", ""))
        claimed = Claimed(
            tenant_id=form.get("tenant", "").strip().lower() or None,
            name=form.get("name", ""),
            password=form.get("proof", ""),
            one_time_code=form.get("totp", ""),
            address=address_of(request),
        )
        await _in_slot(services, proofs.change_password, services, claimed, new)
    except _FormRefused as refused:
        return _expired(request, is_too_many=refused.is_too_many)
    except (SignInRefused, Invalid) as refused:
        status = 401 if isinstance(refused, SignInRefused) else 400
        title = "Choose a password"
        return _page(
            request, "password", title=title, status=status, problem=str(refused), shown=typed
        )
    said = "Your new password counts from now on; commands that were signed in are signed out."
    return _page(request, "done", title="Password stored", shown={"said": said})


def _check_twice(new: str, again: str) -> None:
    if new != again:
        raise Invalid("new password", "both entries have to be the same")


@router.get("/pages.css", include_in_schema=False)
def show_style() -> Response:
    """Return the stylesheet of the pages."""
    return Response(style("pages.css"), media_type="text/css")


def _page(
    request: Request,
    name: str,
    *,
    title: str,
    shown: Mapping[str, str],
    status: int = 200,
    problem: str = "",
) -> Response:
    """Return a page; what it shows is escaped, and its forms are bound to the browser's cookie."""
    form_secret = request.cookies.get(_COOKIE, "")
    if len(form_secret) != len(secrets.token_urlsafe()):
        form_secret = secrets.token_urlsafe()
    known = {"code": "", "name": "", "tenant": "", **shown, "form": form_secret}
    escaped = {key: html.escape(text) for key, text in known.items()}
    said = f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
    body = Template(page_text(f"{name}.html")).substitute(escaped, problem=said)
    page = Template(page_text("frame.html")).substitute(title=html.escape(title), body=body)
    answer = HTMLResponse(page, status_code=status, headers=_HEADERS)
    answer.set_cookie(
        _COOKIE, form_secret, max_age=3600, secure=True, httponly=True, samesite="strict"
    )
    return answer


_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


def _expired(request: Request, *, is_too_many: bool) -> Response:
    if is_too_many:
        said = "Too many forms came at a time. Wait a minute, and begin again."
        return _page(request, "done", title="Wait a minute", status=429, shown={"said": said})
    said = "This page is too old, was used before, or was not sent from here. Begin again."
    return _page(request, "done", title="Begin again", status=400, shown={"said": said})


async def _in_slot(
    services: Services, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do what hashes a password, in a thread; so few at a time that other routes keep theirs.

    Raises:
        _FormRefused: Too many are under way.
    """
    if not services.form_slots.acquire(blocking=False):
        raise _FormRefused(is_too_many=True)
    try:
        return await run_in_threadpool(work, *args, **kwargs)
    finally:
        services.form_slots.release()


async def _form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that a page of ours sent.

    Raises:
        _FormRefused: Its secret is not the cookie's, or it cannot be read.
    """
    services: Services = request.app.state.services
    form = await _fields(request, services.page_rate)
    cookie, sent = request.cookies.get(_COOKIE, ""), form.get("form", "")
    if not cookie or not hmac.compare_digest(cookie.encode(), sent.encode()):
        raise _FormRefused
    return form


async def _fields(request: Request, rate: RateLimit) -> Mapping[str, str]:
    services: Services = request.app.state.services
    if rate.wait(network_of(address_of(request)), at=services.clock.now()) is not None:
        raise _FormRefused(is_too_many=True)
    length = request.headers.get("content-length", "0")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if int(length) > _MAX_FORM_BYTES or kind != "application/x-www-form-urlencoded":
        raise _FormRefused  # the envelope checked that the length is a number
    body = await request.body()
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise _FormRefused from None
    form = dict(fields)
    if len(form) != len(fields):
        raise _FormRefused
    return form
