"""Adoptions and their steps, verified objects, and the catalog of recovery points."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the vault."""
    _adoptions()
    _adoption_steps()
    _verified_objects()
    _points()


def downgrade() -> None:
    """Remove them, and everything in them; the vault itself stays as it is."""
    for table in ("points", "verified_objects", "adoption_steps", "adoptions"):
        op.drop_table(table)


def _adoptions() -> None:
    op.create_table(
        "adoptions",
        sa.Column("attempt", sa.String(length=64), nullable=False),
        sa.Column("seed_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("total_objects", sa.Integer(), nullable=True),
        sa.Column("total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("attempt"),
        sa.UniqueConstraint("seed_id", "number"),
    )


def _adoption_steps() -> None:
    op.create_table(
        "adoption_steps",
        sa.Column("attempt", sa.String(length=64), nullable=False),
        sa.Column("first", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stop", sa.Integer(), nullable=False),
        sa.Column("copied", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("attempt", "first"),
    )


def _verified_objects() -> None:
    op.create_table(
        "verified_objects",
        sa.Column("vault", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("vault", "name"),
    )


def _points() -> None:
    op.create_table(
        "points",
        sa.Column("source_computer_id", sa.String(length=36), nullable=False),
        sa.Column("point_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("seed_id", sa.String(length=36), nullable=True),
        sa.Column("base", sa.String(length=36), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("object_count", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("source_computer_id", "point_id"),
    )
    op.create_index("ix_points_seed_id", "points", ["seed_id"])
