"""People, service accounts, their roles, sign-ins, sessions, and the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.String(length=36)
_SHA256 = sa.String(length=64)
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables; tokens that were issued before go on as they are, of an unknown issuer."""
    op.add_column("tokens", sa.Column("issued_by", sa.String(length=64)))
    _make_users()
    _make_roles()
    _make_sign_ins()
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_audit_tenant_id", "audit", ["tenant_id"])


def _make_users() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("name_key", sa.String(length=128), nullable=False),
        sa.Column("password", sa.String(length=256)),
        sa.Column("invitation_sha256", _SHA256),
        sa.Column("invitation_until", _INSTANT),
        sa.Column("totp_secret", sa.String(length=128)),
        sa.Column("totp_is_on", sa.Boolean(), nullable=False),
        sa.Column("totp_step", sa.Integer()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("closed_until", _INSTANT),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("disabled_at", _INSTANT),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("tenant_id", "name_key"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("code_sha256", _SHA256, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("user_id", "code_sha256"),
    )


def _make_roles() -> None:
    op.create_table(
        "sign_in_rules",
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("totp_is_required", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "role_assignments",
        sa.Column("assignment_id", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("subscription_id", _ID),
        sa.Column("resource_group", sa.String(length=90)),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("assignment_id"),
    )
    op.create_index("ix_role_assignments_tenant_id", "role_assignments", ["tenant_id"])
    op.create_index("ix_role_assignments_user_id", "role_assignments", ["user_id"])
    op.create_table(
        "account_tokens",
        sa.Column("token_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.token_id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_index("ix_account_tokens_user_id", "account_tokens", ["user_id"])


def _make_sign_ins() -> None:
    op.create_table(
        "device_codes",
        sa.Column("device_sha256", _SHA256, nullable=False),
        sa.Column("user_code", sa.String(length=8), nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("client_name", sa.String(length=128), nullable=False),
        sa.Column("client_address", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("user_id", _ID),
        sa.Column("consent_sha256", _SHA256),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("polled_at", _INSTANT),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("device_sha256"),
        sa.UniqueConstraint("user_code"),
    )
    op.create_table(
        "sessions",
        sa.Column("session_id", _ID, nullable=False),
        sa.Column("tenant_id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("client_name", sa.String(length=128), nullable=False),
        sa.Column("client_address", sa.String(length=64), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("used_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("session_id"),
    )
    op.create_index("ix_sessions_tenant_id", "sessions", ["tenant_id"])
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "refresh_tokens",
        sa.Column("token_sha256", _SHA256, nullable=False),
        sa.Column("session_id", _ID, nullable=False),
        sa.Column("used_at", _INSTANT),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"])


def downgrade() -> None:
    """Remove them, and the tokens of service accounts."""
    op.execute("DELETE FROM tokens WHERE role = 'user'")
    for name in (
        "refresh_tokens",
        "sessions",
        "device_codes",
        "account_tokens",
        "role_assignments",
        "sign_in_rules",
        "recovery_codes",
        "users",
        "audit",
    ):
        op.drop_table(name)
    op.drop_column("tokens", "issued_by")
