"""Which signing keys a source computer had, and since when another counts.

Every function works on a connection, in a transaction of the caller.  Whoever checks a signature
outside of it notes whose counted, and enters what follows in a transaction that finds the same.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select

from overland.crypto.keyring import FormerSigner
from overland.format.key_change import KeyChange
from overland.vault.owner import Owner
from overland.vault.tables import key_changes

__all__ = ["enter", "present"]


def present(connection: Connection, owner: Owner) -> Owner:
    """Return the owner with the keys that count now, as one that knows every change."""
    wanted = select(key_changes).where(key_changes.c.source_computer_id == owner.source_computer_id)
    rows = connection.execute(wanted.order_by(key_changes.c.number)).all()
    if not rows:
        return owner
    former = [
        FormerSigner(public_key=row.former_public_key, change_sha256=row.change_sha256)
        for row in rows
    ]
    now = replace(owner, public_key=bytes.fromhex(rows[-1].public_key), former=tuple(former))
    return owner if now == owner else now  # what it has read of lists stays with it


def enter(
    connection: Connection, owner: Owner, change: KeyChange, *, sha256: str, at: datetime
) -> None:
    """Enter a key change that was verified: from now on its new key counts."""
    known = present(connection, owner)
    assert change.number == len(known.former) + 1, "numbers have no gap"
    assert bytes.fromhex(change.old_public_key) == known.public_key, "the present key ends"
    connection.execute(
        insert(key_changes).values(
            source_computer_id=owner.source_computer_id,
            number=change.number,
            former_public_key=change.old_public_key,
            public_key=change.new_public_key,
            change_sha256=sha256,
            entered_at=at,
        )
    )
