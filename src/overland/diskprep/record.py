"""The local record of disk preparation: what was done, so that a kill costs nothing.

One folder per import job, replaced document by document, each durably:

    <seed id>/record.json            drives, import job, shipping entries
    <seed id>/custody.jsonl          who held which drive (`overland.seeding.ledger`)
    <seed id>/read-back/<number>/…   digests of what was read back from an unfinished drive
    <seed id>/packing-list.txt       what belongs in the parcel
    <seed id>/top-up-<number>/…      the same of a later job, for what the ones before did not bring
    copy-computer.key                the key that signs the drives of this computer
"""

import array
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.errors import IntegrityError, ObjectAbsent
from overland.format.stored import UNREADABLE
from overland.ports.files import Files

__all__ = [
    "DriveRecord",
    "DriveState",
    "JobRecord",
    "Preparation",
    "PreparationDamaged",
    "Preparations",
    "ReturnAddress",
    "ReturnShipping",
    "ShippingEntry",
    "ShippingForm",
    "camel_fields",
    "runs_of",
]

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_KEY: Final = "copy-computer.key"
_RECORD: Final = re.compile(r"([0-9a-f-]{36})/(?:top-up-([1-9][0-9]{0,2})/)?record\.json")


class PreparationDamaged(IntegrityError):
    """A file of the local record is not what this program wrote."""

    code = "preparation-damaged"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(
            f"the local record {name} is damaged: {check}; keep it, move the folder away, and "
            "prepare the drives again"
        )
        self.name, self.check = name, check


class DriveState(StrEnum):
    """How far one drive is."""

    COPYING = "copying"
    READING = "reading back"
    SEALED = "sealed"
    GIVEN_UP = "given up"


class DriveRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One drive: which objects are its own, as runs of positions in the seed manifest."""

    serial: str
    path: str
    sequence: int
    state: DriveState
    capacity_bytes: int
    runs: tuple[tuple[int, int], ...]
    object_bytes: int
    manifest_hash: str = ""
    sealed_at: _Instant | None = None

    def numbers(self) -> Iterator[int]:
        """Yield the positions of its objects in the seed manifest, in order."""
        for first, count in self.runs:
            yield from range(first, first + count)

    @property
    def object_count(self) -> int:
        """How many objects are on it."""
        return sum(count for _, count in self.runs)


class JobRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The import job, as the service last told."""

    arm_id: str
    name: str
    location: str
    ship_to: dict[str, str]
    carriers: tuple[str, ...]
    serials: tuple[str, ...]
    created_at: _Instant
    shipped_at: _Instant | None = None


class ReturnAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the drives go back to; the names are those of the service."""

    recipient_name: str = ""
    street_address1: str = ""
    street_address2: str = ""
    city: str = ""
    state_or_province: str = ""
    postal_code: str = ""
    country_or_region: str = ""
    phone: str = ""
    email: str = ""


class ReturnShipping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who carries the drives back, and at whose cost."""

    carrier_name: str = ""
    carrier_account_number: str = ""


class ShippingForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator typed about the parcel."""

    carrier: str = ""
    tracking_number: str = ""
    return_address: ReturnAddress = ReturnAddress()
    return_shipping: ReturnShipping = ReturnShipping()


class ShippingEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shipping form, when it was typed, and whether the service has it (R98, R101)."""

    at: _Instant
    committed: bool
    form: ShippingForm


class Preparation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything this computer did for one import job of a seed.

    The first job brings the whole seed.  A top-up brings the objects of `runs` only, which are
    places in the seed's manifest; `replaces` are the drives on their way that it makes up for.
    """

    format_version: Literal[1] = 1
    seed_id: str
    job_name: str
    staging: str
    subscription_id: str
    storage_account: str
    container: str
    seed_manifest_sha256: str
    object_count: int
    object_bytes: int
    started_at: _Instant
    publish_settings: str = ""  # where the file was the last time; its content is not kept
    drives: tuple[DriveRecord, ...] = ()
    job: JobRecord | None = None
    shipping: tuple[ShippingEntry, ...] = ()
    top_up: int = 0
    runs: tuple[tuple[int, int], ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where the record of the job is, in the folder of all."""
        return f"{self.seed_id}/top-up-{self.top_up}" if self.top_up else self.seed_id

    def wanted(self) -> Iterator[int]:
        """Yield the positions of the objects that the job has to bring, in order."""
        for first, count in self.runs if self.top_up else ((0, self.object_count),):
            yield from range(first, first + count)

    def drive(self, serial: str) -> DriveRecord | None:
        """Return the drive of that serial, unless it was given up."""
        for drive in self.drives:
            if drive.serial == serial and drive.state is not DriveState.GIVEN_UP:
                return drive
        return None

    def sealed(self) -> list[DriveRecord]:
        """Return the finished drives, in the order they were begun."""
        return [drive for drive in self.drives if drive.state is DriveState.SEALED]

    def waiting(self) -> "array.array[int]":
        """Return the positions of the objects that no finished or begun drive has, in order."""
        return self.not_on(d for d in self.drives if d.state is not DriveState.GIVEN_UP)

    def not_on(self, drives: Iterable[DriveRecord]) -> "array.array[int]":
        """Return the positions of the objects to bring that none of the drives has, in order.

        Takes 5 bytes of memory for each object of the seed.
        """
        runs = [run for drive in drives for run in drive.runs]
        wanted = self.runs if self.top_up else ((0, self.object_count),)
        placed = bytearray(max((first + count for first, count in (*runs, *wanted)), default=0))
        for first, count in runs:
            placed[first : first + count] = b"\x01" * count
        return array.array("I", (number for number in self.wanted() if not placed[number]))

    def is_complete(self) -> bool:
        """Return whether every object that the job has to bring is on a finished drive."""
        return sum(drive.object_count for drive in self.sealed()) == self.object_count

    def with_drive(self, drive: DriveRecord) -> "Preparation":
        """Return the record with `drive` added, or replaced at its sequence number."""
        others = tuple(each for each in self.drives if each.sequence != drive.sequence)
        drives = tuple(sorted((*others, drive), key=lambda each: each.sequence))
        return msgspec.structs.replace(self, drives=drives)

    def form(self) -> ShippingForm:
        """Return what was typed last, to begin with the next time."""
        return self.shipping[-1].form if self.shipping else ShippingForm()


def camel_fields(value: ReturnAddress | ReturnShipping) -> dict[str, str]:
    """Return an address or a return carrier as the service names its fields."""
    return {_camel(field): getattr(value, field) for field in value.__struct_fields__}


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)


def runs_of(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return ascending `numbers` as runs of (first, count)."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            assert not runs or number > runs[-1][0] + runs[-1][1], "numbers ascend"
            runs.append((number, 1))
    return tuple(runs)


class Preparations:
    """The records of all seeds that were prepared on this computer, in one folder."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def newest(self, seed_id: str) -> Preparation | None:
        """Return the record of a seed's last job, or None if nothing was prepared for it here.

        Raises:
            PreparationDamaged: A record of the seed cannot be read.
        """
        names = [info.name for info in self.files.names(f"{seed_id}/")]
        folders = [name.removesuffix("/record.json") for name in names if _RECORD.fullmatch(name)]
        found = [each for each in map(self.find, folders) if each is not None]
        return max(found, key=lambda each: each.top_up, default=None)

    def before(self, top_up: Preparation) -> Preparation | None:
        """Return the record of the job before a top-up, if it was prepared here.

        Raises:
            PreparationDamaged: There is a file, and it cannot be read.
        """
        assert top_up.top_up, "there is none before the first"
        return self.find(msgspec.structs.replace(top_up, top_up=top_up.top_up - 1).folder)

    def find(self, folder: str) -> Preparation | None:
        """Return the record in a folder, or None if nothing was prepared there.

        Raises:
            PreparationDamaged: There is a file, and it cannot be read.
        """
        name = f"{folder}/record.json"
        try:
            document = self.files.read(name)
        except ObjectAbsent:
            return None
        try:
            return msgspec.json.decode(document, type=Preparation)
        except UNREADABLE as error:
            raise PreparationDamaged(name, check=str(error)) from None

    def all(self) -> list[Preparation]:
        """Return all records, oldest first.

        Raises:
            PreparationDamaged: One of them cannot be read.
        """
        names = [info.name for info in self.files.names() if _RECORD.fullmatch(info.name)]
        found = [self.find(name.removesuffix("/record.json")) for name in names]
        return sorted((each for each in found if each), key=lambda each: each.started_at)

    def save(self, preparation: Preparation) -> None:
        """Store a record, durably, in place of its earlier form."""
        document = msgspec.json.format(msgspec.json.encode(preparation)) + b"\n"
        self.files.write(f"{preparation.folder}/record.json", document)

    def signing_key(self, random: Callable[[int], bytes]) -> Secret:
        """Return the key that signs this computer's drives; made with `random` the first time.

        It is durable before it is returned.

        Raises:
            PreparationDamaged: The file holds no key.
        """
        try:
            return Secret(bytes.fromhex(self.files.read(_KEY).decode("ascii")))
        except ObjectAbsent:
            key = sign.generate_signing_key(random)
            self.files.write(_KEY, key.reveal().hex().encode("ascii"))
            return key
        except ValueError:
            raise PreparationDamaged(_KEY, check="it is not a key") from None
