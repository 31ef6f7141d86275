"""The stored form of adoptions and of the catalog: table definitions only.

`adapters/migrations/cloud` makes these tables (`0002_vault`); a test holds both equal.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from overland.ports.instants import Instant

__all__ = ["adoption_steps", "adoptions", "metadata", "points", "verified_objects"]

metadata: Final = MetaData()


_ID: Final = String(36)

adoptions: Final = Table(
    "adoptions",
    metadata,
    Column("attempt", String(64), primary_key=True),
    Column("seed_id", _ID, nullable=False),
    Column("number", Integer, nullable=False),
    Column("request", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("total_objects", Integer),
    Column("total_bytes", BigInteger),
    Column("missing", JSON, nullable=False),
    Column("error", Text),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    UniqueConstraint("seed_id", "number"),
)
"""One row per attempt; `attempt` is also the engine's key.  The last attempt of a seed counts."""

adoption_steps: Final = Table(
    "adoption_steps",
    metadata,
    Column("attempt", String(64), primary_key=True),
    Column("first", Integer, primary_key=True, autoincrement=False),
    Column("stop", Integer, nullable=False),
    Column("copied", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("done_bytes", BigInteger, nullable=False),
    Column("missing", JSON, nullable=False),
)
"""One row per step of an attempt, begun or ended; written again when the step runs again."""

verified_objects: Final = Table(
    "verified_objects",
    metadata,
    Column("vault", String(64), primary_key=True),
    Column("name", String(160), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("verified_at", Instant, nullable=False),
)
"""What adoption read in full and found right, in a vault; a later attempt need not read it again.

Only a shortcut: without a row the object is read once more.
"""

points: Final = Table(
    "points",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("point_id", _ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("seed_id", _ID, index=True),
    Column("base", _ID),
    Column("state", String(20), nullable=False),
    Column("is_complete", Boolean, nullable=False),
    Column("missing", JSON, nullable=False),
    Column("object_count", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("published_at", Instant),
)
"""One row per recovery point.

`created_at` is the instant of the source's snapshot, for a seed too.  `is_complete` speaks of the
point's own objects, `state` of its bases as well.  A seed that was announced and not yet adopted
has no `published_at`.
"""
