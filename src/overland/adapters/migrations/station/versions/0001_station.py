"""Parcels, drives that are here, and their imports.

Revision ID: 0001
Revises:
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None
branch_labels: Final = None
depends_on: Final = None

_ID: Final = sa.String(36)
_SERIAL: Final = sa.String(64)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "parcels",
        sa.Column("parcel_id", _ID, primary_key=True),
        sa.Column("tracking_number", sa.String(64), nullable=False),
        sa.Column("carrier", sa.Text, nullable=False),
        sa.Column("job_id", _ID),
        sa.Column("received_at", sa.String(40), nullable=False),
        sa.Column("flags", sa.JSON, nullable=False),
    )
    op.create_table(
        "drives",
        sa.Column("serial", _SERIAL, primary_key=True),
        sa.Column("parcel_id", _ID, nullable=False),
        sa.Column("parcel_job_id", _ID),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("received_at", sa.String(40), nullable=False),
        sa.Column("returned_at", sa.String(40)),
    )
    _make_imports()


def _make_imports() -> None:
    op.create_table(
        "imports",
        sa.Column("job_id", _ID, primary_key=True),
        sa.Column("serial", _SERIAL, primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("total_objects", sa.Integer, nullable=False),
        sa.Column("total_bytes", sa.BigInteger, nullable=False),
        sa.Column("manifest_bytes", sa.BigInteger, nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("failure", sa.String(40)),
        sa.Column("failure_reason", sa.Text),
        sa.Column("ended_at", sa.String(40)),
        sa.Column("stop_family", sa.String(16)),
        sa.Column("stop_code", sa.String(64)),
        sa.Column("stop_message", sa.Text),
    )
    op.create_table(
        "import_objects",
        sa.Column("job_id", _ID, primary_key=True),
        sa.Column("serial", _SERIAL, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("blob", sa.LargeBinary, nullable=False),
        sa.Column("verdict", sa.String(32)),
        sa.Column("parts", sa.LargeBinary),
    )
    op.create_index("import_objects_by_verdict", "import_objects", ["job_id", "serial", "verdict"])


def downgrade() -> None:
    """Remove the tables."""
    for table in ("import_objects", "imports", "drives", "parcels"):
        op.drop_table(table)
