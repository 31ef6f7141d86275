"""`Microsoft.ImportExport`: import jobs, locations and operations, as documented."""

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from overland.cloud import importjobs
from overland.cloud.identity import Permission
from overland.cloud.locations import all_locations, find_location
from overland.server import answers
from overland.server.bodies import JobBody, JobPatchBody
from overland.server.caller import Caller, Needs
from overland.server.envelope import IMPORT_EXPORT_VERSIONS
from overland.server.views import Json, arm_job, location_view

__all__ = ["router"]


def api_version(
    version: Annotated[
        str,
        Query(alias="api-version", json_schema_extra={"enum": sorted(IMPORT_EXPORT_VERSIONS)}),
    ],
) -> str:
    """Return the version that the request is written for; others never come this far."""
    return version


Version = Annotated[str, Depends(api_version)]
router = APIRouter(tags=["Microsoft.ImportExport"], dependencies=[Depends(api_version)])

_MAX_TOP: Final = 100
_SUBSCRIPTION: Final = "/subscriptions/{subscription_id}"
_GROUP: Final = _SUBSCRIPTION + "/resourceGroups/{resource_group}"
_JOBS: Final = "/providers/Microsoft.ImportExport/jobs"

Reader = Annotated[Caller, Depends(Needs(Permission.READ_JOBS))]
Writer = Annotated[Caller, Depends(Needs(Permission.WRITE_JOBS))]
KeyReader = Annotated[Caller, Depends(Needs(Permission.READ_KEYS))]
AnyCaller = Annotated[Caller, Depends(Needs(Permission.READ_LOCATIONS))]


def _answers(document: type[BaseModel], *more: int) -> answers.Responses:
    """Return how the OpenAPI document describes an answer."""
    return {status: {"model": document} for status in (200, *more)}


Top = Annotated[int, Query(alias="$top", ge=1, le=_MAX_TOP)]
SkipToken = Annotated[str, Query(alias="$skiptoken", max_length=64)]
Filter = Annotated[str, Query(alias="$filter", max_length=256)]


@router.get(
    "/providers/Microsoft.ImportExport/locations",
    response_model=None,
    responses=_answers(answers.LocationPage),
)
def list_locations(caller: AnyCaller) -> Json:
    """Return every region; there is one page."""
    dock = caller.services.dock
    return {"value": [location_view(each, dock) for each in all_locations()]}


@router.get(
    "/providers/Microsoft.ImportExport/locations/{name}",
    response_model=None,
    responses=_answers(answers.Location),
)
def get_location(name: str, caller: AnyCaller) -> Json:
    """Return a region, by its short name or its display name."""
    return location_view(find_location(name), caller.services.dock)


@router.get(
    "/providers/Microsoft.ImportExport/operations",
    response_model=None,
    responses=_answers(answers.OperationPage),
)
def list_operations(_: AnyCaller) -> Json:
    """Return what the provider can do."""
    return {"value": [_operation(*each) for each in _OPERATIONS]}


@router.get(_SUBSCRIPTION + _JOBS, response_model=None, responses=_answers(answers.JobPage))
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


@router.get(_GROUP + _JOBS, response_model=None, responses=_answers(answers.JobPage))
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


@router.put(_GROUP + _JOBS + "/{name}", response_model=None, responses=_answers(answers.Job, 201))
def put_job(
    subscription_id: str,
    resource_group: str,
    name: str,
    body: JobBody,
    response: Response,
    caller: Writer,
    version: Version,
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
    return arm_job(job, version=version, location=body.location)


@router.get(_GROUP + _JOBS + "/{name}", response_model=None, responses=_answers(answers.Job))
def get_job(
    subscription_id: str, resource_group: str, name: str, caller: Reader, version: Version
) -> Json:
    """Return a job."""
    with caller.call() as call:
        job = importjobs.get_job(
            call, subscription_id=subscription_id, resource_group=resource_group, name=name
        )
    return arm_job(job, version=version)


@router.patch(_GROUP + _JOBS + "/{name}", response_model=None, responses=_answers(answers.Job))
def patch_job(
    subscription_id: str,
    resource_group: str,
    name: str,
    body: JobPatchBody,
    caller: Writer,
    version: Version,
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
    return arm_job(job, version=version)


@router.delete(
    _GROUP + _JOBS + "/{name}", response_model=None, response_class=Response, status_code=200
)
def delete_job(subscription_id: str, resource_group: str, name: str, caller: Writer) -> Response:
    """Delete a job that is `Creating` or `Completed`."""
    with caller.call() as call:
        importjobs.delete_job(
            call, subscription_id=subscription_id, resource_group=resource_group, name=name
        )
    return Response(status_code=200)


@router.post(
    _GROUP + _JOBS + "/{name}/listBitLockerKeys",
    response_model=None,
    responses=_answers(answers.BitLockerKeys),
)
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
    top, after, filter_text = paging
    version = request.query_params["api-version"]
    with caller.call() as call:
        jobs = importjobs.list_jobs(
            call,
            subscription_id=subscription_id,
            resource_group=resource_group,
            after=after,
            top=top + 1,
            filter_text=filter_text,
        )
    with_drives = resource_group is None
    shown = [arm_job(job, version=version, with_drives=with_drives) for job in jobs[:top]]
    page: Json = {"value": shown}
    if len(jobs) > top:
        asked = {"api-version": version, "$top": str(top), "$skiptoken": jobs[top - 1].job_id}
        page["nextLink"] = _link(request, caller, asked | _given("$filter", filter_text))
    return page


def _given(name: str, value: str) -> dict[str, str]:
    return {name: value} if value else {}


def _link(request: Request, caller: Caller, asked: dict[str, str]) -> str:
    query = urlencode(asked, safe="$", quote_via=quote)
    return f"{caller.services.endpoints.url}{quote(request.url.path)}?{query}"


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
