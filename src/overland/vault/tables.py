"""The stored form of adoptions, of the catalog and of reclaim: table definitions only.

`adapters/migrations/cloud` makes these tables (`0002`, `0004`, `0005`, `0010`); a test holds both
equal.
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

__all__ = [
    "adoption_steps",
    "adoptions",
    "chains",
    "clock_sightings",
    "key_changes",
    "metadata",
    "point_events",
    "points",
    "reclaims",
    "replacements",
    "retentions",
    "unneeded_objects",
    "uploads",
    "verified_objects",
]

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
    Column("policy_id", _ID),
    Column("marked_at", Instant),
    Column("reclaim_after", Instant),
    Column("mark_reason", String(16)),
    Column("marked_by", String(80)),
    Column("is_held", Boolean, nullable=False),
    Column("is_lost", Boolean, nullable=False),
    Column("reclaimed_at", Instant),
)
"""One row per recovery point.

`created_at` is the instant of the source's snapshot, for a seed too.  `is_complete` speaks of the
point's own objects, `state` of its bases as well.  A seed that was announced and not yet adopted
has no `published_at`.

The mark is `marked_at` to `marked_by`; `is_held` keeps the rule from marking what a person took
back.  `is_lost` says that chunks are gone though all objects are there.  A reclaimed point's row
stays while its file does.
"""

chains: Final = Table(
    "chains",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("replaced_at_version", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("recorded_at", Instant),
    Column("granted_at", Instant),
)
"""One row per source computer; who changes what reclaim or the agent relies on counts it up.

`version` grows with every point and replacement, `epoch` whenever objects are about to vanish and
when they have.  `recorded_at` and `granted_at` tell whether uploads are still under way.
"""

uploads: Final = Table(
    "uploads",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("policy_id", _ID, primary_key=True),
    Column("began_at", Instant, nullable=False),
    Column("granted_at", Instant, nullable=False),
)
"""One row per policy whose runs had leave to upload since `began_at`, and recorded no point."""

clock_sightings: Final = Table(
    "clock_sightings",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("seen_at", Instant, nullable=False),
)
"""One row: what the clock said when it was looked at last (`overland.vault.clockwatch`)."""

replacements: Final = Table(
    "replacements",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("replacement_id", _ID, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("accepted_at", Instant, nullable=False),
)
"""One row per accepted replacement; the documents lie in the vault."""

key_changes: Final = Table(
    "key_changes",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("former_public_key", String(64), nullable=False),
    Column("public_key", String(64), nullable=False),
    Column("change_sha256", String(64), nullable=False),
    Column("entered_at", Instant, nullable=False),
)
"""One row per signing key that ended, with the one that came; the documents lie in the vault.

Numbers count from 1 without a gap.  A computer without a row signs with the key that it registered.
"""

retentions: Final = Table(
    "retentions",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("policy_id", _ID, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)
"""One row per policy that has a rule; without one, its points stay."""

unneeded_objects: Final = Table(
    "unneeded_objects",
    metadata,
    Column("source_computer_id", _ID, primary_key=True),
    Column("name", String(160), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("marked_at", Instant, nullable=False),
    Column("is_doomed", Boolean, nullable=False),
)
"""What no point needs, since when; doomed ones are being deleted, and count as missing."""

reclaims: Final = Table(
    "reclaims",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("source_computer_id", _ID, nullable=False),
    Column("number", Integer, nullable=False),
    Column("request", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("report", JSON, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    UniqueConstraint("source_computer_id", "number"),
)
"""One row per run of reclaim; `run` is also the engine's key."""

point_events: Final = Table(
    "point_events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("source_computer_id", _ID, nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("event", String(32), nullable=False),
    Column("subject", _ID),
    Column("detail", JSON, nullable=False),
)
"""Who marked, took back, reclaimed or replaced what, and changed which rule; never changed."""
