"""Seeds in the database: a value, its states, and load and save in the caller's transaction."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, select, update

from overland.jobs import tables
from overland.jobs.states import SeedEvent, SeedState, advance_seed
from overland.values import SeedId

__all__ = ["Seed", "apply_to_seed", "find_seed", "insert_seed", "list_seeds", "save_seed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """One seed: which policy's first backup goes by drive, and where to."""

    seed_id: SeedId
    tenant_id: str
    vault_id: str
    source_computer_id: str
    subscription_id: str
    storage_account: str
    container: str
    job_name: str
    policy: str
    created_at: datetime
    changed_at: datetime
    state: SeedState = SeedState.CONFIGURED
    manifest_sha256: str | None = None
    manifest_public_key: str | None = None  # that signed it; None: the computer's first
    warnings: tuple[str, ...] = ()
    is_relinked: bool = False  # then no job of another name carries it, whatever its tags say

    @property
    def space(self) -> str:
        """The container that the drives are imported to."""
        return f"accounts/{self.storage_account}/{self.container}"

    @property
    def prefix(self) -> str:
        """Where the seed's objects lie in the container."""
        return f"seed-{self.seed_id}/"


def apply_to_seed(seed: Seed, event: SeedEvent, *, at: datetime) -> Seed:
    """Return the seed after `event`.

    Raises:
        EventRefused: The seed's state does not allow it.
    """
    return replace(seed, state=advance_seed(seed.state, event), changed_at=at)


def insert_seed(connection: Connection, seed: Seed) -> None:
    """Store a new seed."""
    connection.execute(insert(tables.seeds).values(**_row(seed)))


def save_seed(connection: Connection, seed: Seed) -> None:
    """Store a changed seed."""
    wanted = update(tables.seeds).where(tables.seeds.c.seed_id == seed.seed_id)
    connection.execute(wanted.values(**_row(seed)))


def find_seed(connection: Connection, seed_id: str) -> Seed | None:
    """Return a seed for reading or changing, or None."""
    wanted = select(tables.seeds).where(tables.seeds.c.seed_id == seed_id)
    row = connection.execute(wanted.with_for_update()).mappings().one_or_none()
    return None if row is None else _seed(row)


def list_seeds(
    connection: Connection,
    *,
    tenant_id: str | None = None,
    source_computer_id: str | None = None,
    state: SeedState | None = None,
) -> list[Seed]:
    """Return the seeds that fit every given value, oldest first."""
    columns = tables.seeds.c
    wanted = select(tables.seeds)
    given = {
        columns.tenant_id: tenant_id,
        columns.source_computer_id: source_computer_id,
        columns.state: state,
    }
    for column, value in given.items():
        if value is not None:
            wanted = wanted.where(column == value)
    rows = connection.execute(wanted.order_by(columns.created_at, columns.seed_id)).mappings()
    return [_seed(row) for row in rows]


def _seed(row: RowMapping) -> Seed:
    values = {name: row[name] for name in Seed.__dataclass_fields__}
    values["state"] = SeedState(row["state"])
    values["warnings"] = tuple(row["warnings"])
    return Seed(**values)


def _row(seed: Seed) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(seed, name) for name in Seed.__dataclass_fields__}
    return {**values, "warnings": list(seed.warnings)}
