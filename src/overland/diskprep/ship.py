"""The shipping wizard: carrier, tracking number, return address; nothing is sent before `yes`.

Entries are kept in the local record as they are typed, with history, so that stopping half way
loses nothing (R86, R98, R101).
"""

import re
from typing import Final

import msgspec

from overland.diskprep.import_service import ImportService, JobAnswer
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import JobRecord, Preparation, ShippingEntry, ShippingForm
from overland.errors import ObjectAbsent, RefusedError

__all__ = [
    "NoJobYet",
    "ShippingIncomplete",
    "TrackingNumberReused",
    "commit",
    "keep",
    "missing_fields",
    "review",
]

_TRACKING: Final = re.compile(r"[A-Za-z0-9-]{4,64}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


class NoJobYet(RefusedError):
    """There is no import job that could be shipped."""

    code = "no-job-yet"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"import job {name} does not exist yet; run `overland disk prepare` to finish the "
            "drives and create it"
        )
        self.name = name


class ShippingIncomplete(RefusedError):
    """Required entries are missing or malformed (R96)."""

    code = "shipping-incomplete"

    def __init__(self, fields: list[str]) -> None:
        super().__init__(f"the shipping information needs: {', '.join(fields)}; nothing was sent")
        self.fields = fields


class TrackingNumberReused(RefusedError):
    """The tracking number belongs to another import job that was shipped from here (R93)."""

    code = "tracking-number-reused"

    def __init__(self, number: str, *, job_name: str) -> None:
        super().__init__(
            f"tracking number {number} belongs to import job {job_name}; each job travels in its "
            "own parcel with its own number"
        )
        self.number, self.job_name = number, job_name


def missing_fields(form: ShippingForm) -> list[str]:
    """Return what still has to be typed, in the words of the form; empty when it is complete."""
    address, back = form.return_address, form.return_shipping
    required = {
        "carrier": form.carrier,
        "tracking number (4 to 64 letters, digits and hyphens)": (
            _TRACKING.fullmatch(form.tracking_number)
        ),
        "return address: name": address.recipient_name,
        "return address: street": address.street_address1,
        "return address: city": address.city,
        "return address: postal code": address.postal_code,
        "return address: country": address.country_or_region,
        "return address: phone": address.phone,
        "return address: e-mail": _EMAIL.fullmatch(address.email),
        "return carrier": back.carrier_name,
        "return carrier account number": back.carrier_account_number,
    }
    return [name for name, value in required.items() if not value]


def review(preparation: Preparation, form: ShippingForm) -> str:
    """Return everything that would be sent, for the operator to check (R97)."""
    address, back = form.return_address, form.return_shipping
    prepared = [drive.serial for drive in preparation.sealed()]
    drives = ", ".join(preparation.job.serials if preparation.job else prepared)
    place = " ".join(part for part in (address.postal_code, address.city) if part)
    lines = {
        "Import job": preparation.job_name,
        "Drives": drives,
        "Carrier": form.carrier,
        "Tracking number": form.tracking_number,
        "Return to": address.recipient_name,
        "": address.street_address1,
        " ": address.street_address2,
        "  ": " ".join(part for part in (place, address.state_or_province) if part),
        "   ": address.country_or_region,
        "Phone": address.phone,
        "E-mail": address.email,
        "Return carrier": f"{back.carrier_name}, account {back.carrier_account_number}",
    }
    return "\n".join(f"{name.strip():<16} {text}" for name, text in lines.items() if text)


def keep(preparation: Preparation, form: ShippingForm, bench: Workbench) -> Preparation:
    """Store what was typed, without sending it; typing the same again adds nothing."""
    if preparation.shipping and preparation.shipping[-1].form == form:
        return preparation
    return _store(preparation, form, bench, committed=False)


def commit(
    preparation: Preparation, form: ShippingForm, bench: Workbench, service: ImportService
) -> Preparation:
    """Tell the service that the parcel is on its way, or correct what it was told before.

    Raises:
        ShippingIncomplete: Entries are missing.
        NoJobYet: There is no import job, here or at the service.
        TrackingNumberReused: Another job shipped from here has the number.
        RefusedByCloud: The service refuses; another job has the number, or the parcel has arrived.
        Unreachable: The service did not answer; the entries are kept.
    """
    if missing := missing_fields(form):
        raise ShippingIncomplete(missing)
    job = preparation.job
    if job is None:
        raise NoJobYet(preparation.job_name)
    _refuse_reuse(preparation, form, bench)
    kept = keep(preparation, form, bench)
    first = job.shipped_at is None and _state(service, job) == "Creating"
    try:
        service.ship(job.arm_id, form, drive_count=len(job.serials), first=first)
    except ObjectAbsent:
        raise NoJobYet(job.name) from None
    return _shipped(kept, form, job, bench)


def _shipped(
    preparation: Preparation, form: ShippingForm, job: JobRecord, bench: Workbench
) -> Preparation:
    ledger = bench.ledger(preparation.seed_id)
    details = {"carrier": form.carrier, "tracking_number": form.tracking_number}
    for serial in job.serials:
        ledger.append("handed over", drive=serial, by=bench.operator, details=details)
    shipped_at = job.shipped_at or bench.clock.now()
    shipped = msgspec.structs.replace(job, shipped_at=shipped_at)
    return _store(msgspec.structs.replace(preparation, job=shipped), form, bench, committed=True)


def _refuse_reuse(preparation: Preparation, form: ShippingForm, bench: Workbench) -> None:
    for other in bench.preparations.all():
        numbers = {entry.form.tracking_number for entry in other.shipping if entry.committed}
        if other.seed_id != preparation.seed_id and form.tracking_number in numbers:
            raise TrackingNumberReused(form.tracking_number, job_name=other.job_name)


def _state(service: ImportService, job: JobRecord) -> str:
    found: JobAnswer | None = service.job(job.arm_id)
    if found is None:
        raise NoJobYet(job.name)
    return found.properties.state


def _store(
    preparation: Preparation, form: ShippingForm, bench: Workbench, *, committed: bool
) -> Preparation:
    entry = ShippingEntry(at=bench.clock.now(), committed=committed, form=form)
    stored = msgspec.structs.replace(preparation, shipping=(*preparation.shipping, entry))
    bench.preparations.save(stored)
    return stored
