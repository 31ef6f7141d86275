"""The stored form of people, service accounts, their roles, sign-ins and what they did.

`adapters/migrations/cloud` makes these tables; a test holds both equal.
"""

from typing import Final

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table, UniqueConstraint

from overland.cloud.tables import metadata
from overland.ports.instants import Instant

__all__ = [
    "account_tokens",
    "assignments",
    "audit",
    "device_codes",
    "recovery_codes",
    "refresh_tokens",
    "sessions",
    "sign_in_rules",
    "users",
]

_ID: Final = String(36)
_SHA256: Final = String(64)

users: Final = Table(
    "users",
    metadata,
    Column("user_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(128), nullable=False),
    Column("name_key", String(128), nullable=False),
    Column("password", String(256)),  # Argon2id, as a PHC string with its parameters
    Column("invitation_sha256", _SHA256),
    Column("invitation_until", Instant),
    Column("totp_secret", String(128)),  # sealed
    Column("totp_is_on", Boolean, nullable=False),
    Column("totp_step", Integer),  # the newest that was used; none is taken twice
    Column("failures", Integer, nullable=False),
    Column("closed_until", Instant),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    UniqueConstraint("tenant_id", "name_key"),
)
"""People and service accounts; of invitations only the SHA-256 is here."""

recovery_codes: Final = Table(
    "recovery_codes",
    metadata,
    Column("user_id", _ID, ForeignKey("users.user_id"), primary_key=True),
    Column("code_sha256", _SHA256, primary_key=True),
)
"""Those that are not used yet."""

sign_in_rules: Final = Table(
    "sign_in_rules",
    metadata,
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), primary_key=True),
    Column("totp_is_required", Boolean, nullable=False),
)

assignments: Final = Table(
    "role_assignments",
    metadata,
    Column("assignment_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    Column("user_id", _ID, ForeignKey("users.user_id"), nullable=False, index=True),
    Column("role", String(32), nullable=False),
    Column("subscription_id", _ID),
    Column("resource_group", String(90)),
    Column("created_at", Instant, nullable=False),
)

account_tokens: Final = Table(
    "account_tokens",
    metadata,
    Column("token_id", _ID, ForeignKey("tokens.token_id"), primary_key=True),
    Column("user_id", _ID, ForeignKey("users.user_id"), nullable=False, index=True),
)
"""Which service account an API token stands for."""

device_codes: Final = Table(
    "device_codes",
    metadata,
    Column("device_sha256", _SHA256, primary_key=True),
    Column("user_code", String(8), nullable=False, unique=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("client_name", String(128), nullable=False),
    Column("client_address", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("user_id", _ID),
    Column("consent_sha256", _SHA256),
    Column("interval_s", Integer, nullable=False),
    Column("polled_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("session_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    Column("user_id", _ID, ForeignKey("users.user_id"), nullable=False, index=True),
    Column("client_name", String(128), nullable=False),
    Column("client_address", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),
)

refresh_tokens: Final = Table(
    "refresh_tokens",
    metadata,
    Column("token_sha256", _SHA256, primary_key=True),
    Column("session_id", _ID, ForeignKey("sessions.session_id"), nullable=False, index=True),
    Column("used_at", Instant),
)
"""Every refresh token of a session, used ones too: one that is used twice was stolen."""

audit: Final = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("tenant_id", _ID, nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("address", String(64), nullable=False),
    Column("event", String(64), nullable=False),
    Column("target", String(256), nullable=False),
)
"""Who did what, when, and from where; rows are only added."""
