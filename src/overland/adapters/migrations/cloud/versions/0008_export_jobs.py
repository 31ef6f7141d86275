"""Export jobs: what a job is for, which blobs it takes, and the list of what did not fit."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; every job so far is an import."""
    with op.batch_alter_table("import_jobs") as batch:
        batch.add_column(
            sa.Column("job_type", sa.String(length=8), nullable=False, server_default="Import")
        )
        batch.add_column(sa.Column("export", sa.JSON(none_as_null=True), nullable=True))
        batch.add_column(sa.Column("incomplete_blob_list", sa.Text(), nullable=True))


def downgrade() -> None:
    """Remove them; what export jobs were for is lost."""
    with op.batch_alter_table("import_jobs") as batch:
        for name in ("incomplete_blob_list", "export", "job_type"):
            batch.drop_column(name)
