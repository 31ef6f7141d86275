"""What the station asks and reports (`/v1/station`)."""

from datetime import UTC, datetime
from typing import Annotated, Final, get_args

from fastapi import APIRouter, Depends, Query

from overland.cloud import arrivals, stationwork
from overland.cloud.identity import Permission
from overland.cloud.refusals import Invalid
from overland.cloud.stationwork import FilledDrive, ReportedEvent, StationJob
from overland.jobs.importjob import Drive, DriveReport, ImportJob
from overland.server.bodies import DriveEventBody, ParcelBody, ReturnBody
from overland.server.caller import Caller, Needs
from overland.server.views import Json, drive_view, instant

__all__ = ["router"]

router = APIRouter(prefix="/v1/station", tags=["Station"])

Station = Annotated[Caller, Depends(Needs(Permission.WORK_AT_STATION))]

_EVENTS: Final[tuple[ReportedEvent, ...]] = get_args(ReportedEvent)


@router.post("/parcels", status_code=201)
def receive_parcel(body: ParcelBody, caller: Station) -> Json:
    """Book a parcel in."""
    with caller.call() as call:
        report = arrivals.receive_parcel(
            call,
            tracking_number=body.tracking_number,
            carrier=body.carrier,
            serials=body.serials,
            received_at=_instant(body.received_at),
        )
    return {
        "parcel_id": report.parcel_id,
        "job_id": report.job_id,
        "drives": [{"serial": each.serial, "outcome": each.outcome} for each in report.drives],
        "missing": list(report.missing),
        "flags": list(report.flags),
    }


@router.get("/jobs")
def list_jobs(
    caller: Station, state: Annotated[str | None, Query(max_length=32)] = None
) -> list[Json]:
    """Return the jobs that are on their way or here."""
    with caller.call() as call:
        return [_listed(job) for job in stationwork.list_station_jobs(call, state=state)]


@router.get("/jobs/{job_id}")
def get_job(job_id: str, caller: Station) -> Json:
    """Return a job with the unlock keys of its drives."""
    with caller.call() as call:
        return _station_view(stationwork.station_job(call, job_id))


@router.post("/jobs/{job_id}/drives/{serial}/events")
def report_drive(job_id: str, serial: str, body: DriveEventBody, caller: Station) -> Json:
    """Take down what was done with a drive."""
    event = next((each for each in _EVENTS if each == body.event), None)
    if event is None:
        raise Invalid("event", f"use one of {', '.join(_EVENTS)}")
    report = DriveReport(
        percent_complete=body.percent,
        bytes_succeeded=body.bytes_succeeded,
        copy_status=body.copy_status,
        error_log=body.error_log,
        verbose_log=body.verbose_log,
        manifest=body.manifest,
    )
    filled = None
    if body.manifest_file is not None and body.manifest_hash is not None:
        filled = FilledDrive(
            manifest_file=body.manifest_file,
            manifest_hash=body.manifest_hash,
            unlock_key=body.unlock_key or "",
            incomplete_blob_list=body.incomplete_blob_list,
        )
    with caller.call() as call:
        job = stationwork.report_drive(
            call, job_id, serial, event=event, report=report, filled=filled
        )
    return {"job_id": job.job_id, "state": job.state, "drive": drive_view(job.drive(serial))}


@router.post("/jobs/{job_id}/return")
def return_drives(job_id: str, body: ReturnBody, caller: Station) -> Json:
    """Send drives back."""
    with caller.call() as call:
        job = stationwork.return_drives(
            call,
            job_id,
            carrier=body.carrier,
            tracking_number=body.tracking_number,
            serials=body.serials,
        )
    return {"job_id": job.job_id, "state": job.state}


def _listed(job: ImportJob) -> Json:
    return {
        "job_id": job.job_id,
        "arm_id": job.arm_id,
        "name": job.name,
        "job_type": job.job_type,
        "state": job.state,
        "percent_complete": job.percent_complete,
        "cancel_requested": job.cancel_requested,
        "seed_id": job.seed_id,
        "carrier": job.carrier,
        "tracking_number": job.tracking_number,
        "shipped_at": instant(job.shipped_at),
        "overdue_at": instant(job.overdue_at),
        "drives": [drive_view(drive) for drive in job.drives],
    }


def _station_view(found: StationJob) -> Json:
    job, seed = found.job, found.seed
    return {
        **_listed(job),
        "export": job.export,
        "containers": list(found.containers),
        "subscription": job.subscription_id,
        "storage_account": job.storage_account,
        "container": None if seed is None else seed.container,
        "diagnostics_path": job.diagnostics_path,
        "log_level": job.log_level,
        "backup_drive_manifest": job.backup_drive_manifest,
        "return_address": job.return_address,
        "return_shipping": job.return_shipping,
        "seed_id": None if seed is None else seed.seed_id,
        "signing_public_key": found.signing_public_key,
        "manifest_sha256": found.manifest_sha256,
        "drive_public_key": job.drive_public_key,
        "drives": [{**drive_view(each), **_secret_view(each)} for each in job.drives],
    }


def _secret_view(drive: Drive) -> Json:
    return {
        "manifest_file": drive.manifest_file,
        "manifest_hash": drive.manifest_hash,
        "header_hash": drive.header_hash,
        "unlock_key": drive.unlock_key,
    }


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise Invalid("received_at", "give the time zone too, such as +00:00")
        return found.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        raise Invalid("received_at", "give an instant in ISO 8601 with its time zone") from None
