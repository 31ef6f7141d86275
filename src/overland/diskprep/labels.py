"""What is printed for a parcel: the packing list that lies in it, and the label on it."""

from urllib.parse import quote

from overland.diskprep.record import Preparation
from overland.diskprep.submit import packing_list
from overland.ports.labels import Sheet

__all__ = ["code_text", "label_text", "packing_sheet", "shipping_sheet"]


def code_text(preparation: Preparation) -> str:
    """Return what the QR code says: `overland:import-job?` and fields, percent-encoded.

    `name` and `seed` of the job, one `drive` per serial, and `tracking` when it is known.
    """
    job = preparation.job
    serials = job.serials if job else tuple(drive.serial for drive in preparation.sealed())
    fields = [("name", preparation.job_name), ("seed", preparation.seed_id)]
    fields += [("drive", serial) for serial in serials]
    number = preparation.form().tracking_number
    fields += [("tracking", number)] if number else []
    return "overland:import-job?" + "&".join(
        f"{name}={quote(value, safe='')}" for name, value in fields
    )


def packing_sheet(preparation: Preparation) -> Sheet:
    """Return the packing list (R90)."""
    return Sheet(
        title="Packing list",
        lines=tuple(packing_list(preparation).splitlines()),
        code=code_text(preparation),
    )


def shipping_sheet(preparation: Preparation) -> Sheet:
    """Return the label: where the parcel goes, whose it is, and what number it has."""
    job, form = preparation.job, preparation.form()
    assert job is not None, "a label is made when the address is known"
    back = form.return_address
    sender = (
        back.recipient_name,
        back.street_address1,
        back.street_address2,
        " ".join(part for part in (back.postal_code, back.city, back.state_or_province) if part),
        back.country_or_region,
    )
    lines = ["To"]
    lines += [f"  {line}" for line in job.ship_to.values() if line.strip()]
    if any(sender):
        lines += ["", "From", *(f"  {line}" for line in sender if line.strip())]
    lines += ["", f"Import job   {preparation.job_name}"]
    lines += [f"Drives       {len(job.serials)}: {', '.join(job.serials)}"]
    if form.tracking_number:
        lines += [f"Tracking     {form.carrier} {form.tracking_number}"]
    return Sheet(
        title="Import drives",
        lines=tuple(lines),
        code=code_text(preparation),
        is_label=True,
    )


def label_text(sheet: Sheet) -> str:
    """Return a sheet as text, for a computer that cannot make PDF."""
    return "\n".join([sheet.title, "", *sheet.lines, "", sheet.code]) + "\n"
