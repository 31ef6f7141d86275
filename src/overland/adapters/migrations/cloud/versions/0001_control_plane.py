"""Tenants, tokens, resources, source computers; import jobs, drives, parcels, seeds, custody."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the control plane."""
    _tenants()
    _tokens()
    _subscriptions()
    _resource_groups()
    _storage_accounts()
    _containers()
    _vaults()
    _source_computers()
    _import_jobs()
    _drives()
    _tracking_numbers()
    _parcels()
    _seeds()
    _custody_events()


def downgrade() -> None:
    """Remove them, and everything in them."""
    for table in (
        "custody_events",
        "seeds",
        "parcels",
        "tracking_numbers",
        "drives",
        "import_jobs",
        "source_computers",
        "vaults",
        "containers",
        "storage_accounts",
        "resource_groups",
        "subscriptions",
        "tokens",
        "tenants",
    ):
        op.drop_table(table)


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(length=36), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=True),
        sa.Column("subscription_id", sa.String(length=36), nullable=True),
        sa.Column("job_name", sa.String(length=64), nullable=True),
        sa.Column("vault_id", sa.String(length=36), nullable=True),
        sa.Column("source_computer_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_index("ix_tokens_source_computer_id", "tokens", ["source_computer_id"])
    op.create_index("ix_tokens_tenant_id", "tokens", ["tenant_id"])


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("subscription_id"),
    )
    op.create_index("ix_subscriptions_tenant_id", "subscriptions", ["tenant_id"])


def _resource_groups() -> None:
    op.create_table(
        "resource_groups",
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("name_key", sa.String(length=90), nullable=False),
        sa.Column("name", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.subscription_id"],
        ),
        sa.PrimaryKeyConstraint("subscription_id", "name_key"),
    )


def _storage_accounts() -> None:
    op.create_table(
        "storage_accounts",
        sa.Column("name", sa.String(length=24), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("resource_group", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.subscription_id"],
        ),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_storage_accounts_subscription_id", "storage_accounts", ["subscription_id"])


def _containers() -> None:
    op.create_table(
        "containers",
        sa.Column("storage_account", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["storage_account"],
            ["storage_accounts.name"],
        ),
        sa.PrimaryKeyConstraint("storage_account", "name"),
    )


def _vaults() -> None:
    op.create_table(
        "vaults",
        sa.Column("vault_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("resource_group", sa.String(length=90), nullable=False),
        sa.Column("resource_group_key", sa.String(length=90), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("name_key", sa.String(length=50), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("vault_id"),
        sa.UniqueConstraint("subscription_id", "resource_group_key", "name_key"),
    )


def _source_computers() -> None:
    op.create_table(
        "source_computers",
        sa.Column("source_computer_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("vault_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("name_key", sa.String(length=255), nullable=False),
        sa.Column("repository_id", sa.String(length=36), nullable=False),
        sa.Column("signing_public_key", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.ForeignKeyConstraint(
            ["vault_id"],
            ["vaults.vault_id"],
        ),
        sa.PrimaryKeyConstraint("source_computer_id"),
        sa.UniqueConstraint("vault_id", "name_key"),
    )


def _import_jobs() -> None:
    op.create_table(
        "import_jobs",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("resource_group", sa.String(length=90), nullable=False),
        sa.Column("resource_group_key", sa.String(length=90), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("name_key", sa.String(length=64), nullable=False),
        sa.Column("storage_account", sa.String(length=24), nullable=False),
        sa.Column("storage_account_id", sa.Text(), nullable=False),
        sa.Column("location", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("log_level", sa.String(length=8), nullable=False),
        sa.Column("backup_drive_manifest", sa.Boolean(), nullable=False),
        sa.Column("diagnostics_path", sa.String(length=256), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("return_address", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("return_shipping", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("shipping_information", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("delivery_package", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("return_package", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("seed_id", sa.String(length=36), nullable=True),
        sa.Column("drive_public_key", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("overdue_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("job_id"),
        sa.UniqueConstraint("subscription_id", "resource_group_key", "name_key"),
    )
    op.create_index("ix_import_jobs_seed_id", "import_jobs", ["seed_id"])
    op.create_index("ix_import_jobs_state", "import_jobs", ["state"])
    op.create_index("ix_import_jobs_tenant_id", "import_jobs", ["tenant_id"])


def _drives() -> None:
    op.create_table(
        "drives",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("serial_key", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("unlock_key", sa.String(length=256), nullable=False),
        sa.Column("manifest_file", sa.Text(), nullable=False),
        sa.Column("manifest_hash", sa.String(length=64), nullable=False),
        sa.Column("header_hash", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("was_opened", sa.Boolean(), nullable=False),
        sa.Column("had_errors", sa.Boolean(), nullable=False),
        sa.Column("percent_complete", sa.Integer(), nullable=True),
        sa.Column("bytes_succeeded", sa.BigInteger(), nullable=True),
        sa.Column("copy_status", sa.String(length=64), nullable=True),
        sa.Column("error_log", sa.Text(), nullable=True),
        sa.Column("verbose_log", sa.Text(), nullable=True),
        sa.Column("manifest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["import_jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("job_id", "serial_key"),
    )
    op.create_index("ix_drives_serial_key", "drives", ["serial_key"])


def _tracking_numbers() -> None:
    op.create_table(
        "tracking_numbers",
        sa.Column("tracking_key", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["import_jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tracking_key"),
    )
    op.create_index("ix_tracking_numbers_job_id", "tracking_numbers", ["job_id"])


def _parcels() -> None:
    op.create_table(
        "parcels",
        sa.Column("parcel_id", sa.String(length=36), nullable=False),
        sa.Column("tracking_key", sa.String(length=64), nullable=False),
        sa.Column("carrier", sa.String(length=64), nullable=False),
        sa.Column("serials", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("parcel_id"),
    )
    op.create_index("ix_parcels_job_id", "parcels", ["job_id"])
    op.create_index("ix_parcels_tracking_key", "parcels", ["tracking_key"])


def _seeds() -> None:
    op.create_table(
        "seeds",
        sa.Column("seed_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("vault_id", sa.String(length=36), nullable=False),
        sa.Column("source_computer_id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("storage_account", sa.String(length=24), nullable=False),
        sa.Column("container", sa.String(length=63), nullable=False),
        sa.Column("job_name", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seed_id"),
    )
    op.create_index("ix_seeds_source_computer_id", "seeds", ["source_computer_id"])
    op.create_index("ix_seeds_tenant_id", "seeds", ["tenant_id"])


def _custody_events() -> None:
    op.create_table(
        "custody_events",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=96), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("drive", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("detail_digest", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number"),
    )
