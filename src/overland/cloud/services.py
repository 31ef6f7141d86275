"""What every use case of the control plane needs: ports, settings, and one call's context."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from overland.cloud.identity import Permission, Principal, Random, new_uuid
from overland.cloud.locations import Dock
from overland.cloud.passwords import STANDARD, Cost
from overland.cloud.ratelimits import RateLimit
from overland.crypto.secrets import Secret
from overland.ports.clock import Clock
from overland.ports.objects import Spaces
from overland.vault.adoption import Adoption
from overland.vault.reclaim import Reclaim

__all__ = ["Call", "Endpoints", "Limits", "Services"]

_FORMS_PER_MINUTE: Final = 30  # from one network; people type, and each costs a password's hash
_CODES_PER_MINUTE: Final = 10  # from one network; each waits ten minutes for its person
_FORMS_AT_ONCE: Final = 16  # of all networks; the rest of the API keeps its threads
_TOKENS_PER_MINUTE: Final = 300  # from one network; a fleet behind one router still gets in


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
    application_grant: timedelta = timedelta(hours=1)  # as its access tokens


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
    table_key: Secret
    limits: Limits = field(default_factory=Limits)
    password_cost: Cost = STANDARD
    token_rate: RateLimit = field(default_factory=lambda: RateLimit(_TOKENS_PER_MINUTE))
    page_rate: RateLimit = field(default_factory=lambda: RateLimit(_FORMS_PER_MINUTE))
    code_rate: RateLimit = field(default_factory=lambda: RateLimit(_CODES_PER_MINUTE))
    form_slots: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_FORMS_AT_ONCE)
    )

    @contextmanager
    def call(self, principal: Principal, *, address: str = "") -> Iterator["Call"]:
        """Open a transaction for one request; it is undone when the block raises.

        `address` is where the request comes from, for the audit.
        """
        with self.database.begin() as connection:
            yield Call(
                connection=connection,
                principal=principal,
                at=self.clock.now(),
                services=self,
                address=address,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of one principal, in one transaction."""

    connection: Connection
    principal: Principal
    at: datetime
    services: Services
    address: str = ""

    def require(self, permission: Permission) -> None:
        """Return if the principal's role has this permission.

        Raises:
            Forbidden: It has not.
        """
        self.principal.require(permission)

    def require_at(
        self,
        permission: Permission,
        *,
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> None:
        """Return if the principal has this permission at a place; by default at the tenant.

        Raises:
            Forbidden: They have not.
        """
        self.principal.require_at(
            permission, subscription_id=subscription_id, resource_group=resource_group
        )

    def may(
        self, permission: Permission, *, subscription_id: str, resource_group: str | None = None
    ) -> bool:
        """Return whether the principal has this permission at a place."""
        return self.principal.may(
            permission, subscription_id=subscription_id, resource_group=resource_group
        )

    def new_id(self) -> str:
        """Return a new UUID."""
        return new_uuid(self.services.random)
