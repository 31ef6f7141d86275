"""The shipping wizard: carrier, tracking number, return address; nothing is sent before `yes`.

Entries are kept in the local record as they are typed, with history, so that stopping half way
loses nothing (R86, R98, R101).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from overland.diskprep.import_service import ImportService, JobAnswer
from overland.diskprep.prepare import Workbench
from overland.diskprep.record import JobRecord, Preparation, ShippingEntry, ShippingForm
from overland.errors import ObjectAbsent, RefusedError

__all__ = [
    "FORM",
    "FormField",
    "NoJobYet",
    "ShippingIncomplete",
    "TrackingNumberReused",
    "commit",
    "keep",
    "missing_fields",
    "review",
]

_TRACKING: Final = re.compile(r"[A-Za-z0-9-]{4,64}")
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_PHONE: Final = re.compile(r"(?=(?:\D*\d){5,20}\D*$)\+?[0-9 ()/.-]+")
_POSTAL: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9 -]{3,10}")
_COUNTRY: Final = re.compile(r"[^\W\d_][^\d_\x00-\x1f]{1,63}")
_ACCOUNT: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9 -]{1,64}")
_LINE: Final = re.compile(r"(?=.*\S)[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,128}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One entry of the shipping form: its name for people, and the rule that it keeps.

    `part` and `name` say where it lies in a `ShippingForm`; `part` is empty for the form itself.
    """

    part: Literal["", "return_address", "return_shipping"]
    name: str
    title: str
    rule: re.Pattern[str]
    advice: str
    optional: bool = False

    def value(self, form: ShippingForm) -> str:
        """Return what the form says."""
        holder = getattr(form, self.part) if self.part else form
        return str(getattr(holder, self.name))

    def accepts(self, text: str) -> bool:
        """Return whether the text keeps the rule; an optional entry may be empty."""
        return self.rule.fullmatch(text) is not None if text else self.optional

    def put(self, form: ShippingForm, text: str) -> ShippingForm:
        """Return the form with this entry."""
        if not self.part:
            return msgspec.structs.replace(form, **{self.name: text})
        part = msgspec.structs.replace(getattr(form, self.part), **{self.name: text})
        return msgspec.structs.replace(form, **{self.part: part})


def _field(
    part: Literal["", "return_address", "return_shipping"],
    name: str,
    title: str,
    rule: re.Pattern[str],
    advice: str,
    *,
    optional: bool = False,
) -> FormField:
    return FormField(part=part, name=name, title=title, rule=rule, advice=advice, optional=optional)


_ONE_LINE: Final = "one line of up to 128 printable characters"
FORM: Final = (
    _field("", "carrier", "Carrier", _LINE, _ONE_LINE),
    _field("", "tracking_number", "Tracking number", _TRACKING, "4 to 64 letters, digits, hyphens"),
    _field("return_address", "recipient_name", "Return address: name", _LINE, _ONE_LINE),
    _field("return_address", "street_address1", "Return address: street", _LINE, _ONE_LINE),
    _field(
        "return_address",
        "street_address2",
        "Return address: line 2",
        _LINE,
        _ONE_LINE,
        optional=True,
    ),
    _field(
        "return_address",
        "postal_code",
        "Return address: postal code",
        _POSTAL,
        "3 to 10 letters, digits, blanks, hyphens",
    ),
    _field("return_address", "city", "Return address: city", _LINE, _ONE_LINE),
    _field(
        "return_address",
        "state_or_province",
        "Return address: state",
        _LINE,
        _ONE_LINE,
        optional=True,
    ),
    _field(
        "return_address",
        "country_or_region",
        "Return address: country",
        _COUNTRY,
        "a country's name, or its two-letter code",
    ),
    _field(
        "return_address",
        "phone",
        "Return address: phone",
        _PHONE,
        "5 to 20 digits, with +, blanks, brackets, dots, hyphens as you like",
    ),
    _field("return_address", "email", "Return address: e-mail", _EMAIL, "such as you@example.org"),
    _field("return_shipping", "carrier_name", "Return carrier", _LINE, _ONE_LINE),
    _field(
        "return_shipping",
        "carrier_account_number",
        "Return carrier account number",
        _ACCOUNT,
        "up to 64 letters, digits, hyphens",
    ),
)
"""The entries, in the order in which they are asked for (R87, R96, R102)."""


def missing_fields(form: ShippingForm) -> list[str]:
    """Return what still has to be typed or corrected, with its rule; empty when all is well."""
    return [
        f"{field.title.lower()} ({field.advice})"
        for field in FORM
        if not field.accepts(field.value(form))
    ]


def review(preparation: Preparation, form: ShippingForm) -> str:
    """Return everything that would be sent, for the operator to check (R87, R97)."""
    address, back = form.return_address, form.return_shipping
    job = preparation.job
    prepared = [drive.serial for drive in preparation.sealed()]
    place = " ".join(part for part in (address.postal_code, address.city) if part)
    lines = [
        ("Import job", preparation.job_name),
        ("Drives", ", ".join(job.serials if job else prepared)),
        ("Storage account", preparation.storage_account),
        ("Resource group", job.arm_id.split("/")[4] if job else ""),
        ("Region", job.location if job else ""),
        ("Carrier", form.carrier),
        ("Tracking number", form.tracking_number),
        *_block("Ship to", job.ship_to.values() if job else ()),
        ("Carriers there", ", ".join(job.carriers) if job else ""),
        *_block(
            "Return to",
            (
                address.recipient_name,
                address.street_address1,
                address.street_address2,
                " ".join(part for part in (place, address.state_or_province) if part),
            ),
        ),
        ("Country", address.country_or_region),
        ("Phone", address.phone),
        ("E-mail", address.email),
        ("Return carrier", f"{back.carrier_name}, account {back.carrier_account_number}"),
    ]
    return "\n".join(f"{name:<16} {text}" for name, text in lines if text)


def _block(title: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    present = [text for text in texts if text.strip()]
    return [(title if number == 0 else "", text) for number, text in enumerate(present)]


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
    ledger = bench.ledger(preparation)
    details = {"carrier": form.carrier, "tracking_number": form.tracking_number}
    for serial in job.serials:
        ledger.append("handed over", drive=serial, by=bench.operator, details=details)
    shipped_at = job.shipped_at or bench.clock.now()
    shipped = msgspec.structs.replace(job, shipped_at=shipped_at)
    return _store(msgspec.structs.replace(preparation, job=shipped), form, bench, committed=True)


def _refuse_reuse(preparation: Preparation, form: ShippingForm, bench: Workbench) -> None:
    for other in bench.preparations.all():
        numbers = {entry.form.tracking_number for entry in other.shipping if entry.committed}
        if other.folder != preparation.folder and form.tracking_number in numbers:
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
