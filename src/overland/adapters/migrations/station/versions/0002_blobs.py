"""Where the blobs of other tools' drives go, and how their metadata and properties went.

Revision ID: 0002
Revises: 0001
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"
branch_labels: Final = None
depends_on: Final = None

_COLUMNS: Final = (
    ("place", sa.Text()),
    ("disposition", sa.String(16)),
    ("metadata_status", sa.String(16)),
    ("properties_status", sa.String(16)),
)


def upgrade() -> None:
    """Add the columns; objects of seeds have nothing in them."""
    for name, kind in _COLUMNS:
        op.add_column("import_objects", sa.Column(name, kind))


def downgrade() -> None:
    """Remove the columns."""
    with op.batch_alter_table("import_objects") as table:
        for name, _ in _COLUMNS:
            table.drop_column(name)
