"""Import jobs as their owner sees them: create, replace, edit, ship, cancel, delete, list.

The rules are those of the documented service, plus the checks that it leaves out: a drive is in
one open job only, a tracking number belongs to one job of its tenant, a seed's job goes to the
seed's account.
"""

import re
from dataclasses import replace
from typing import Final

from overland.cloud import jobreach, names, resources, seedlinks
from overland.cloud.arrivals import book_waiting_parcels
from overland.cloud.identity import Permission
from overland.cloud.jobfilters import parse_filter
from overland.cloud.jobrequests import (
    JobPatch,
    JobRequest,
    check_diagnostics_path,
    check_export,
    check_job_type,
    check_key_kind,
    check_log_level,
    drives_from,
    location_from,
    tags_from,
)
from overland.cloud.refusals import Conflict, Forbidden, Invalid, ResourceAbsent
from overland.cloud.services import Call
from overland.jobs import records
from overland.jobs.edits import allow_edit
from overland.jobs.importjob import (
    Document,
    Happening,
    ImportJob,
    apply_to_job,
    settle,
)
from overland.jobs.states import JobEvent, JobState
from overland.values import is_job_or_top_up

__all__ = [
    "delete_job",
    "get_job",
    "list_jobs",
    "patch_job",
    "put_job",
    "unlock_keys",
]

_ACCOUNT_ID: Final = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.(Classic)?Storage/storageAccounts/(?P<name>[^/]+)",
    re.IGNORECASE,
)

_EDITED: Final = {
    "cancelRequested": "cancel_requested",
    "returnAddress": "return_address",
    "returnShipping": "return_shipping",
    "deliveryPackage": "delivery_package",
    "logLevel": "log_level",
    "backupDriveManifest": "backup_drive_manifest",
}
"""What PATCH changes, in the names of the API and ours."""


def put_job(
    call: Call, *, subscription_id: str, resource_group: str, name: str, request: JobRequest
) -> tuple[ImportJob, bool]:
    """Create an import job, or replace one that is still `Creating`; say whether it is new.

    Raises:
        Invalid: A value breaks a rule.
        Conflict: The name, a drive or the seed is in use elsewhere.
        TrackingNumberUsed: Another import job of the tenant has the tracking number.
        EventRefused: The job exists and has been shipped.
        Forbidden: As everywhere here; or the token is for another import job.
    """
    call.require(Permission.WRITE_JOBS)
    group = resources.get_group(call, subscription_id=subscription_id, name=resource_group)
    call.require_at(
        Permission.WRITE_JOBS, subscription_id=subscription_id, resource_group=group.name
    )
    names.check_resource_name(name, what="job name")
    _allow_name(call, name)
    try:
        existing = records.find_job(
            call.connection,
            subscription_id=group.subscription_id,
            resource_group=group.name,
            name=name,
        )
    except records.JobAbsent:
        job = _new_job(call, group, name, request, existing=None)
        records.insert_job(call.connection, job)
        return _store(call, job, _created(job)), True
    replaced = apply_to_job(existing, JobEvent.REPLACED, at=call.at)
    job = _new_job(call, group, existing.name, request, existing=replaced)
    return _store(call, job, [Happening(event=JobEvent.REPLACED), *_created(job)[1:]]), False


def get_job(call: Call, *, subscription_id: str, resource_group: str, name: str) -> ImportJob:
    """Return an import job; case does not count.

    Raises:
        JobAbsent: There is none.
    """
    return _find(call, subscription_id, resource_group, name, Permission.READ_JOBS)


def list_jobs(
    call: Call,
    *,
    subscription_id: str,
    resource_group: str | None,
    after: str,
    top: int,
    filter_text: str = "",
) -> list[ImportJob]:
    """Return up to `top` jobs of a subscription or one of its groups, after the job `after`.

    Raises:
        Invalid: The filter is malformed.
    """
    call.require(Permission.READ_JOBS)
    subscription = resources.get_subscription(call, subscription_id)
    if resource_group is not None:
        resources.get_group(call, subscription_id=subscription_id, name=resource_group)
    shows = parse_filter(filter_text) if filter_text else None
    found: list[ImportJob] = []
    while len(found) < top:
        read = records.list_jobs(
            call.connection,
            subscription_id=subscription.subscription_id,
            resource_group=resource_group,
            after=after,
            top=top,
        )
        seen = [
            job
            for job in read
            if _is_named(call, job.name) and jobreach.may(call, job, Permission.READ_JOBS)
        ]
        found += [job for job in seen if shows is None or shows(job)]
        if len(read) < top:
            break
        after = read[-1].job_id
    return found[:top]


def patch_job(
    call: Call, *, subscription_id: str, resource_group: str, name: str, patch: JobPatch
) -> ImportJob:
    """Change what may be changed in the job's state, then ship it if that is asked for.

    Either all of a patch is done or nothing of it.

    Raises:
        EditRefused: The job's state does not allow one of the changes.
        ConditionMissing: It cannot be shipped without return address and delivery package.
        TrackingNumberUsed: Another import job of the tenant has the tracking number.
        Invalid: A value breaks a rule, or a cancelled job is to be resumed.
        Conflict: A drive is in another import job of the tenant.
    """
    job = _find(call, subscription_id, resource_group, name, Permission.WRITE_JOBS)
    changed, happened = _edit(call, job, patch)
    if patch.state:
        if patch.state != JobState.SHIPPING:
            raise Invalid("state", "the only state that a client sets is Shipping")
        allow_edit("state", state=job.state)
        changed = apply_to_job(changed, JobEvent.SHIPPED, at=call.at)
        happened.append(Happening(event=JobEvent.SHIPPED))
    _store(call, changed, happened)
    if changed.state is JobState.SHIPPING:
        book_waiting_parcels(call, changed)
    return records.load_job(call.connection, job.job_id)


def delete_job(call: Call, *, subscription_id: str, resource_group: str, name: str) -> None:
    """Delete a job that is `Creating` or `Completed`, with its keys and personal data.

    Raises:
        EventRefused: The job is in another state.
    """
    job = _find(call, subscription_id, resource_group, name, Permission.WRITE_JOBS)
    deleted = apply_to_job(job, JobEvent.DELETED, at=call.at)
    happened = Happening(event=JobEvent.DELETED)
    records.delete_job(call.connection, deleted, happened=happened, actor=call.principal.name)


def unlock_keys(
    call: Call, *, subscription_id: str, resource_group: str, name: str
) -> list[tuple[str, str]]:
    """Return serial and unlock key of each drive; that they were shown is in the custody log."""
    job = _find(call, subscription_id, resource_group, name, Permission.READ_KEYS)
    _store(call, replace(job, changed_at=call.at), [Happening(event="keys_shown")])
    return [(drive.serial, drive.unlock_key) for drive in job.drives if drive.unlock_key]


def _find(
    call: Call, subscription_id: str, resource_group: str, name: str, permission: Permission
) -> ImportJob:
    """Return a job at which the caller has the permission."""
    call.require(permission)
    group = resources.get_group(call, subscription_id=subscription_id, name=resource_group)
    _allow_name(call, name)
    found = records.find_job(
        call.connection,
        subscription_id=group.subscription_id,
        resource_group=group.name,
        name=name,
    )
    jobreach.require(call, found, permission)
    return found


def _is_named(call: Call, name: str) -> bool:
    """Return whether the token is for all jobs, or for this one or the one that it tops up."""
    narrowed = call.principal.scope.job_name
    return narrowed is None or is_job_or_top_up(name, narrowed)


def _allow_name(call: Call, name: str) -> None:
    narrowed = call.principal.scope.job_name
    if not _is_named(call, name):
        raise Forbidden(f"the token is for the import job {narrowed} only")


def _new_job(
    call: Call,
    group: resources.ResourceGroup,
    name: str,
    request: JobRequest,
    *,
    existing: ImportJob | None,
) -> ImportJob:
    export, known = request.export, existing.drives if existing else ()
    kind = check_job_type(request.job_type, drives=request.drives, export=export)
    check_key_kind(request.key_kind)
    account = _account(call, request.storage_account_id)
    location = location_from(request.location)
    job = ImportJob(
        job_id=existing.job_id if existing else call.new_id(),
        tenant_id=call.principal.tenant_id,
        subscription_id=group.subscription_id,
        resource_group=group.name,
        name=name,
        storage_account=account.name,
        storage_account_id=request.storage_account_id,
        location=location.id,
        job_type=kind,
        export=None if export is None else check_export(export),
        drives=drives_from(request.drives, known=known) if export is None else (),
        created_at=existing.created_at if existing else call.at,
        changed_at=call.at,
        log_level=check_log_level(request.log_level),
        backup_drive_manifest=request.backup_drive_manifest,
        diagnostics_path=check_diagnostics_path(request.diagnostics_path),
        cancel_requested=existing.cancel_requested if existing else False,
        return_address=request.return_address,
        return_shipping=request.return_shipping,
        shipping_information=_dock(call),
        delivery_package=request.delivery_package,
        warned_at=existing.warned_at if existing else None,
    )
    _refuse_shared_name(call, job)
    return seedlinks.with_tags(call, job, tags_from(request.tags))


def _edit(call: Call, job: ImportJob, patch: JobPatch) -> tuple[ImportJob, list[Happening]]:
    """Return the job with the patch's values, and a custody entry with old and new ones."""
    if patch.cancel_requested is False:
        raise Invalid("cancelRequested", "a cancelled job cannot be resumed; leave it out or true")
    changed = replace(
        job,
        changed_at=call.at,
        cancel_requested=job.cancel_requested or bool(patch.cancel_requested),
        return_address=patch.return_address or job.return_address,
        return_shipping=patch.return_shipping or job.return_shipping,
        delivery_package=patch.delivery_package or job.delivery_package,
        log_level=patch.log_level or job.log_level,
        backup_drive_manifest=_chosen(patch.backup_drive_manifest, job.backup_drive_manifest),
    )
    happened = []
    for name, attribute in _EDITED.items():
        old, new = getattr(job, attribute), getattr(changed, attribute)
        if old != new:
            allow_edit(name, state=job.state)
            detail = {"what": name, "old": old, "new": new}
            happened.append(Happening(event="edited", detail=detail))
    check_log_level(changed.log_level)
    if patch.tags is not None:
        changed = seedlinks.with_tags(call, changed, tags_from(patch.tags))
        happened.append(Happening(event="edited", detail={"what": "tags"}))
    if patch.drives is not None:
        allow_edit("driveList", state=job.state)
        if job.is_export:
            raise Invalid("driveList", "send empty drives; an export job lists none")
        changed = replace(changed, drives=drives_from(patch.drives, known=job.drives))
        happened += _listed(changed)
    return changed, happened


def _chosen(given: bool | None, present: bool) -> bool:  # noqa: FBT001 - values, not switches
    return present if given is None else given


def _store(call: Call, job: ImportJob, happened: list[Happening]) -> ImportJob:
    """Store a job after the checks that look at other jobs."""
    if job.state is JobState.CREATING:
        _refuse_shared_drives(call, job)
    package = job.delivery_package
    if package is not None:
        number = names.check_tracking_number(job.tracking_number or "")
        records.reserve_tracking_number(call.connection, job, number)
    settled, followed = settle(job, at=call.at)
    records.save_job(
        call.connection, settled, happened=[*happened, *followed], actor=call.principal.name
    )
    return settled


def _refuse_shared_name(call: Call, job: ImportJob) -> None:
    """One name means one job in a storage account; else a policy could follow the wrong one."""
    same = records.find_named(
        call.connection,
        subscription_id=job.subscription_id,
        storage_account=job.storage_account,
        name=job.name,
    )
    if any(each.job_id != job.job_id for each in same):
        raise Conflict(
            "name", f"storage account {job.storage_account} already has an import job {job.name}"
        )


def _refuse_shared_drives(call: Call, job: ImportJob) -> None:
    for drive in job.drives:
        for other in records.find_by_serial(call.connection, drive.serial):
            if other.job_id != job.job_id and other.tenant_id == job.tenant_id:
                raise Conflict(
                    "driveList", f"drive {drive.serial} is in import job {other.name} already"
                )


def _account(call: Call, account_id: str) -> resources.StorageAccount:
    match = _ACCOUNT_ID.fullmatch(account_id)
    if match is None:
        raise Invalid("storageAccountId", "give the resource id of a storage account")
    try:
        account = resources.get_account(
            call,
            subscription_id=match["subscription"],
            resource_group=match["group"],
            name=match["name"],
        )
    except ResourceAbsent as absent:
        raise Invalid("storageAccountId", str(absent)) from None
    # The drives' content goes there, so that leave for the job's group alone is not enough.
    call.require_at(
        Permission.WRITE_JOBS,
        subscription_id=account.subscription_id,
        resource_group=account.resource_group,
    )
    return account


def _dock(call: Call) -> Document:
    dock = call.services.dock
    return {
        "recipientName": dock.recipient,
        "streetAddress1": dock.street,
        "streetAddress2": "",
        "city": dock.city,
        "stateOrProvince": dock.state,
        "postalCode": dock.postal_code,
        "countryOrRegion": dock.country,
        "phone": dock.phone,
    }


def _created(job: ImportJob) -> list[Happening]:
    detail = {"name": job.name, "storage_account": job.storage_account}
    return [Happening(event="created", detail=detail), *_listed(job)]


def _listed(job: ImportJob) -> list[Happening]:
    return [
        Happening(event="listed", drive=each.serial, detail={"manifest_hash": each.manifest_hash})
        for each in job.drives
    ]
