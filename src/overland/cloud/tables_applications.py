"""The stored form of the issuer's keys, of applications and their certificates: definitions only.

`adapters/migrations/cloud` makes these tables; a test holds both equal.
"""

from typing import Final

from sqlalchemy import Column, ForeignKey, LargeBinary, String, Table, UniqueConstraint

from overland.cloud.tables import metadata
from overland.ports.instants import Instant

__all__ = [
    "application_certificates",
    "application_owners",
    "applications",
    "signing_keys",
    "used_assertions",
]

_ID: Final = String(36)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("private_pem", String(8192)),  # sealed
    Column("public_pem", String(2048), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("retired_at", Instant),
)
"""RSA keys that sign access tokens; a retired one has lost its private half and still verifies."""

applications: Final = Table(
    "applications",
    metadata,
    Column("application_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("name_key", String(255), nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("tenant_id", "name_key"),
)

application_owners: Final = Table(
    "application_owners",
    metadata,
    Column("application_id", _ID, ForeignKey("applications.application_id"), primary_key=True),
    Column("user_id", _ID, primary_key=True),
    Column("added_at", Instant, nullable=False),
)

application_certificates: Final = Table(
    "application_certificates",
    metadata,
    Column("application_id", _ID, ForeignKey("applications.application_id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("sha1", String(40), nullable=False),
    Column("subject", String(1024), nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("source_computer_id", _ID, ForeignKey("source_computers.source_computer_id")),
    Column("added_by", String(64), nullable=False),
    Column("added_at", Instant, nullable=False),
)
"""Public certificates; each speaks for one source computer, or, until that claims it, for none."""

used_assertions: Final = Table(
    "used_assertions",
    metadata,
    Column("application_id", _ID, primary_key=True),
    Column("assertion_id", String(64), primary_key=True),
    Column("forgotten_at", Instant, nullable=False, index=True),
)
"""SHA-256 of the `jti` of each assertion that was accepted, until it would be too old anyway."""
