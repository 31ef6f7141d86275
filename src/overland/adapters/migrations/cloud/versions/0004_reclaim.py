"""Retention, marks, replacements, and the reclaim of what no recovery point needs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.String(length=36)
_INSTANT = sa.DateTime(timezone=True)
_MARKS = ("policy_id", "marked_at", "reclaim_after", "mark_reason", "marked_by", "reclaimed_at")
_FLAGS = ("is_held", "is_lost")


def upgrade() -> None:
    """Add the columns of marks to the points, and make the tables of reclaim."""
    _points()
    _chains()
    _objects()
    _runs()


def downgrade() -> None:
    """Remove them: marks are forgotten, and what was reclaimed is incomplete from then on."""
    op.drop_index("ix_point_events_source_computer_id", "point_events")
    for table in (
        "point_events",
        "reclaims",
        "unneeded_objects",
        "retentions",
        "replacements",
        "chains",
    ):
        op.drop_table(table)
    op.execute("DELETE FROM points WHERE reclaimed_at IS NOT NULL")
    with op.batch_alter_table("points") as points:
        for column in (*_MARKS, *_FLAGS):
            points.drop_column(column)


def _points() -> None:
    with op.batch_alter_table("points") as points:
        points.add_column(sa.Column("policy_id", _ID, nullable=True))
        points.add_column(sa.Column("marked_at", _INSTANT, nullable=True))
        points.add_column(sa.Column("reclaim_after", _INSTANT, nullable=True))
        points.add_column(sa.Column("mark_reason", sa.String(length=16), nullable=True))
        points.add_column(sa.Column("marked_by", sa.String(length=80), nullable=True))
        for name in _FLAGS:
            points.add_column(
                sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
            )
        points.add_column(sa.Column("reclaimed_at", _INSTANT, nullable=True))
    with op.batch_alter_table("points") as points:
        for name in _FLAGS:
            points.alter_column(name, server_default=None)


def _chains() -> None:
    op.create_table(
        "chains",
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("replaced_at_version", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=True),
        sa.Column("granted_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("source_computer_id"),
    )
    op.create_table(
        "replacements",
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("replacement_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("accepted_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("source_computer_id", "replacement_id"),
    )
    op.create_table(
        "retentions",
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("policy_id", _ID, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("changed_at", _INSTANT, nullable=False),
        sa.Column("changed_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("source_computer_id", "policy_id"),
    )


def _objects() -> None:
    op.create_table(
        "unneeded_objects",
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("marked_at", _INSTANT, nullable=False),
        sa.Column("is_doomed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("source_computer_id", "name"),
    )


def _runs() -> None:
    op.create_table(
        "reclaims",
        sa.Column("run", sa.String(length=64), nullable=False),
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("run"),
        sa.UniqueConstraint("source_computer_id", "number"),
    )
    op.create_table(
        "point_events",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source_computer_id", _ID, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("subject", _ID, nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_point_events_source_computer_id", "point_events", ["source_computer_id"])
