"""The stored form of adoptions: one row per attempt, one per step, one per verified object.

Every function works on a connection, in a transaction of the caller.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from overland.format.seed_manifest import ManifestObject
from overland.values import SeedId
from overland.vault.tables import adoption_steps, adoptions, verified_objects

__all__ = [
    "Attempt",
    "AttemptState",
    "Described",
    "Missing",
    "Outcome",
    "Reason",
    "StepTally",
    "end_attempt",
    "find_attempt",
    "last_attempt",
    "list_running",
    "mark_verified",
    "new_attempt",
    "read_missing",
    "set_totals",
    "tally",
    "verified",
    "write_step",
]

_NAMES_PER_QUERY: Final = 500  # databases limit the values of one statement

AttemptState = Literal["running", "done", "incomplete", "failed"]

Reason = Literal["absent", "corrupt", "conflict"]
"""Why an object is missing: the container has none; it has other bytes than were signed; or the
vault holds other bytes under the name, which nothing may replace."""

Outcome = Literal["copied", "skipped"] | Reason
"""What became of one object in one step."""


class Described(Protocol):
    """What a signed document says of an object."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    @property
    def sha256(self) -> str:
        """Its digest, in hexadecimal digits."""
        ...


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """An object that the seed needs and the vault does not have."""

    name: str
    size_bytes: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to adopt a seed; totals are None until the manifest was read."""

    attempt: str
    seed_id: SeedId
    number: int
    request: str
    state: AttemptState
    total_objects: int | None
    total_bytes: int | None
    missing: tuple[Missing, ...]
    error: str | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(slots=True, kw_only=True)
class StepTally:
    """What one step has done so far."""

    first: int
    stop: int
    copied: int = 0
    skipped: int = 0
    done_bytes: int = 0
    missing: list[Missing] = field(default_factory=list)

    def count(self, each: ManifestObject, outcome: Outcome) -> None:
        """Add one object."""
        match outcome:
            case "copied":
                self.copied += 1
            case "skipped":
                self.skipped += 1
            case reason:
                missing = Missing(name=each.name, size_bytes=each.size_bytes, reason=reason)
                self.missing.append(missing)
                return
        self.done_bytes += each.size_bytes


def new_attempt(connection: Connection, seed_id: SeedId, *, request: str, at: datetime) -> Attempt:
    """Enter the next attempt of a seed."""
    before = last_attempt(connection, seed_id)
    number = 1 if before is None else before.number + 1
    values = {
        "attempt": f"adoption-{seed_id}-{number}",
        "seed_id": seed_id,
        "number": number,
        "request": request,
        "state": "running",
        "missing": [],
        "started_at": at,
    }
    connection.execute(insert(adoptions).values(values))
    entered = last_attempt(connection, seed_id)
    assert entered is not None, "it was just written"
    return entered


def find_attempt(connection: Connection, attempt: str) -> Attempt | None:
    """Return an attempt by its key."""
    wanted = select(adoptions).where(adoptions.c.attempt == attempt)
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _attempt(row)


def last_attempt(connection: Connection, seed_id: SeedId) -> Attempt | None:
    """Return the attempt of a seed that counts, or None before the first."""
    wanted = (
        select(adoptions)
        .where(adoptions.c.seed_id == seed_id)
        .order_by(adoptions.c.number.desc())
        .limit(1)
    )
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _attempt(row)


def list_running(connection: Connection) -> list[Attempt]:
    """Return the attempts that have not ended, oldest first."""
    wanted = select(adoptions).where(adoptions.c.state == "running")
    rows = connection.execute(wanted.order_by(adoptions.c.started_at)).mappings()
    return [_attempt(row) for row in rows]


def set_totals(connection: Connection, attempt: str, *, objects: int, size_bytes: int) -> None:
    """Note how much an attempt has to look at."""
    values = {"total_objects": objects, "total_bytes": size_bytes}
    _update(connection, attempt, values)


def end_attempt(
    connection: Connection,
    attempt: str,
    *,
    state: AttemptState,
    at: datetime,
    missing: Collection[Missing] = (),
    error: str | None = None,
) -> None:
    """Note how an attempt ended."""
    assert state != "running", "an end is an end"
    rows = [msgspec.to_builtins(each) for each in missing]
    values = {"state": state, "missing": rows, "error": error, "ended_at": at}
    _update(connection, attempt, values)


def write_step(connection: Connection, attempt: str, step: StepTally) -> None:
    """Note what a step has done so far, in place of what it had done before."""
    values = {
        "stop": step.stop,
        "copied": step.copied,
        "skipped": step.skipped,
        "done_bytes": step.done_bytes,
        "missing": [msgspec.to_builtins(each) for each in step.missing],
    }
    columns = adoption_steps.c
    key = (columns.attempt == attempt, columns.first == step.first)
    if connection.execute(update(adoption_steps).where(*key).values(values)).rowcount == 0:
        values |= {"attempt": attempt, "first": step.first}
        connection.execute(insert(adoption_steps).values(values))


def tally(connection: Connection, attempt: str) -> StepTally:
    """Return the sum over an attempt's steps, without the list of what is missing."""
    columns = adoption_steps.c
    wanted = select(
        func.coalesce(func.sum(columns.copied), 0),
        func.coalesce(func.sum(columns.skipped), 0),
        func.coalesce(func.sum(columns.done_bytes), 0),
    ).where(columns.attempt == attempt)
    copied, skipped, size_bytes = connection.execute(wanted).one()
    return StepTally(
        first=0, stop=0, copied=int(copied), skipped=int(skipped), done_bytes=int(size_bytes)
    )


def read_missing(connection: Connection, attempt: str) -> list[Missing]:
    """Return what the steps of an attempt found missing, in the order of the steps."""
    columns = adoption_steps.c
    wanted = select(columns.missing).where(columns.attempt == attempt).order_by(columns.first)
    rows = connection.execute(wanted).scalars()
    return [msgspec.convert(each, Missing) for row in rows for each in row]


def verified(
    connection: Connection, vault: str, objects: Collection[Described], *, prefix: str
) -> set[str]:
    """Return the names of those objects that were read in the vault and found right."""
    columns = verified_objects.c
    known: dict[str, str] = {}
    names = [prefix + each.name for each in objects]
    for first in range(0, len(names), _NAMES_PER_QUERY):
        some = names[first : first + _NAMES_PER_QUERY]
        wanted = select(columns.name, columns.sha256)
        wanted = wanted.where(columns.vault == vault, columns.name.in_(some))
        known |= {row.name: row.sha256 for row in connection.execute(wanted)}
    return {each.name for each in objects if known.get(prefix + each.name) == each.sha256}


def mark_verified(
    connection: Connection, vault: str, found: Described, *, prefix: str, at: datetime
) -> None:
    """Note that an object of the vault was read in full and has the signed digest."""
    columns = verified_objects.c
    name = prefix + found.name
    values = {"size_bytes": found.size_bytes, "sha256": found.sha256, "verified_at": at}
    key = (columns.vault == vault, columns.name == name)
    if connection.execute(update(verified_objects).where(*key).values(values)).rowcount == 0:
        values |= {"vault": vault, "name": name}
        connection.execute(insert(verified_objects).values(values))


def _update(connection: Connection, attempt: str, values: Mapping[str, object]) -> None:
    changed = connection.execute(
        update(adoptions).where(adoptions.c.attempt == attempt).values(values)
    )
    assert changed.rowcount == 1, "an attempt is entered before it is worked on"


def _attempt(row: RowMapping) -> Attempt:
    values = {name: row[name] for name in Attempt.__dataclass_fields__}
    missing = tuple(msgspec.convert(each, Missing) for each in row["missing"])
    return Attempt(**(values | {"missing": missing}))
