"""An object of a drive as a row of the station's table, and back."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from overland.format.copy_log import BlobStatus, DispositionStatus, PartStatus, SideStatus
from overland.station.items import DriveKey, Item, Place, Verdict, pack_blob, unpack_blob

__all__ = ["item_row", "place_columns", "read_item"]

_PARTS: Final = msgspec.msgpack.Decoder(tuple[PartStatus, ...] | PartStatus)


def item_row(key: DriveKey, item: Item) -> dict[str, object]:
    """Return the row of an object whose import is open."""
    return {
        "job_id": key.job_id,
        "serial": key.serial,
        "number": item.number,
        "name": item.name,
        "size_bytes": item.size_bytes,
        "sha256": item.sha256,
        "blob": pack_blob(item.blob),
    }


def place_columns(place: Place | None) -> dict[str, str | None]:
    """Return the columns that say where a blob goes."""
    if place is None:
        return {"place": None, "disposition": None}
    return {"place": place.name, "disposition": place.disposition.value}


def read_item(row: Mapping[Any, Any]) -> Item:
    """Return the object of a row, as SQLAlchemy gives rows: of any types."""
    verdict = place = None
    if row["place"] is not None:
        place = Place(name=row["place"], disposition=DispositionStatus(row["disposition"]))
    if row["verdict"] is not None:
        metadata, properties = row["metadata_status"], row["properties_status"]
        verdict = Verdict(
            status=BlobStatus(row["verdict"]),
            parts=_PARTS.decode(row["parts"]),
            place=place,
            metadata=None if metadata is None else SideStatus(metadata),
            properties=None if properties is None else SideStatus(properties),
        )
    return Item(
        number=row["number"],
        name=row["name"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        blob=unpack_blob(row["blob"], size_bytes=row["size_bytes"]),
        verdict=verdict,
        place=place,
    )
