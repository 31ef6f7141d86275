"""When the clock was seen last, and whose uploads may be under way."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.String(length=36)
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make both tables; the clock is seen, and uploads are noted, from the next start on."""
    op.create_table(
        "clock_sightings",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "uploads",
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("policy_id", _ID, nullable=False),
        sa.Column("began_at", _INSTANT, nullable=False),
        sa.Column("granted_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("source_computer_id", "policy_id"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("uploads")
    op.drop_table("clock_sightings")
