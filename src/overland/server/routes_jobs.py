"""`Microsoft.ImportExport`: import jobs, locations and operations, as documented."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from overland.cloud import importjobs
from overland.cloud.identity import Permission
from overland.cloud.locations import all_locations, find_location
from overland.cloud.refusals import Invalid
from overland.jobs.importjob import ImportJob
from overland.server.bodies import JobBody, JobPatchBody
from overland.server.caller import Caller, Needs
from overland.server.views import Json, arm_job, location_view

__all__ = ["router"]

router = APIRouter(tags=["Microsoft.ImportExport"])

_MAX_TOP: Final = 100
_SUBSCRIPTION: Final = "/subscriptions/{subscription_id}"
_GROUP: Final = _SUBSCRIPTION + "/resourceGroups/{resource_group}"
_JOBS: Final = "/providers/Microsoft.ImportExport/jobs"

Reader = Annotated[Caller, Depends(Needs(Permission.READ_JOBS))]
Writer = Annotated[Caller, Depends(Needs(Permission.WRITE_JOBS))]
KeyReader = Annotated[Caller, Depends(Needs(Permission.READ_KEYS))]
AnyCaller = Annotated[Caller, Depends(Needs(Permission.READ_LOCATIONS))]
Top = Annotated[int, Query(alias="$top", ge=1, le=_MAX_TOP)]
SkipToken = Annotated[str, Query(alias="$skiptoken", max_length=64)]
Filter = Annotated[str, Query(alias="$filter", max_length=256)]


@router.get("/providers/Microsoft.ImportExport/locations")
def list_locations(caller: AnyCaller) -> Json:
    """Return every region; there is one page."""
    dock = caller.services.dock
    return {"value": [location_view(each, dock) for each in all_locations()]}


@router.get("/providers/Microsoft.ImportExport/locations/{name}")
def get_location(name: str, caller: AnyCaller) -> Json:
    """Return a region, by its short name or its display name."""
    return location_view(find_location(name), caller.services.dock)


@router.get("/providers/Microsoft.ImportExport/operations")
def list_operations(_: AnyCaller) -> Json:
    """Return what the provider can do."""
    return {"value": [_operation(*each) for each in _OPERATIONS]}


@router.get(_SUBSCRIPTION + _JOBS)
def list_subscription_jobs(
    subscription_id: str,
    request: Request,
    caller: Reader,
    top: Top = _MAX_TOP,
    skip_token: SkipToken = "",
    filter_: Filter = "",
) -> Json:
    """Return the jobs of a subscription, with their drives."""
    return _page(request, caller, subscription_id, None, (top, skip_token, filter_))


@router.get(_GROUP + _JOBS)
def list_group_jobs(
    subscription_id: str,
    resource_group: str,
    request: Request,
    caller: Reader,
    top: Top = _MAX_TOP,
    skip_token: SkipToken = "",
    filter_: Filter = "",
) -> Json:
    """Return the jobs of a resource group, without their drives, as recorded."""
    return _page(request, caller, subscription_id, resource_group, (top, skip_token, filter_))


@router.put(_GROUP + _JOBS + "/{name}")
def put_job(
    subscription_id: str,
    resource_group: str,
    name: str,
    body: JobBody,
    response: Response,
    caller: Writer,
) -> Json:
    """Create a job (201), or replace one that is still `Creating` (200)."""
    with caller.call() as call:
        job, is_new = importjobs.put_job(
            call,
            subscription_id=subscription_id,
            resource_group=resource_group,
            name=name,
            request=body.request(),
        )
    response.status_code = 201 if is_new else 200
    return arm_job(job, location=body.location)


@router.get(_GROUP + _JOBS + "/{name}")
def get_job(subscription_id: str, resource_group: str, name: str, caller: Reader) -> Json:
    """Return a job."""
    with caller.call() as call:
        job = importjobs.get_job(
            call, subscription_id=subscription_id, resource_group=resource_group, name=name
        )
    return arm_job(job)


@router.patch(_GROUP + _JOBS + "/{name}")
def patch_job(
    subscription_id: str,
    resource_group: str,
    name: str,
    body: JobPatchBody,
    caller: Writer,
) -> Json:
    """Change a job, cancel it, or say that it was shipped."""
    with caller.call() as call:
        job = importjobs.patch_job(
            call,
            subscription_id=subscription_id,
            resource_group=resource_group,
            name=name,
            patch=body.patch(),
        )
    return arm_job(job)


@router.delete(_GROUP + _JOBS + "/{name}")
def delete_job(subscription_id: str, resource_group: str, name: str, caller: Writer) -> Response:
    """Delete a job that is `Creating` or `Completed`."""
    with caller.call() as call:
        importjobs.delete_job(
            call, subscription_id=subscription_id, resource_group=resource_group, name=name
        )
    return Response(status_code=200)


@router.post(_GROUP + _JOBS + "/{name}/listBitLockerKeys")
def list_keys(subscription_id: str, resource_group: str, name: str, caller: KeyReader) -> Json:
    """Return the unlock keys of a job's drives."""
    with caller.call() as call:
        keys = importjobs.unlock_keys(
            call, subscription_id=subscription_id, resource_group=resource_group, name=name
        )
    return {"value": [{"driveId": serial, "bitLockerKey": key} for serial, key in keys]}


def _page(
    request: Request,
    caller: Caller,
    subscription_id: str,
    resource_group: str | None,
    paging: tuple[int, str, str],
) -> Json:
    top, after, filter_ = paging
    if filter_:
        raise Invalid("$filter", "filters are not supported; leave it out")
    with caller.call() as call:
        jobs = importjobs.list_jobs(
            call,
            subscription_id=subscription_id,
            resource_group=resource_group,
            after=after,
            top=top + 1,
        )
    shown = [arm_job(job, with_drives=resource_group is None) for job in jobs[:top]]
    page: Json = {"value": shown}
    if len(jobs) > top:
        page["nextLink"] = _next_link(request, caller, jobs[top - 1], top)
    return page


def _next_link(request: Request, caller: Caller, last: ImportJob, top: int) -> str:
    version = request.query_params["api-version"]
    query = f"api-version={version}&$top={top}&$skiptoken={last.job_id}"
    return f"{caller.services.endpoints.url}{request.url.path}?{query}"


_OPERATIONS: Final = (
    ("locations/read", "Locations", "Get Shipping Locations", "List shipping locations."),
    ("jobs/write", "Jobs", "Create or Update Job", "Create or change an import job."),
    ("jobs/read", "Jobs", "Get Job", "Get or list import jobs."),
    ("jobs/listBitLockerKeys/action", "Jobs", "List Drive Keys", "List a job's unlock keys."),
    ("jobs/delete", "Jobs", "Delete Job", "Delete an import job."),
    ("register/action", "Provider", "Register", "Register the provider."),
)


def _operation(name: str, resource: str, operation: str, description: str) -> Json:
    return {
        "name": f"Microsoft.ImportExport/{name}",
        "display": {
            "provider": "Microsoft Import/Export",
            "resource": resource,
            "operation": operation,
            "description": description,
        },
    }
