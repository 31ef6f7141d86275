"""The fence between those who record and reclaim, and the log of what happened to points.

Recording looks at the vault outside of any transaction; so does reclaim.  Each notes the fence
first, and changes rows only in a transaction that finds the fence as it was:

- `version` grows with every recorded point, announced seed, accepted replacement and change of the
  signing key.  Reclaim dooms nothing unless it is the version from which it worked out what is
  needed.
- `epoch` grows when objects become doomed, and when the doomed ones are gone.  What was looked at
  in an older epoch is looked at again; what is doomed counts as missing.

So an object is either recorded as needed before it can be doomed, or found missing by who records.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from overland.errors import TransientError
from overland.values import ReplacementId
from overland.vault import signers
from overland.vault.owner import Owner
from overland.vault.tables import chains, point_events, replacements, unneeded_objects, uploads

__all__ = [
    "Event",
    "Fence",
    "Upload",
    "VaultChanged",
    "count_epoch",
    "count_version",
    "list_events",
    "look_again",
    "note",
    "note_grant",
    "note_recorded",
    "read_fence",
    "require_epoch",
]


_T = TypeVar("_T")

_LOOKS: Final = 5  # a batch is deleted in less time than it takes to look so often


class VaultChanged(TransientError):
    """Objects of the vault were being deleted, or its keys replaced, while it was looked at."""

    code: ClassVar[str] = "vault-changed"

    def __init__(self) -> None:
        super().__init__("the vault is being changed; try again in a moment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Runs of one policy that have recorded nothing yet; the last leave was given `granted_at`."""

    began_at: datetime
    granted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What holds at one instant; `accepted` are the replacements in the order of acceptance.

    `owner` has the signing keys of that instant.
    """

    owner: Owner
    version: int
    replaced_at_version: int
    epoch: int
    recorded_at: datetime | None
    granted_at: datetime | None
    uploads: tuple[Upload, ...]
    doomed: frozenset[str]
    accepted: tuple[ReplacementId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the log; `subject` is a point's, a policy's or a replacement's id."""

    number: int
    source_computer_id: str
    at: datetime
    actor: str
    event: str
    subject: str | None
    detail: Mapping[str, object]


def read_fence(connection: Connection, owner: Owner) -> Fence:
    """Return the fence as it is, before the vault is looked at."""
    computer = owner.source_computer_id
    row = connection.execute(
        select(chains).where(chains.c.source_computer_id == computer).with_for_update()
    ).one_or_none()
    doomed = select(unneeded_objects.c.name).where(
        unneeded_objects.c.source_computer_id == computer, unneeded_objects.c.is_doomed
    )
    accepted = select(replacements.c.replacement_id).where(
        replacements.c.source_computer_id == computer
    )
    under_way = select(uploads.c.began_at, uploads.c.granted_at).where(
        uploads.c.source_computer_id == computer
    )
    return Fence(
        owner=signers.present(connection, owner),
        uploads=tuple(
            Upload(began_at=each.began_at, granted_at=each.granted_at)
            for each in connection.execute(under_way)
        ),
        version=0 if row is None else row.version,
        replaced_at_version=0 if row is None else row.replaced_at_version,
        epoch=0 if row is None else row.epoch,
        recorded_at=None if row is None else row.recorded_at,
        granted_at=None if row is None else row.granted_at,
        doomed=frozenset(connection.execute(doomed).scalars()),
        accepted=tuple(connection.execute(accepted.order_by(replacements.c.version)).scalars()),
    )


def require_epoch(connection: Connection, fence: Fence) -> Fence:
    """Return the fence as it is now, if what was seen behind the older one still counts.

    Raises:
        VaultChanged: It does not: look again.
    """
    now = read_fence(connection, fence.owner)
    if (now.epoch, now.accepted, now.owner) != (fence.epoch, fence.accepted, fence.owner):
        raise VaultChanged
    return now


def look_again(look: Callable[[], _T]) -> _T:
    """Return what `look` returns, from a look during which nothing was deleted.

    Raises:
        VaultChanged: Something was, every time.
    """
    for _ in range(_LOOKS - 1):
        with contextlib.suppress(VaultChanged):
            return look()
    return look()


def count_version(
    connection: Connection,
    owner: Owner,
    *,
    recorded_at: datetime | None = None,
    is_replaced: bool = False,
) -> int:
    """Count the version up and return it."""
    version = _entered(connection, owner).version + 1
    values: dict[str, object] = {"version": version}
    if recorded_at is not None:
        values["recorded_at"] = recorded_at
    if is_replaced:
        values["replaced_at_version"] = version
    _update(connection, owner, values)
    return version


def count_epoch(connection: Connection, owner: Owner) -> None:
    """Make everybody who looked at the vault before look again."""
    _update(connection, owner, {"epoch": _entered(connection, owner).epoch + 1})


def note_grant(
    connection: Connection, owner: Owner, *, at: datetime, policy_id: str | None = None
) -> None:
    """Note that the computer may upload from now on, for a policy if it says so."""
    _entered(connection, owner)
    _update(connection, owner, {"granted_at": at})
    if policy_id is None:
        return
    values: dict[str, object] = {"granted_at": at}
    if connection.execute(update(uploads).where(*_of(owner, policy_id)).values(values)).rowcount:
        return
    values |= {"source_computer_id": owner.source_computer_id, "policy_id": policy_id}
    connection.execute(insert(uploads).values(**values, began_at=at))


def note_recorded(connection: Connection, owner: Owner, policy_id: str) -> None:
    """Note that a run of a policy has come to its end: what it uploaded is named by its point."""
    connection.execute(delete(uploads).where(*_of(owner, policy_id)))


def note(
    connection: Connection,
    owner: Owner,
    event: str,
    *,
    at: datetime,
    actor: str,
    subject: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Enter what happened into the log, in the transaction in which it happens."""
    connection.execute(
        insert(point_events).values(
            source_computer_id=owner.source_computer_id,
            at=at,
            actor=actor,
            event=event,
            subject=subject,
            detail=dict(detail or {}),
        )
    )


def list_events(connection: Connection, *, source_computer_id: str) -> list[Event]:
    """Return the log of a source computer, oldest first."""
    wanted = select(point_events).where(point_events.c.source_computer_id == source_computer_id)
    rows = connection.execute(wanted.order_by(point_events.c.number)).mappings()
    return [Event(**{name: row[name] for name in Event.__dataclass_fields__}) for row in rows]


def _of(owner: Owner, policy_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        uploads.c.source_computer_id == owner.source_computer_id,
        uploads.c.policy_id == policy_id,
    )


def _entered(connection: Connection, owner: Owner) -> Fence:
    computer = owner.source_computer_id
    known = select(chains.c.version).where(chains.c.source_computer_id == computer)
    if connection.execute(known).one_or_none() is None:
        connection.execute(
            insert(chains).values(
                source_computer_id=computer, version=0, replaced_at_version=0, epoch=0
            )
        )
    return read_fence(connection, owner)


def _update(connection: Connection, owner: Owner, values: Mapping[str, object]) -> None:
    of_owner = chains.c.source_computer_id == owner.source_computer_id
    connection.execute(update(chains).where(of_owner).values(**values))
