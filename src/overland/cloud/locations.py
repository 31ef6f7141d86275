"""Where drives can be shipped: regions from our own data file, one dock from the settings.

A self-hosted installation has one dock, so every region shows its address.  Which regions stand
in for which is as the documented service had it in April 2020.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from overland.cloud.refusals import Invalid, ResourceAbsent

__all__ = ["UNSET_DOCK", "Dock", "Location", "all_locations", "dock_from_text", "find_location"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dock:
    """The address that parcels go to."""

    recipient: str
    street: str
    city: str
    postal_code: str
    country: str
    state: str = ""
    phone: str = ""


UNSET_DOCK: Final = Dock(
    recipient="No address set: ask the operator of this cloud (overland cloud init --dock)",
    street=" ",
    city=" ",
    postal_code=" ",
    country=" ",
)
"""Shown until the operator sets an address: an instruction in place of one."""


class Location(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One region: its short id, what people call it, and who may carry parcels there."""

    id: str
    name: str
    carriers: tuple[str, ...]
    alternates: tuple[str, ...]


@cache
def all_locations() -> tuple[Location, ...]:
    """Return all regions, sorted by id."""
    data = resources.files("overland.cloud").joinpath("locations.json").read_bytes()
    found = msgspec.json.decode(data, type=tuple[Location, ...])
    return tuple(sorted(found, key=lambda each: each.id))


def find_location(name: str) -> Location:
    """Return the region with this id or display name; case and blanks do not count.

    Raises:
        ResourceAbsent: There is none.
    """
    wanted = "".join(name.split()).casefold()
    for each in all_locations():
        if each.id == wanted:
            return each
    raise ResourceAbsent(f"location {name}")


def dock_from_text(text: str) -> Dock:
    """Return the dock from `recipient; street; city; postal code; country[; phone]`.

    Raises:
        Invalid: A part is missing.
    """
    parts = [part.strip() for part in text.split(";")]
    if len(parts) not in (5, 6) or not all(parts):
        raise Invalid("dock", "give `recipient; street; city; postal code; country[; phone]`")
    names = ("recipient", "street", "city", "postal_code", "country", "phone")
    return Dock(**dict(zip(names, parts, strict=False)))
