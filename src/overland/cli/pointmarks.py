"""`overland points delete` and `undelete`: marks on the recovery points in the vault."""

from collections.abc import Mapping
from typing import Final

import click

from overland.agent.connection import Connection, VaultPoint
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import instant_text, json_option, show
from overland.cli.refusals import PointUnclear
from overland.errors import OverlandError
from overland.values import PointId

__all__ = ["delete", "known_points", "mark_fields", "mark_text", "undelete"]

_STATES: Final = {
    "waiting-for-seed": "  waits for its seed",
    "incomplete": "  not whole in the vault: overland check tells what it lacks",
    "reclaimed": "  reclaimed: only here for the points that are based on it",
}


@click.command()
@click.argument("point")
@json_option
def delete(point: str, *, as_json: bool) -> None:
    """Mark the recovery point POINT in the vault as deleted.

    It can be restored, and taken back with `overland points undelete`, for two weeks or longer.
    The newest recovery point of a policy stays.
    """
    with open_agent() as machine:
        connection = machine.connection()
        marked = connection.delete_point(_chosen(connection, point))
    assert marked.deletion is not None, "it was just marked"
    until = instant_text(marked.deletion.reclaim_after)
    show(
        {"point_id": marked.point_id, **mark_fields(marked)},
        f"recovery point {marked.point_id} is deleted; until {until} "
        f"`overland points undelete {marked.point_id}` takes that back",
        as_json=as_json,
    )


@click.command()
@click.argument("point")
@json_option
def undelete(point: str, *, as_json: bool) -> None:
    """Keep the recovery point POINT after all, whoever or whatever marked it as deleted."""
    with open_agent() as machine:
        connection = machine.connection()
        kept = connection.undelete_point(_chosen(connection, point))
    show(
        {"point_id": kept.point_id, **mark_fields(kept)},
        f"recovery point {kept.point_id} stays",
        as_json=as_json,
    )


def known_points(machine: AgentMachine) -> Mapping[str, VaultPoint]:
    """Return what the cloud says of each point; nothing when it cannot be asked.

    A list of what is there is shown without a cloud, too; only states and marks are missing then.
    """
    try:
        return {each.point_id: each for each in machine.connection().chains().points}
    except OverlandError:
        return {}


def mark_fields(point: VaultPoint | None) -> dict[str, object]:
    """Return a point's state and mark as fields of JSON; without a cloud both are unknown."""
    mark = None if point is None else point.deletion
    return {
        "state": None if point is None else point.state,
        "deleted_at": None if mark is None else mark.marked_at,
        "reclaim_after": None if mark is None else mark.reclaim_after,
        "deleted_because": None if mark is None else mark.reason,
    }


def mark_text(point: VaultPoint | None) -> str:
    """Return what is special about a point as the end of a line, or nothing."""
    if point is None:
        return ""
    text = _STATES.get(point.state, "")
    if point.deletion is None or point.state == "reclaimed":
        return text
    mark = point.deletion
    why = "by the policy's retention" if mark.reason == "retention" else "by hand"
    return f"{text}  deleted {why}, goes after {instant_text(mark.reclaim_after)}"


def _chosen(connection: Connection, text: str) -> PointId:
    """Return the only point whose id begins with a text, or the newest."""
    listed = connection.points()
    if text == "newest" and listed:
        return PointId(listed[-1].point_id)
    found = [each.point_id for each in listed if each.point_id.startswith(text.lower())]
    if len(found) != 1:
        raise PointUnclear(text, matches=len(found))
    return PointId(found[0])
