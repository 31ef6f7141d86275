"""The shipping form on the command line and at the terminal."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import msgspec

from overland.cli.outcome import ask, is_interactive, note
from overland.diskprep.record import ShippingForm
from overland.diskprep.ship import FORM, FormField, missing_fields

__all__ = ["asked", "form_options", "with_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature

_OPTIONS: Final = (
    click.option("--carrier", help="Who carries the parcel, such as FedEx."),
    click.option("--tracking-number", help="The carrier's number of the parcel."),
    click.option("--return-name", help="Who receives the drives when they come back."),
    click.option("--return-street", help="Street and number."),
    click.option("--return-street2", help="Second line of the street."),
    click.option("--return-city", help="City."),
    click.option("--return-state", help="State or province."),
    click.option("--return-postal-code", help="Postal code."),
    click.option("--return-country", help="Country or region."),
    click.option("--return-phone", help="Phone number."),
    click.option("--return-email", help="E-mail address."),
    click.option("--return-carrier", help="Who carries the drives back."),
    click.option("--return-account", help="Your account number with that carrier."),
)


def form_options(function: _Function) -> _Function:
    """Add one option per entry of the form to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def with_options(form: ShippingForm, options: dict[str, Any]) -> ShippingForm:
    """Return the form with what the command line gives in place of what was typed before."""
    address = {
        "recipient_name": options["return_name"],
        "street_address1": options["return_street"],
        "street_address2": options["return_street2"],
        "city": options["return_city"],
        "state_or_province": options["return_state"],
        "postal_code": options["return_postal_code"],
        "country_or_region": options["return_country"],
        "phone": options["return_phone"],
        "email": options["return_email"],
    }
    back = {
        "carrier_name": options["return_carrier"],
        "carrier_account_number": options["return_account"],
    }
    return ShippingForm(
        carrier=options["carrier"] or form.carrier,
        tracking_number=options["tracking_number"] or form.tracking_number,
        return_address=msgspec.structs.replace(form.return_address, **_given(address)),
        return_shipping=msgspec.structs.replace(form.return_shipping, **_given(back)),
    )


def _given(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def asked(
    form: ShippingForm, keep: Callable[[ShippingForm], object], *, again: bool = False
) -> ShippingForm:
    """Return the form with every entry confirmed or typed, where somebody can answer.

    A complete form is asked for only `again`.  What was typed before is the default.  Each answer
    goes to `keep` at once, so that stopping at any question loses none of those before it.
    """
    if not is_interactive() or not (again or missing_fields(form)):
        return form
    for field in FORM:
        typed = _answer(field, field.value(form))
        if typed != field.value(form):
            form = field.put(form, typed)
            keep(form)
    return form


def _answer(field: FormField, known: str) -> str:
    """Ask until the answer keeps the field's rule."""
    default = known if known or field.optional else None
    while True:
        typed = ask(field.title, option="the options of `overland disk ship`", default=default)
        if field.accepts(typed):
            return typed
        note(f"  {field.title} needs {field.advice}")
