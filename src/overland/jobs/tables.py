"""The stored form of import jobs, drives, seeds, parcels and custody: table definitions only.

`adapters/migrations/cloud` makes these tables; a test holds both equal.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from overland.ports.instants import Instant

__all__ = [
    "custody_events",
    "drives",
    "import_jobs",
    "metadata",
    "parcels",
    "seeds",
    "tracking_numbers",
]

metadata: Final = MetaData()


_ID: Final = String(36)

import_jobs: Final = Table(
    "import_jobs",
    metadata,
    Column("job_id", _ID, primary_key=True),
    Column("tenant_id", _ID, nullable=False, index=True),
    Column("subscription_id", _ID, nullable=False),
    Column("resource_group", String(90), nullable=False),
    Column("resource_group_key", String(90), nullable=False),
    Column("name", String(64), nullable=False),
    Column("name_key", String(64), nullable=False),
    Column("storage_account", String(24), nullable=False),
    Column("storage_account_id", Text, nullable=False),
    Column("location", String(64), nullable=False),
    Column("job_type", String(8), nullable=False, server_default="Import"),
    Column("export", JSON(none_as_null=True)),
    Column("incomplete_blob_list", Text),
    Column("state", String(16), nullable=False, index=True),
    Column("log_level", String(8), nullable=False),
    Column("backup_drive_manifest", Boolean, nullable=False),
    Column("diagnostics_path", String(256), nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("return_address", JSON(none_as_null=True)),
    Column("return_shipping", JSON(none_as_null=True)),
    Column("shipping_information", JSON(none_as_null=True)),
    Column("delivery_package", JSON(none_as_null=True)),
    Column("return_package", JSON(none_as_null=True)),
    Column("tags", JSON(none_as_null=True)),
    Column("seed_id", _ID, index=True),
    Column("drive_public_key", String(64)),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("shipped_at", Instant),
    Column("ended_at", Instant),
    Column("warned_at", Instant),
    Column("overdue_at", Instant),
    UniqueConstraint("subscription_id", "resource_group_key", "name_key"),
)
"""One row per import job; a deleted job has none, and its custody log stays."""

drives: Final = Table(
    "drives",
    metadata,
    Column("job_id", _ID, ForeignKey("import_jobs.job_id"), primary_key=True),
    Column("serial_key", String(64), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
    Column("serial", String(64), nullable=False),
    Column("unlock_key", String(256), nullable=False),
    Column("manifest_file", Text, nullable=False),
    Column("manifest_hash", String(64), nullable=False),
    Column("header_hash", String(64)),
    Column("state", String(20), nullable=False),
    Column("was_opened", Boolean, nullable=False),
    Column("had_errors", Boolean, nullable=False),
    Column("percent_complete", Integer),
    Column("bytes_succeeded", BigInteger),
    Column("copy_status", String(64)),
    Column("error_log", Text),
    Column("verbose_log", Text),
    Column("manifest", Text),
)
"""The drives of a job, in the order in which the customer listed them."""

tracking_numbers: Final = Table(
    "tracking_numbers",
    metadata,
    Column("tracking_key", String(64), primary_key=True),
    Column("job_id", _ID, ForeignKey("import_jobs.job_id"), primary_key=True, index=True),
)
"""Every number that a job has or had: two jobs of one tenant never share one."""

parcels: Final = Table(
    "parcels",
    metadata,
    Column("parcel_id", _ID, primary_key=True),
    Column("tracking_key", String(64), nullable=False, index=True),
    Column("carrier", String(64), nullable=False),
    Column("serials", JSON, nullable=False),
    Column("job_id", _ID, index=True),
    Column("received_at", Instant, nullable=False),
    Column("received_by", String(64), nullable=False),
)
"""What arrived at the dock, whether or not a job was found for it."""

seeds: Final = Table(
    "seeds",
    metadata,
    Column("seed_id", _ID, primary_key=True),
    Column("tenant_id", _ID, nullable=False, index=True),
    Column("vault_id", _ID, nullable=False),
    Column("source_computer_id", _ID, nullable=False, index=True),
    Column("subscription_id", _ID, nullable=False),
    Column("storage_account", String(24), nullable=False),
    Column("container", String(63), nullable=False),
    Column("job_name", String(64), nullable=False),
    Column("policy", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("manifest_sha256", String(64)),
    Column("manifest_public_key", String(64)),
    Column("warnings", JSON, nullable=False),
    Column("is_relinked", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
)
"""One row per seed; the manifest itself lies with the vault's objects."""

custody_events: Final = Table(
    "custody_events",
    metadata,
    Column("job_id", _ID, primary_key=True),
    Column("tenant_id", _ID, nullable=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", String(96), nullable=False),
    Column("event", String(32), nullable=False),
    Column("drive", String(64)),
    Column("detail", JSON(none_as_null=True)),
    Column("detail_digest", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
)
"""Append only; each entry's digest covers the one before it (`overland.jobs.custody`)."""
