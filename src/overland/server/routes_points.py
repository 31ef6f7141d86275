"""Recovery points, their marks and rules, replacements, and reclaim (`/v1`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from overland.cloud import points, reclaims, replacements
from overland.cloud.identity import Permission
from overland.cloud.points import PointRequest
from overland.server.bodies import PointBody, ReclaimBody, ReplacementBody, RetentionBody
from overland.server.caller import Caller, Needs
from overland.server.views import Json, event_view, point_view, reclaim_view
from overland.vault.retention import Retention

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["Recovery points"])

PointReader = Annotated[Caller, Depends(Needs(Permission.READ_POINTS))]
PointWriter = Annotated[Caller, Depends(Needs(Permission.WRITE_POINTS))]
PointDeleter = Annotated[Caller, Depends(Needs(Permission.DELETE_POINTS))]
Reclaimer = Annotated[Caller, Depends(Needs(Permission.RECLAIM))]
Whose = Annotated[str | None, Query(max_length=64)]


@router.post("/points")
def record_point(body: PointBody, caller: PointWriter) -> Json:
    """Enter a recovery point that is in the vault."""
    request = PointRequest(**body.model_dump())
    return point_view(points.record_point(caller.services, caller.principal, request))


@router.get("/points")
def list_points(caller: PointReader, source_computer: Whose = None) -> list[Json]:
    """Return the recovery points of a source computer, oldest first, none reclaimed."""
    with caller.call() as call:
        found = points.list_points(call, source_computer_id=source_computer)
    return [point_view(each) for each in found]


@router.get("/chains")
def list_chains(caller: PointReader, source_computer: Whose = None) -> Json:
    """Return all recovery points, reclaimed ones too, with the version of that list."""
    with caller.call() as call:
        found = points.list_chains(call, source_computer_id=source_computer)
    return {
        "chain_version": found.version,
        "points": [point_view(each) for each in found.points],
        "replacements": list(found.replacements),
    }


@router.get("/point-events")
def list_events(caller: PointReader, source_computer: Whose = None) -> list[Json]:
    """Return who marked, took back, reclaimed or replaced what, oldest first."""
    with caller.call() as call:
        found = points.list_events(call, source_computer_id=source_computer)
    return [event_view(each) for each in found]


@router.post("/points/{point_id}/delete")
def delete_point(point_id: str, caller: PointDeleter, source_computer: Whose = None) -> Json:
    """Mark a recovery point; it goes after the time of grace, unless it is taken back."""
    with caller.call() as call:
        return point_view(points.delete_point(call, point_id, source_computer_id=source_computer))


@router.post("/points/{point_id}/undelete")
def undelete_point(point_id: str, caller: PointDeleter, source_computer: Whose = None) -> Json:
    """Take the mark of a recovery point back."""
    with caller.call() as call:
        return point_view(points.undelete_point(call, point_id, source_computer_id=source_computer))


@router.post("/replacements/{replacement_id}")
def accept_replacement(replacement_id: str, body: ReplacementBody, caller: PointWriter) -> Json:
    """Let a replacement that is in the vault take effect."""
    version = replacements.accept_replacement(
        caller.services, caller.principal, replacement_id, chain_version=body.chain_version
    )
    return {"replacement_id": replacement_id, "chain_version": version}


@router.put("/policies/{policy_id}/retention")
def put_retention(policy_id: str, body: RetentionBody, caller: PointWriter) -> Json:
    """Say how many recovery points of a policy stay; takes effect for old points too."""
    with caller.call() as call:
        points.put_retention(call, policy_id, Retention(**body.model_dump()))
    return {"policy_id": policy_id, **body.model_dump()}


@router.post("/reclaims")
def begin_reclaim(body: ReclaimBody, caller: Reclaimer) -> list[Json]:
    """Begin to reclaim what is due, or say what a run would do (`dry_run`)."""
    whose = body.source_computer_id
    if body.dry_run:
        found = reclaims.preview(caller.services, caller.principal, source_computer_id=whose)
        return [reclaim_view(each.computer, each.report) for each in found]
    with caller.call() as call:
        begun = reclaims.enter(call, source_computer_id=whose)
    for run in begun:
        caller.services.reclaim.launch(run)
    return _runs(caller, whose)


@router.get("/reclaims")
def list_reclaims(caller: Reclaimer, source_computer: Whose = None) -> list[Json]:
    """Return the last run for each source computer."""
    return _runs(caller, source_computer)


def _runs(caller: Caller, source_computer_id: str | None) -> list[Json]:
    with caller.call() as call:
        found = reclaims.list_runs(call, source_computer_id=source_computer_id)
    return [reclaim_view(computer, run.report, run=run) for computer, run in found]
