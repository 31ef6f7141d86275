"""What disk preparation says to the import service; the wire is `Microsoft.ImportExport`.

Answers become values here and nowhere else.  Absent, refused, not authorised and unreachable stay
four different errors (`overland.ports.http.accept`).  Fields that this program does not use are
ignored.
"""

from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from overland.diskprep.record import ShippingForm, camel_fields
from overland.errors import ObjectAbsent, OverlandError, RefusedError
from overland.ports.http import Http, accept

__all__ = [
    "AnswerNotUnderstood",
    "DriveAnswer",
    "ImportService",
    "JobAnswer",
    "JobProperties",
    "LocationAnswer",
    "MissingAnswer",
    "NoShippingLocation",
    "SeedAnswer",
    "StorageAccountAbsent",
    "StorageAccountAnswer",
]

API_VERSION: Final = "2021-01-01"
_Kind = TypeVar("_Kind")
_LOCATIONS_MAX: Final = 32  # alternates that are tried before the answer counts as a circle


class StorageAccountAbsent(RefusedError):
    """The subscription has no storage account of that name (R16)."""

    code = "storage-account-absent"

    def __init__(self, subscription_id: str, name: str) -> None:
        super().__init__(
            f"subscription {subscription_id} has no storage account {name}; create it there, or "
            "use the publish settings file of the subscription that holds it"
        )
        self.subscription_id, self.name = subscription_id, name


class AnswerNotUnderstood(OverlandError):
    """The service answered, but not as the documented import service does."""

    code = "answer-not-understood"

    def __init__(self, what: str, *, why: str) -> None:
        super().__init__(
            f"the answer about {what} is not that of an import service ({why}); check the "
            "endpoint in the publish settings file"
        )
        self.what, self.why = what, why


class NoShippingLocation(RefusedError):
    """No place accepts drives for the region of the storage account."""

    code = "no-shipping-location"

    def __init__(self, region: str) -> None:
        super().__init__(
            f"no place accepts drives for the region {region}; ask the provider where to ship"
        )
        self.region = region


class StorageAccountAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A storage account of the subscription."""

    id: str
    name: str
    location: str = ""

    @property
    def resource_group(self) -> str:
        """The resource group, from the id."""
        return self.id.split("/")[4]


class _StorageAccounts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    value: list[StorageAccountAnswer]
    next_link: str | None = None


class LocationProperties(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A place that accepts drives: its address, and who delivers there."""

    recipient_name: str = ""
    street_address1: str = ""
    street_address2: str = ""
    city: str = ""
    state_or_province: str = ""
    postal_code: str = ""
    country_or_region: str = ""
    phone: str = ""
    additional_shipping_information: str = ""
    supported_carriers: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()


class LocationAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A location of the import service."""

    id: str
    name: str
    properties: LocationProperties

    @property
    def short_name(self) -> str:
        """The name that is used in requests, such as `westeurope`."""
        return self.id.rpartition("/")[2]


class DriveAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One drive of a job, as the service sees it."""

    drive_id: str
    manifest_hash: str = ""
    state: str = "Specified"
    percent_complete: int | None = None
    bytes_succeeded: int | None = None
    copy_status: str | None = None
    error_log_uri: str | None = None
    verbose_log_uri: str | None = None


class DeliveryPackage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The parcel to the datacenter."""

    carrier_name: str
    tracking_number: str


class JobProperties(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of a job."""

    state: str = "Creating"
    percent_complete: int | None = None
    cancel_requested: bool = False
    drive_list: tuple[DriveAnswer, ...] = ()
    shipping_information: dict[str, str | None] = {}
    delivery_package: DeliveryPackage | None = None


class JobAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An import job."""

    id: str
    name: str
    location: str = ""
    tags: dict[str, str] | None = None
    properties: JobProperties


class SeedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A seed, as the cloud knows it: the import job that it follows, and where it is."""

    state: str
    job_name: str


class MissingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What of a seed has not arrived, as runs of (first place in its manifest, how many)."""

    manifest_sha256: str
    runs: tuple[tuple[int, int], ...]


class ImportService:
    """The import service, with leave for one subscription.

    Every request raises what `ports.http.accept` makes of a refusal, `Unreachable` where nobody
    answers, and `AnswerNotUnderstood` for an answer of another form.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def storage_account(self, subscription_id: str, name: str) -> StorageAccountAnswer:
        """Return the storage account of that name.

        Raises:
            StorageAccountAbsent: The subscription does not have it.
        """
        path = _subscription(subscription_id) + "/providers/Microsoft.Storage/storageAccounts"
        what = f"subscription {subscription_id}"
        for account in self._ask(_StorageAccounts, "GET", path, what).value:
            if account.name.lower() == name.lower():
                return account
        raise StorageAccountAbsent(subscription_id, name)

    def shipping_location(self, region: str) -> LocationAnswer:
        """Return where drives for a storage account in `region` are sent.

        A location that does not name itself among its alternates takes no parcels; one of those
        that it names does.

        Raises:
            NoShippingLocation: None of them takes parcels, or the region is unknown.
        """
        waiting, seen = [region], set[str]()
        while waiting and len(seen) < _LOCATIONS_MAX:
            location = self._location(waiting.pop(0))
            if location is None or location.short_name in seen:
                continue
            seen.add(location.short_name)
            others = [each.rpartition("/")[2] for each in location.properties.alternate_locations]
            if not others or location.short_name in others:
                return location
            waiting += others
        raise NoShippingLocation(region)

    def job(self, path: str) -> JobAnswer | None:
        """Return the job at an ARM path, or None if there is no such job."""
        try:
            return self._ask(JobAnswer, "GET", path, "the import job")
        except ObjectAbsent:
            return None

    def put_job(self, path: str, body: dict[str, object]) -> JobAnswer:
        """Create a job, or replace what an unshipped one says."""
        return self._ask(JobAnswer, "PUT", path, "the import job", json=body)

    def ship(self, path: str, form: ShippingForm, *, drive_count: int, first: bool) -> JobAnswer:
        """Tell the service that the parcel is on its way, or (not `first`) correct what was told.

        Raises:
            RefusedByCloud: The tracking number belongs to another job, or the job's state does not
                allow it.
        """
        properties: dict[str, object] = {
            "returnAddress": camel_fields(form.return_address),
            "returnShipping": camel_fields(form.return_shipping),
            "deliveryPackage": {
                "carrierName": form.carrier,
                "trackingNumber": form.tracking_number,
                "driveCount": drive_count,
            },
        }
        if first:
            properties["state"] = "Shipping"
        body = {"properties": properties}
        return self._ask(JobAnswer, "PATCH", path, "the import job", json=body)

    def seed(self, seed_id: str) -> SeedAnswer | None:
        """Return a seed, or None where it is not known, as in another vendor's service."""
        try:
            return self._seeds(SeedAnswer, seed_id, "the seed")
        except ObjectAbsent:
            return None

    def missing(self, seed_id: str) -> MissingAnswer:
        """Return what of a seed is neither in its container nor in the vault.

        Raises:
            RefusedByCloud: The seed was given up, or is not staged.
            ObjectAbsent: The service knows no such seed.
        """
        return self._seeds(MissingAnswer, f"{seed_id}/missing", "what is missing of the seed")

    def custody(self, job_path: str) -> dict[str, Any]:
        """Return the cloud's signed custody log of a job (`docs/format/custody-v1.md`)."""
        path = f"/v1/custody?job={quote(job_path, safe='')}"
        body = accept(self._http.request("GET", path), what="the custody log")
        if not isinstance(body, dict):
            raise AnswerNotUnderstood("the custody log", why="it is no JSON object")
        return body

    @staticmethod
    def job_path(subscription_id: str, resource_group: str, name: str) -> str:
        """Return the ARM path of a job."""
        group = f"{_subscription(subscription_id)}/resourceGroups/{quote(resource_group, safe='')}"
        return f"{group}/providers/Microsoft.ImportExport/jobs/{quote(name, safe='')}"

    def _location(self, name: str) -> LocationAnswer | None:
        path = f"/providers/Microsoft.ImportExport/locations/{quote(name, safe='')}"
        try:
            return self._ask(LocationAnswer, "GET", path, f"location {name}")
        except ObjectAbsent:
            return None

    def _seeds(self, kind: type[_Kind], path: str, what: str) -> _Kind:
        body = accept(self._http.request("GET", f"/v1/seeds/{path}"), what=what)
        try:
            return msgspec.convert(body, kind)
        except msgspec.ValidationError as error:
            raise AnswerNotUnderstood(what, why=str(error)) from None

    def _ask(
        self, kind: type[_Kind], method: str, path: str, what: str, *, json: object = None
    ) -> _Kind:
        reply = self._http.request(method, f"{path}?api-version={API_VERSION}", json=json)
        body = accept(reply, what=what)
        try:
            return msgspec.convert(body, kind)
        except msgspec.ValidationError as error:
            raise AnswerNotUnderstood(what, why=str(error)) from None


def _subscription(subscription_id: str) -> str:
    return f"/subscriptions/{quote(subscription_id, safe='')}"
