"""Seeds remember that they were relinked; tracking numbers are reserved within one tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the key of tracking numbers, and add the mark of relinked seeds."""
    with op.batch_alter_table("seeds") as seeds:
        seeds.add_column(
            sa.Column("is_relinked", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("seeds") as seeds:
        seeds.alter_column("is_relinked", server_default=None)
    _number_keys("tracking_key", "job_id")


def downgrade() -> None:
    """Go back; of jobs that share a number only the first keeps it."""
    op.execute(
        "DELETE FROM tracking_numbers WHERE rowid NOT IN "
        "(SELECT min(rowid) FROM tracking_numbers GROUP BY tracking_key)"
    )
    _number_keys("tracking_key")
    with op.batch_alter_table("seeds") as seeds:
        seeds.drop_column("is_relinked")


def _number_keys(*columns: str) -> None:
    """Make the table of tracking numbers anew: SQLite cannot change a primary key."""
    op.drop_index("ix_tracking_numbers_job_id", "tracking_numbers")
    op.rename_table("tracking_numbers", "tracking_numbers_before")
    op.create_table(
        "tracking_numbers",
        sa.Column("tracking_key", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["import_jobs.job_id"]),
        sa.PrimaryKeyConstraint(*columns),
    )
    op.execute(
        "INSERT INTO tracking_numbers (tracking_key, job_id) "
        "SELECT tracking_key, job_id FROM tracking_numbers_before"
    )
    op.drop_table("tracking_numbers_before")
    op.create_index("ix_tracking_numbers_job_id", "tracking_numbers", ["job_id"])
