"""Import jobs and drives as values."""

from datetime import UTC, datetime

from overland.jobs.importjob import Drive, ImportJob
from overland.jobs.states import DriveState, JobState

__all__ = ["AT", "drive", "job"]

AT = datetime(2027, 3, 1, tzinfo=UTC)


def drive(serial: str, state: DriveState = DriveState.SPECIFIED) -> Drive:
    return Drive(
        serial=serial,
        unlock_key="238810-662376",
        manifest_file="\\DriveManifest.xml",
        manifest_hash="00" * 16,
        state=state,
    )


def job(*drives: Drive, state: JobState = JobState.CREATING) -> ImportJob:
    return ImportJob(
        job_id="job-1",
        tenant_id="tenant",
        subscription_id="sub",
        resource_group="rg",
        name="harbour-first",
        storage_account="harbourdata",
        storage_account_id="/account",
        location="westeurope",
        drives=drives or (drive("A"),),
        created_at=AT,
        changed_at=AT,
        state=state,
        return_address={"recipientName": "Ada"},
        delivery_package={"carrierName": "FedEx", "trackingNumber": "TRACK-0001"},
    )
