"""Who signed in, who could not, who changed whose rights: rows that are only ever added."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, insert, select

from overland.cloud.identity import Permission
from overland.cloud.services import Call
from overland.cloud.tables_users import audit

__all__ = ["MOST", "Event", "add", "entries", "note"]

MOST: Final = 1000
"""How many events one request returns at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event: who did what to whom, when, and from where."""

    number: int
    at: datetime
    actor: str
    address: str
    event: str
    target: str


def note(call: Call, event: str, *, target: str = "") -> None:
    """Take down what the caller does, in the transaction that does it."""
    add(
        call.connection,
        tenant_id=call.principal.scope.tenant_id or "",
        at=call.at,
        actor=call.principal.name,
        address=call.address,
        event=event,
        target=target,
    )


def add(
    connection: Connection,
    *,
    tenant_id: str,
    at: datetime,
    actor: str,
    address: str,
    event: str,
    target: str = "",
) -> None:
    """Take down an event of somebody who is no principal yet."""
    values = {"tenant_id": tenant_id, "at": at, "actor": actor[:256], "address": address[:64]}
    connection.execute(insert(audit).values(**values, event=event, target=target[:256]))


def entries(call: Call, *, before: int | None, top: int) -> list[Event]:
    """Return the newest events of the caller's tenant, or those before event `before`."""
    call.require_at(Permission.READ_AUDIT)
    assert 1 <= top <= MOST, "the route checks"
    wanted = select(audit).where(audit.c.tenant_id == call.principal.tenant_id)
    if before is not None:
        wanted = wanted.where(audit.c.number < before)
    rows = call.connection.execute(wanted.order_by(audit.c.number.desc()).limit(top)).mappings()
    return [Event(**{name: row[name] for name in Event.__dataclass_fields__}) for row in rows]
