"""What is in a vault and needed by no recovery point: since when, and what of it is doomed.

Every function works on a connection, in a transaction of the caller.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from overland.ports.objects import Objects
from overland.values import is_object_name
from overland.vault.chains import Fence, Upload
from overland.vault.owner import Owner
from overland.vault.tables import unneeded_objects, verified_objects

__all__ = [
    "LONGEST_UPLOAD",
    "Unneeded",
    "doom",
    "forget_doomed",
    "is_ripe",
    "list_doomed",
    "marks",
    "sync",
    "take_back",
    "unneeded",
]

_T = TypeVar("_T")

LONGEST_UPLOAD: Final = timedelta(days=180)
"""So long may one run upload; after that its packs count as left behind."""

_PER_STATEMENT: Final = 500  # databases limit the values of one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Unneeded:
    """One object that nothing needs; `marked_at` is when that was first seen, in this stretch."""

    name: str
    size_bytes: int
    marked_at: datetime


def unneeded(store: Objects, owner: Owner, needed: Collection[str]) -> dict[str, int]:
    """Return the owner's objects that are not among `needed`, with their sizes.

    Only what a repository may hold is looked at, and never its keyrings and key changes: what else
    lies there is not ours to judge.
    """
    found: dict[str, int] = {}
    for info in store.names(owner.prefix):
        name = info.name.removeprefix(owner.prefix)
        if name.startswith(("keys/", "keychanges/")):
            continue
        if is_object_name(name) and name not in needed:
            found[name] = info.size_bytes
    return found


def marks(connection: Connection, owner: Owner) -> dict[str, Unneeded]:
    """Return the marks that stand, without those of doomed objects."""
    columns = unneeded_objects.c
    wanted = select(columns.name, columns.size_bytes, columns.marked_at).where(
        columns.source_computer_id == owner.source_computer_id, columns.is_doomed.is_(False)
    )
    rows = connection.execute(wanted)
    return {
        row.name: Unneeded(name=row.name, size_bytes=row.size_bytes, marked_at=row.marked_at)
        for row in rows
    }


def sync(
    connection: Connection, owner: Owner, found: Mapping[str, int], *, at: datetime
) -> dict[str, Unneeded]:
    """Mark what is newly unneeded, take back the marks of what is needed again; return them."""
    standing = marks(connection, owner)
    doomed = set(list_doomed(connection, owner))
    _delete(connection, owner, [name for name in standing if name not in found])
    new = [
        Unneeded(name=name, size_bytes=size, marked_at=at)
        for name, size in found.items()
        if name not in standing and name not in doomed
    ]
    for some in _pieces(new):
        connection.execute(
            insert(unneeded_objects),
            [
                {
                    "source_computer_id": owner.source_computer_id,
                    "name": each.name,
                    "size_bytes": each.size_bytes,
                    "marked_at": each.marked_at,
                    "is_doomed": False,
                }
                for each in some
            ],
        )
    stay = {name: each for name, each in standing.items() if name in found}
    return stay | {each.name: each for each in new}


def take_back(connection: Connection, owner: Owner, names: Iterable[str]) -> None:
    """Take back the marks of what has just come to be needed; what is doomed stays so.

    The next `sync` would do so too, but only if it comes before nothing needs the object any more:
    else the mark would stand for a stretch of time in which it was needed.
    """
    columns = unneeded_objects.c
    for some in _pieces(names):
        connection.execute(
            delete(unneeded_objects).where(
                columns.source_computer_id == owner.source_computer_id,
                columns.name.in_(some),
                columns.is_doomed.is_(False),
            )
        )


def is_ripe(mark: Unneeded, fence: Fence, *, at: datetime, grace: timedelta) -> bool:
    """Whether a marked object may be doomed: unneeded for long, and no part of a run under way.

    A first copy over a thin line may upload for weeks before it records a point.  Its run is over
    when its policy has recorded one since, or has had no leave to upload for as long.  Runs that
    name no policy are over when anything was recorded since.  A policy whose runs always fail
    holds nothing for ever.
    """
    if at < mark.marked_at + grace:
        return False
    if any(_may_own(each, mark, at=at, grace=grace) for each in fence.uploads):
        return False
    is_over = fence.recorded_at is not None and fence.recorded_at >= mark.marked_at
    return is_over or fence.granted_at is None or at >= fence.granted_at + grace


def _may_own(upload: Upload, mark: Unneeded, *, at: datetime, grace: timedelta) -> bool:
    is_under_way = at < upload.granted_at + grace and at < upload.began_at + LONGEST_UPLOAD
    return is_under_way and upload.began_at <= mark.marked_at


def doom(connection: Connection, owner: Owner, names: Iterable[str]) -> None:
    """Enter objects as doomed: from now on they count as missing."""
    columns = unneeded_objects.c
    for some in _pieces(names):
        connection.execute(
            update(unneeded_objects)
            .where(
                columns.source_computer_id == owner.source_computer_id,
                columns.name.in_(some),
            )
            .values(is_doomed=True)
        )


def list_doomed(connection: Connection, owner: Owner) -> dict[str, int]:
    """Return the doomed objects with their sizes, sorted by name."""
    columns = unneeded_objects.c
    wanted = select(columns.name, columns.size_bytes).where(
        columns.source_computer_id == owner.source_computer_id, columns.is_doomed
    )
    rows = connection.execute(wanted.order_by(columns.name))
    return {row.name: row.size_bytes for row in rows}


def forget_doomed(
    connection: Connection, owner: Owner, names: Collection[str], *, vault: str
) -> None:
    """Forget objects that are gone, and that adoption once verified them."""
    _delete(connection, owner, names)
    columns = verified_objects.c
    for some in _pieces(names):
        full = [owner.prefix + name for name in some]
        connection.execute(
            delete(verified_objects).where(columns.vault == vault, columns.name.in_(full))
        )


def _delete(connection: Connection, owner: Owner, names: Iterable[str]) -> None:
    columns = unneeded_objects.c
    for some in _pieces(names):
        connection.execute(
            delete(unneeded_objects).where(
                columns.source_computer_id == owner.source_computer_id, columns.name.in_(some)
            )
        )


def _pieces(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while some := list(islice(rest, _PER_STATEMENT)):
        yield some
