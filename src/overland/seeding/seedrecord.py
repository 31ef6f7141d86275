"""`seed.json`: the open record of a seed in its staging location, written before all else."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.format.stored import UNREADABLE
from overland.ports.files import Files

__all__ = [
    "FORMAT_VERSION",
    "SeedFormatUnknown",
    "SeedRecord",
    "SeedRecordInvalid",
    "read_record",
    "seed_folder",
    "write_record",
]

RECORD: Final = "seed.json"
FORMAT_VERSION: Final = 1
"""The newest version of the staging and drive format that this program reads and writes."""


class SeedFormatUnknown(RefusedError):
    """A newer program wrote this seed (R6)."""

    code = "seed-format-unknown"

    def __init__(self, name: str, *, found: object) -> None:
        super().__init__(
            f"{name} has format version {found}, and this program knows version {FORMAT_VERSION}; "
            "use the version of overland that runs on the source computer"
        )
        self.found = found


class SeedRecordInvalid(IntegrityError):
    """`seed.json`, or the manifest beside it, is not what the agent wrote."""

    code = "seed-record-invalid"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is damaged: {check}; abandon the seed and stage it again")
        self.name, self.check = name, check


class SeedRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`seed.json`: whose seed this is and where it goes.  Open to read; holds no secret."""

    format_version: Literal[1] = 1
    seed_id: str
    repository_id: str
    job_name: str
    subscription_id: str
    storage_account: str
    container: str
    policy: str
    source_computer: str
    created_at: datetime


def seed_folder(seed_id: str) -> str:
    """Return the name of a seed's folder, in a staging location, on a drive, in a container."""
    return f"seed-{seed_id}"


def read_record(seed: Files, seed_id: str) -> SeedRecord | None:
    """Return the record in a seed's folder, or None if it is absent.

    Raises:
        SeedFormatUnknown: A newer program wrote it.
        SeedRecordInvalid: It is damaged.
    """
    name = f"{seed_folder(seed_id)}/{RECORD}"
    try:
        document = seed.read(RECORD)
    except ObjectAbsent:
        return None
    try:
        version = msgspec.json.decode(document, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise SeedFormatUnknown(name, found=version)
        record = msgspec.json.decode(document, type=SeedRecord)
    except UNREADABLE as error:
        raise SeedRecordInvalid(name, check=str(error)) from None
    if record.seed_id != seed_id:
        raise SeedRecordInvalid(name, check="it names another seed than its folder")
    return record


def write_record(seed: Files, record: SeedRecord) -> None:
    """Write the record into a seed's folder, durably."""
    seed.write(RECORD, msgspec.json.format(msgspec.json.encode(record)) + b"\n")


class _Version(msgspec.Struct):
    """The one field that every version of `seed.json` has."""

    format_version: int
