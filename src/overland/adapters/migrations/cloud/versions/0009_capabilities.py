"""What a subscription may do, as its provider says."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; a subscription of which nothing was said may seed by drive."""
    op.create_table(
        "subscription_capabilities",
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("seeding_allowed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.subscription_id"]),
        sa.PrimaryKeyConstraint("subscription_id"),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("subscription_capabilities")
