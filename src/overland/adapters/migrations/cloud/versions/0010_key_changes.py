"""Which signing keys of source computers ended, by which key changes; who signed a manifest."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; whoever registered before signs, and signed, with the key of then."""
    op.create_table(
        "key_changes",
        sa.Column("source_computer_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("former_public_key", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.String(length=64), nullable=False),
        sa.Column("change_sha256", sa.String(length=64), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source_computer_id", "number"),
    )
    op.add_column("seeds", sa.Column("manifest_public_key", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("seeds", "manifest_public_key")
    op.drop_table("key_changes")
