"""OpenID discovery, the issuer's keys, and the token endpoint of each tenant.

The paths and documents are those that the resource manager's client libraries ask for.  These
routes need no token: discovery and keys are public, and the token endpoint checks what it is shown.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from overland.cloud import applicationtokens, signin, signingkeys
from overland.cloud.accesstokens import OAuthRefused, TokenAnswer, issuer_of
from overland.cloud.ratelimits import network_of
from overland.cloud.services import Services
from overland.server.answers import FORM_FAILURES
from overland.server.caller import address_of
from overland.server.views import Json

__all__ = ["router"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

router = APIRouter(tags=["Sign-in"], responses=FORM_FAILURES)

_MAX_FORM_BYTES: Final = 32 << 10
_MAX_FIELDS: Final = 20
_FORM: Final = "application/x-www-form-urlencoded"
_PUBLIC_FOR_S: Final = 3600  # a new key signs at once; who meets one that is not cached asks again

_GRANTS: Final[Mapping[str, Callable[[Services, str, Mapping[str, str]], TokenAnswer]]] = {
    "client_credentials": applicationtokens.redeem_assertion,
    "urn:ietf:params:oauth:grant-type:device_code": signin.redeem_device_code,
    "refresh_token": signin.redeem_refresh_token,
}


@router.get("/common/discovery/instance")
def discover_instance(request: Request, authorization_endpoint: str = "") -> JSONResponse:
    """Return that this cloud is an authority for its own tenants, and for nobody else's."""
    services: Services = request.app.state.services
    ours = urlsplit(services.endpoints.url)
    tenant_id = _tenant_in(authorization_endpoint, host=ours.hostname)
    if not tenant_id:
        refused = OAuthRefused("invalid_instance", "that is no tenant's address at this cloud")
        return _refusal(refused)
    issuer = issuer_of(services.endpoints.url, tenant_id)
    host = ours.netloc
    return JSONResponse(
        {
            "api-version": "1.1",
            "tenant_discovery_endpoint": f"{issuer}/.well-known/openid-configuration",
            "metadata": [
                {"preferred_network": host, "preferred_cache": host, "aliases": [host]},
            ],
        }
    )


@router.get("/{tenant_id}/v2.0/.well-known/openid-configuration")
def discover(tenant_id: str, request: Request) -> JSONResponse:
    """Return where a tenant's endpoints are (OpenID Connect Discovery 1.0)."""
    services: Services = request.app.state.services
    try:
        known = _tenant(services, tenant_id)
    except OAuthRefused as refused:
        return _refusal(refused)
    base = f"{services.endpoints.url}/{known}"
    document: Json = {
        "issuer": issuer_of(services.endpoints.url, known),
        "token_endpoint": applicationtokens.token_endpoint(services, known),
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "response_types_supported": ["token"],
        "response_modes_supported": ["form_post"],
        "grant_types_supported": list(_GRANTS),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
        "scopes_supported": [],
    }
    return JSONResponse(document, headers=_PUBLIC)


@router.get("/{tenant_id}/discovery/v2.0/keys")
def get_keys(tenant_id: str, request: Request) -> JSONResponse:
    """Return the public keys of all tokens that may be good now (RFC 7517)."""
    services: Services = request.app.state.services
    try:
        _tenant(services, tenant_id)
    except OAuthRefused as refused:
        return _refusal(refused)
    with services.database.connect() as connection:
        keys = signingkeys.jwks(connection, at=services.clock.now())
    return JSONResponse(keys, headers=_PUBLIC)


@router.get("/{tenant_id}/oauth2/v2.0/authorize")
def authorize(tenant_id: str) -> JSONResponse:
    """Say that nobody signs in by redirects here; discovery has to name this address."""
    del tenant_id  # the same for all
    return _refusal(
        OAuthRefused(
            "unsupported_response_type",
            "sign in by device code (`overland sign-in`), or as an application by certificate",
        )
    )


@router.post("/{tenant_id}/oauth2/v2.0/token")
async def get_token(tenant_id: str, request: Request) -> JSONResponse:
    """Return an access token (RFC 6749 §5), or say in OAuth's words why there is none."""
    services: Services = request.app.state.services
    kind, body = request.headers.get("content-type", ""), await request.body()
    address = address_of(request)

    def answer() -> TokenAnswer:
        """Return the tokens, in a thread of its own: it asks the tables.

        Raises:
            OAuthRefused: There are none, or this network asks too often; in the words of OAuth.
        """
        _allow(services, address)
        form = _form(kind, body)
        redeem = _GRANTS.get(form.get("grant_type", ""))
        if redeem is None:
            raise OAuthRefused(
                "unsupported_grant_type", f"use a grant_type of: {', '.join(_GRANTS)}"
            )
        return redeem(services, _tenant(services, tenant_id), form)

    try:
        return _token(await run_in_threadpool(answer))
    except OAuthRefused as refused:
        return _refusal(refused)


_PUBLIC: Final = {"cache-control": f"public, max-age={_PUBLIC_FOR_S}"}
_PRIVATE: Final = {"cache-control": "no-store"}


class _SlowDown(OAuthRefused):
    def __init__(self, seconds: int) -> None:
        super().__init__("temporarily_unavailable", f"ask again in {seconds} s", status=429)
        self.seconds = seconds


def _allow(services: Services, address: str) -> None:
    wait = services.token_rate.wait(network_of(address), at=services.clock.now())
    if wait is not None:
        raise _SlowDown(int(wait.total_seconds()) + 1)


def _tenant(services: Services, text: str) -> str:
    """Return a tenant's id in canonical form.

    Raises:
        OAuthRefused: There is no such tenant.
    """
    unknown = OAuthRefused("invalid_tenant", "there is no such tenant; name it by its id")
    try:
        tenant_id = str(UUID(text))
    except ValueError:
        raise unknown from None
    with services.database.connect() as connection:
        if not applicationtokens.tenant_exists(connection, tenant_id):
            raise unknown
    return tenant_id


def _tenant_in(address: str, *, host: str | None) -> str:
    """Return what an address at this host names as tenant; empty if it is at another."""
    try:
        asked = urlsplit(address)
        is_ours = asked.scheme == "https" and asked.hostname == host
    except ValueError:
        return ""
    return asked.path.strip("/").partition("/")[0] if is_ours else ""


def _form(kind: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form, each of which is there once."""
    if kind.partition(";")[0].strip().lower() != _FORM:
        raise OAuthRefused("invalid_request", f"send the fields as {_FORM}")
    if len(body) > _MAX_FORM_BYTES:
        raise OAuthRefused("invalid_request", f"send at most {_MAX_FORM_BYTES} bytes")
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise OAuthRefused("invalid_request", "the form cannot be read") from None
    form = dict(fields)
    if len(form) != len(fields):
        raise OAuthRefused("invalid_request", "a field is there twice")
    return {name: value for name, value in form.items() if value}  # RFC 6749 §3.2: as if absent


def _token(answer: TokenAnswer) -> JSONResponse:
    content: Json = {
        "token_type": "Bearer",
        "access_token": answer.access_token,
        "expires_in": answer.expires_in,
        "scope": answer.scope,
    }
    if answer.refresh_token is not None:
        content["refresh_token"] = answer.refresh_token
    return JSONResponse(content, headers=_PRIVATE)


def _refusal(refused: OAuthRefused) -> JSONResponse:
    log.info("token.refused", error=refused.error, status=refused.status)
    headers = dict(_PRIVATE)
    if isinstance(refused, _SlowDown):
        headers["retry-after"] = str(refused.seconds)
    content = {"error": refused.error, "error_description": refused.description}
    return JSONResponse(content, status_code=refused.status, headers=headers)
