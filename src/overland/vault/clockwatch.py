"""A clock that jumps must not end anybody's time of grace.

The cloud looks at its clock every few minutes and notes what it says.  When it says something
else than time can have done since, nobody knows how long marks have really stood; then all of
them stand from now on, for the whole time of grace.  A cloud that was off for longer does the
same: that keeps objects too long, never too short.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select, update

from overland.events import Log
from overland.vault.tables import chains, clock_sightings, points, unneeded_objects, uploads

__all__ = ["MAX_STEP", "begin_anew_after_jump", "look"]

MAX_STEP: Final = timedelta(days=2)
"""So much may the clock gain or lose between two looks; a weekend's rest is no jump."""

_ONLY: Final = 1

log = Log()


def look(connection: Connection, *, at: datetime, grace: timedelta) -> bool:
    """Note what the clock says; return whether it has jumped and all marks begin anew."""
    has_jumped = begin_anew_after_jump(connection, at=at, grace=grace)
    changed = connection.execute(update(clock_sightings).values(seen_at=at))
    if changed.rowcount == 0:
        connection.execute(insert(clock_sightings).values(number=_ONLY, seen_at=at))
    return has_jumped


def begin_anew_after_jump(connection: Connection, *, at: datetime, grace: timedelta) -> bool:
    """Have all marks begin anew if the clock has jumped since the last look.

    Without any look, as when nothing serves, there is nothing to compare with.
    """
    seen_at = connection.execute(select(clock_sightings.c.seen_at)).scalar_one_or_none()
    if seen_at is None or abs(at - seen_at) <= MAX_STEP:
        return False
    log.warning("clock.jumped", seconds=round((at - seen_at).total_seconds()))
    connection.execute(update(clock_sightings).values(seen_at=at))
    columns = points.c
    marked = (columns.marked_at.is_not(None), columns.reclaimed_at.is_(None))
    connection.execute(update(points).where(*marked).values(reclaim_after=at + grace))
    waiting = unneeded_objects.c.is_doomed.is_(False)
    connection.execute(update(unneeded_objects).where(waiting).values(marked_at=at))
    # Who may be uploading may still be: as if everybody had leave from now on.
    connection.execute(update(chains).values(recorded_at=None, granted_at=at))
    connection.execute(update(uploads).values(began_at=at, granted_at=at))
    return True
