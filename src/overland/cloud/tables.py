"""The stored form of tenants, tokens, resources and source computers: table definitions only.

`adapters/migrations/cloud` makes these tables; a test holds both equal.
"""

from typing import Final

from sqlalchemy import Column, ForeignKey, MetaData, String, Table, UniqueConstraint

from overland.ports.instants import Instant

__all__ = [
    "containers",
    "metadata",
    "resource_groups",
    "source_computers",
    "storage_accounts",
    "subscriptions",
    "tenants",
    "tokens",
    "vaults",
]

metadata: Final = MetaData()

_ID: Final = String(36)

tenants: Final = Table(
    "tenants",
    metadata,
    Column("tenant_id", _ID, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("created_at", Instant, nullable=False),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("token_id", _ID, primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), index=True),
    Column("subscription_id", _ID),
    Column("job_name", String(64)),
    Column("vault_id", _ID),
    Column("source_computer_id", _ID, index=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("issued_by", String(64)),  # the name of the principal who asked for it
)
"""API tokens; of the secret only its SHA-256 is here, so that a stolen table opens nothing."""

subscriptions: Final = Table(
    "subscriptions",
    metadata,
    Column("subscription_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("created_at", Instant, nullable=False),
)

resource_groups: Final = Table(
    "resource_groups",
    metadata,
    Column("subscription_id", _ID, ForeignKey("subscriptions.subscription_id"), primary_key=True),
    Column("name_key", String(90), primary_key=True),
    Column("name", String(90), nullable=False),
    Column("location", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
)

storage_accounts: Final = Table(
    "storage_accounts",
    metadata,
    Column("name", String(24), primary_key=True),  # the whole cloud shares one name space
    Column(
        "subscription_id",
        _ID,
        ForeignKey("subscriptions.subscription_id"),
        nullable=False,
        index=True,
    ),
    Column("resource_group", String(90), nullable=False),
    Column("location", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("created_at", Instant, nullable=False),
)

containers: Final = Table(
    "containers",
    metadata,
    Column("storage_account", String(24), ForeignKey("storage_accounts.name"), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("created_at", Instant, nullable=False),
)

vaults: Final = Table(
    "vaults",
    metadata,
    Column("vault_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("subscription_id", _ID, nullable=False),
    Column("resource_group", String(90), nullable=False),
    Column("resource_group_key", String(90), nullable=False),
    Column("name", String(50), nullable=False),
    Column("name_key", String(50), nullable=False),
    Column("location", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("subscription_id", "resource_group_key", "name_key"),
)

source_computers: Final = Table(
    "source_computers",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("tenant_id", _ID, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("vault_id", _ID, ForeignKey("vaults.vault_id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("name_key", String(255), nullable=False),
    Column("repository_id", _ID, nullable=False),
    Column("signing_public_key", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("vault_id", "name_key"),
)
