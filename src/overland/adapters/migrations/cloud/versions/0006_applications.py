"""Keys that sign access tokens; applications, their certificates and owners; used assertions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.String(length=36)
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables; the first signing key is made with the first token."""
    _make_issuer()
    _make_applications()


def _make_issuer() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("private_pem", sa.String(length=8192)),
        sa.Column("public_pem", sa.String(length=2048), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("retired_at", _INSTANT),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "used_assertions",
        sa.Column("application_id", _ID, nullable=False),
        sa.Column("assertion_id", sa.String(length=64), nullable=False),
        sa.Column("forgotten_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("application_id", "assertion_id"),
    )
    op.create_index("ix_used_assertions_forgotten_at", "used_assertions", ["forgotten_at"])


def _make_applications() -> None:
    op.create_table(
        "applications",
        sa.Column("application_id", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("name_key", sa.String(length=255), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("application_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.UniqueConstraint("tenant_id", "name_key"),
    )
    op.create_table(
        "application_owners",
        sa.Column("application_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("added_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("application_id", "user_id"),
        sa.ForeignKeyConstraint(["application_id"], ["applications.application_id"]),
    )
    op.create_table(
        "application_certificates",
        sa.Column("application_id", _ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sha1", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=1024), nullable=False),
        sa.Column("not_before", _INSTANT, nullable=False),
        sa.Column("not_after", _INSTANT, nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("source_computer_id", _ID),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("added_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("application_id", "sha256"),
        sa.ForeignKeyConstraint(["application_id"], ["applications.application_id"]),
        sa.ForeignKeyConstraint(["source_computer_id"], ["source_computers.source_computer_id"]),
    )


def downgrade() -> None:
    """Remove them."""
    for name in (
        "used_assertions",
        "application_certificates",
        "application_owners",
        "applications",
        "signing_keys",
    ):
        op.drop_table(name)
