"""From a bearer token to a principal with leave to go on, before the body is looked at."""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fastapi import Request
from sqlalchemy import Connection

from overland.cloud import accesstokens, identity, principals
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import TokenInvalid
from overland.cloud.services import Call, Services

__all__ = ["Caller", "Needs", "address_of"]

_SCHEME: Final = "bearer "
_STORED: Final = "ov1_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated principal whose role allows the route."""

    principal: Principal
    services: Services
    token_sha256: str
    address: str

    def call(self) -> AbstractContextManager[Call]:
        """Open the request's transaction."""
        return self.services.call(self.principal, address=self.address)


class Needs:
    """Dependency of a route: the request's token has to carry a role with this permission."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def __call__(self, request: Request) -> Caller:
        """Return the caller.

        Raises:
            TokenInvalid: There is no valid token.
            Forbidden: Its role does not have the permission.
        """
        services: Services = request.app.state.services
        token = _bearer(request.headers.get("authorization", ""))
        with services.database.connect() as connection:
            principal = _principal(connection, token, at=services.clock.now())
        principal.require(self.permission)
        digest = hashlib.sha256(token.encode()).hexdigest()
        return Caller(
            principal=principal,
            services=services,
            token_sha256=digest,
            address=address_of(request),
        )


def _principal(connection: Connection, token: str, *, at: datetime) -> Principal:
    """Return whom a token stands for: one that we store, or one that we have signed."""
    if token.startswith(_STORED):
        return identity.authenticate(connection, token, at=at)
    claims = accesstokens.verify(connection, token, at=at)
    return principals.principal_of(connection, claims, at=at)


def address_of(request: Request) -> str:
    """Return the network address that a request comes from."""
    return "" if request.client is None else request.client.host


def _bearer(header: str) -> str:
    if not header[: len(_SCHEME)].lower() == _SCHEME:
        raise TokenInvalid("the request carries no bearer token")
    return header[len(_SCHEME) :].strip()
