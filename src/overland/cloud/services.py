"""What every use case of the control plane needs: ports, settings, and one call's context."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from overland.cloud.identity import Permission, Principal, Random, new_uuid
from overland.cloud.locations import Dock
from overland.crypto.secrets import Secret
from overland.ports.clock import Clock
from overland.ports.objects import Spaces
from overland.vault.adoption import Adoption
from overland.vault.reclaim import Reclaim

__all__ = ["Call", "Endpoints", "Limits", "Services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where clients find this cloud, and the authority that vouches for it."""

    url: str
    object_url: str
    ca_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things last; the days are those of the documented service."""

    creating: timedelta = timedelta(days=14)
    shipping: timedelta = timedelta(days=14)
    warning: timedelta = timedelta(days=10)
    silence: timedelta = timedelta(days=30)
    retention: timedelta = timedelta(days=90)
    vault_credentials: timedelta = timedelta(days=10)
    publish_settings: timedelta = timedelta(days=60)
    agent_token: timedelta = timedelta(days=3650)
    grant: timedelta = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The control plane's ports and settings."""

    database: Engine
    clock: Clock
    random: Random
    spaces: Spaces
    adoption: Adoption
    reclaim: Reclaim
    endpoints: Endpoints
    dock: Dock
    grant_key: Secret
    limits: Limits = field(default_factory=Limits)

    @contextmanager
    def call(self, principal: Principal) -> Iterator["Call"]:
        """Open a transaction for one request; it is undone when the block raises."""
        with self.database.begin() as connection:
            yield Call(
                connection=connection, principal=principal, at=self.clock.now(), services=self
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of one principal, in one transaction."""

    connection: Connection
    principal: Principal
    at: datetime
    services: Services

    def require(self, permission: Permission) -> None:
        """Return if the principal's role has this permission.

        Raises:
            Forbidden: It has not.
        """
        self.principal.require(permission)

    def new_id(self) -> str:
        """Return a new UUID."""
        return new_uuid(self.services.random)
