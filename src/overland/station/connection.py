"""What the station says to the cloud, one method per request of `docs/reference/api.md`.

Answers become values here and nowhere else.  Absent, refused, not authorised and unreachable stay
four different errors (`overland.ports.http.accept`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from typing_extensions import override

from overland.errors import RefusedError
from overland.ports.answers import converted
from overland.ports.http import Http, accept
from overland.values import canonical_uuid

__all__ = [
    "Connection",
    "DriveEventName",
    "DriveReport",
    "Grant",
    "JobUnknown",
    "ParcelAnswer",
    "ParcelDrive",
    "Returned",
    "StationDrive",
    "StationJob",
]

DriveEventName = Literal["started", "progressed", "completed", "completed_more_info", "failed"]

_FINISHED: Final = frozenset({"Completed", "CompletedMoreInfo", "ShippedBack"})


class JobUnknown(RefusedError):
    """No job, or more than one, is called so."""

    code = "job-unknown"

    def __init__(self, name: str, *, found: int) -> None:
        super().__init__(
            f"{found} jobs of this station are called {name}; "
            "give a job's id, as `overland station status` lists it"
        )
        self.name, self.found = name, found


def _is_uuid(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the cloud; fields that this station does not know are ignored."""


class ParcelDrive(_Answer, frozen=True, kw_only=True):
    """What the cloud says of one drive of a parcel."""

    serial: str
    outcome: str
    job_id: str | None = None


class ParcelAnswer(_Answer, frozen=True, kw_only=True):
    """What the cloud says of a parcel."""

    parcel_id: str
    job_id: str | None = None
    drives: tuple[ParcelDrive, ...] = ()
    missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class StationDrive(_Answer, frozen=True, kw_only=True):
    """One drive that a job lists.  Holds the drive's unlock key, a secret."""

    serial: str
    state: str
    manifest_file: str = "\\DriveManifest.xml"
    manifest_hash: str = ""
    unlock_key: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be imported from it."""
        return self.state in _FINISHED

    @property
    def waits(self) -> bool:
        """Whether it is here and its import has not ended."""
        return self.state in {"Received", "Transferring"}

    @override
    def __repr__(self) -> str:
        """Keep the unlock key out of logs and tracebacks."""
        return f"StationDrive({self.serial!r}, {self.state!r})"


class StationJob(_Answer, frozen=True, kw_only=True):
    """An import job, with what the station needs to import its drives.

    `signing_public_key` signed the seed's manifest; with `manifest_sha256` that one alone counts,
    because the source computer has replaced the key since.
    """

    job_id: str
    name: str
    state: str
    storage_account: str = ""
    container: str | None = None
    diagnostics_path: str = "waimportexport"
    log_level: str = "Error"
    backup_drive_manifest: bool = False
    cancel_requested: bool = False
    seed_id: str | None = None
    signing_public_key: str | None = None
    manifest_sha256: str | None = None
    drive_public_key: str | None = None
    return_address: dict[str, Any] | None = None  # as the customer sent it; shown, never read
    job_type: str = "Import"
    export: dict[str, Any] | None = None  # what the customer asked for, in the documented names
    containers: tuple[str, ...] = ()
    drives: tuple[StationDrive, ...] = ()

    @property
    def is_export(self) -> bool:
        """Whether its drives take data out instead of bringing some."""
        return self.job_type == "Export"

    def drive(self, serial: str) -> StationDrive | None:
        """Return the drive with this serial number, or None; case does not count."""
        wanted = serial.casefold()
        return next((each for each in self.drives if each.serial.casefold() == wanted), None)


class Grant(_Answer, frozen=True, kw_only=True):
    """Leave to create and read objects below the prefixes of one job.  The token is a secret."""

    endpoint: str
    space: str
    prefix: str
    token: str
    expires_at: datetime

    @override
    def __repr__(self) -> str:
        """Keep the token out of logs and tracebacks."""
        return f"Grant({self.space!r}, {self.prefix!r}, token=…)"


class Returned(_Answer, frozen=True, kw_only=True):
    """The job after its drives were sent back."""

    job_id: str
    state: str


class DriveReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the station reports with an event; None leaves a value as it is.

    The last three are for drives of export jobs.
    """

    percent: int | None = None
    bytes_succeeded: int | None = None
    copy_status: str | None = None
    error_log: str | None = None
    verbose_log: str | None = None
    manifest: str | None = None
    manifest_file: str | None = None
    manifest_hash: str | None = None
    incomplete_blob_list: str | None = None


class Connection:
    """The station's requests over one authenticated connection.

    Beside what they say, all raise as `overland.ports.http.accept`.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def receive(
        self, *, tracking_number: str, carrier: str, serials: Sequence[str]
    ) -> ParcelAnswer:
        """Book a parcel in; saying the same again changes nothing.

        Raises:
            RefusedError: The cloud cannot read the parcel's data.
        """
        body = {"tracking_number": tracking_number, "carrier": carrier, "serials": list(serials)}
        answer = self._ask("POST", "/v1/station/parcels", "the parcel", json=body)
        return converted(answer, ParcelAnswer)

    def jobs(self) -> list[StationJob]:
        """Return the jobs of this cloud, without what only `job` gives."""
        answer = self._ask("GET", "/v1/station/jobs", "import jobs")
        return converted(answer, list[StationJob])

    def job(self, job_id: str) -> StationJob:
        """Return a job with keys and hashes of its drives.

        Raises:
            ObjectAbsent: There is no such job.
        """
        answer = self._ask("GET", f"/v1/station/jobs/{job_id}", f"import job {job_id}")
        return converted(answer, StationJob)

    def find_job(self, name: str) -> StationJob:
        """Return the job with this id, or the one at this station with this name.

        Raises:
            ObjectAbsent: There is no job with this id.
            JobUnknown: None has the name, or several have it.
        """
        if _is_uuid(name):
            return self.job(name)
        found = [each for each in self.jobs() if each.name.casefold() == name.casefold()]
        if len(found) != 1:
            raise JobUnknown(name, found=len(found))
        return self.job(found[0].job_id)

    def report(self, job_id: str, serial: str, event: DriveEventName, report: DriveReport) -> None:
        """Tell the cloud what happened to a drive; telling it twice changes nothing.

        Raises:
            RefusedError: The drive's state does not allow it.
        """
        body = {"event": event, **msgspec.to_builtins(report)}
        path = f"/v1/station/jobs/{job_id}/drives/{serial}/events"
        self._ask("POST", path, f"drive {serial}", json=body)

    def import_grant(self, job_id: str) -> Grant:
        """Return leave to create and read what the job brings into its container."""
        body = {"kind": "import", "job_id": job_id}
        return converted(self._ask("POST", "/v1/grants", "a grant", json=body), Grant)

    def blobs_grant(self, job_id: str, *, container: str, replace: bool) -> Grant:
        """Return leave to bring blobs into a container of the storage account of a job.

        With `replace` also leave to delete what has a blob's name.
        """
        where = {"container": container, "replace": replace}
        body = {"kind": "import", "job_id": job_id, **where}
        return converted(self._ask("POST", "/v1/grants", "a grant", json=body), Grant)

    def export_grant(self, job_id: str, *, container: str) -> Grant:
        """Return leave to read a container of the storage account of an export job."""
        body = {"kind": "export", "job_id": job_id, "container": container}
        return converted(self._ask("POST", "/v1/grants", "a grant", json=body), Grant)

    def send_back(
        self, job_id: str, *, carrier: str, tracking_number: str, serials: Sequence[str]
    ) -> Returned:
        """Record that drives were given to a carrier; the job ends with the last one.

        Raises:
            RefusedError: A drive is not finished, or the job is not at its end.
        """
        body = {"carrier": carrier, "tracking_number": tracking_number, "serials": list(serials)}
        path = f"/v1/station/jobs/{job_id}/return"
        return converted(self._ask("POST", path, f"job {job_id}", json=body), Returned)

    def _ask(self, method: str, path: str, what: str, *, json: object = None) -> object:
        """Return decoded JSON, for the callers above to convert."""
        answer: object = accept(self._http.request(method, path, json=json), what=what)
        return answer
