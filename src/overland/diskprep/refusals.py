"""Why disk preparation refuses a drive, a job or a request; each says what to do next."""

from overland.errors import RefusedError, TransientError

__all__ = [
    "AdministratorNeeded",
    "CapacityOverLimit",
    "DriveArrived",
    "DriveChanged",
    "DriveHoldsSource",
    "DriveHoldsStaging",
    "DriveNotBlank",
    "DriveNotFound",
    "DriveNotLocal",
    "DriveOfSystem",
    "DriveRemovable",
    "DriveUnfinished",
    "DrivesMissing",
    "DrivesUnderWay",
    "EraseDeclined",
    "JobDiffers",
    "JobNotCreatedYet",
    "NoPreparation",
    "NoSeedToPrepare",
    "NothingMissing",
    "NothingShipped",
    "SeedGivenUp",
    "SeedReplaced",
    "SeveralPreparations",
    "ShippingDeclined",
    "TooManyDrives",
    "VirtualSource",
]


class NoSeedToPrepare(RefusedError):
    """The staging location holds no complete seed that fits the request (R77)."""

    code = "no-seed-to-prepare"

    def __init__(self, staging: str, *, found: str) -> None:
        super().__init__(
            f"{staging} holds {found}; finish the first backup on the source computer with "
            "`overland backup now`, or name its staging location"
        )
        self.staging, self.found = staging, found


class SeedReplaced(RefusedError):
    """The staged seed is not the one that the drives were begun with."""

    code = "seed-replaced"

    def __init__(self, seed_id: str, *, record: str) -> None:
        super().__init__(
            f"the manifest of seed {seed_id} is another one than the drives were begun with; move "
            f"the local record {record} away to begin again with blank drives"
        )
        self.seed_id = seed_id


class SeedGivenUp(RefusedError):
    """The seed was abandoned, so drives with it bring nothing."""

    code = "seed-given-up"

    def __init__(self, seed_id: str) -> None:
        super().__init__(
            f"seed {seed_id} was abandoned, and no drive is made for it any more; protect its "
            "source with a new policy, and prepare the drives of that one's seed"
        )
        self.seed_id = seed_id


class NoPreparation(RefusedError):
    """No drives were prepared on this computer for what was asked."""

    code = "no-preparation"

    def __init__(self) -> None:
        super().__init__(
            "no drives were prepared here for that; name the staging location with --staging, or "
            "run `overland disk prepare` first"
        )


class SeveralPreparations(RefusedError):
    """More than one job could be meant."""

    code = "several-preparations"

    def __init__(self, job_names: list[str]) -> None:
        super().__init__(
            f"several import jobs could be meant: {', '.join(job_names)}; name one with --job"
        )
        self.job_names = job_names


class ShippingDeclined(RefusedError):
    """The operator did not type yes; nothing was sent (R97)."""

    code = "shipping-declined"

    def __init__(self, job_name: str) -> None:
        super().__init__(
            f"nothing was sent for import job {job_name}; what you typed is kept for the next "
            "`overland disk ship`"
        )
        self.job_name = job_name


class DriveOfSystem(RefusedError):
    """The running system lives on this drive (R80)."""

    code = "drive-of-system"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is the system's own drive and is never erased; use another drive")
        self.path = path


class DriveHoldsStaging(RefusedError):
    """The staging location lies on this drive (R80)."""

    code = "drive-holds-staging"

    def __init__(self, path: str, *, staging: str) -> None:
        super().__init__(f"{path} holds the staging location {staging}; use another drive")
        self.path, self.staging = path, staging


class DriveHoldsSource(RefusedError):
    """What is backed up from this computer lies on the drive (R80)."""

    code = "drive-holds-source"

    def __init__(self, path: str, *, source: str) -> None:
        super().__init__(f"{path} holds {source}, which is backed up from here; use another drive")
        self.path, self.source = path, source


class DriveNotLocal(RefusedError):
    """The path leads to another computer (R25)."""

    code = "drive-not-local"

    def __init__(self, path: str, *, system: str) -> None:
        super().__init__(
            f"{path} is on another computer ({system}); attach the drive to this one, because it "
            "is the drive that travels"
        )
        self.path, self.system = path, system


class DriveRemovable(RefusedError):
    """The drive is on a removable bus, and nobody said that an adapter is why (R22)."""

    code = "drive-removable"

    def __init__(self, path: str, *, bus: str) -> None:
        super().__init__(
            f"{path} is attached by {bus}; the datacenter takes internal drives (2.5-inch SSD, "
            "SATA), no sticks and no drives in casings; for an internal drive on an adapter, run "
            "again with --usb-adapter"
        )
        self.path, self.bus = path, bus


class AdministratorNeeded(RefusedError):
    """A drive is erased and filled by the administrator only (R76)."""

    code = "administrator-needed"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is a whole drive, and erasing it takes the administrator's rights: another "
            "user would stop half way at files of others; run again as root"
        )
        self.path = path


class VirtualSource(RefusedError):
    """The source computer is virtual, so it cannot be the copy computer as well (R9)."""

    code = "virtual-source"

    def __init__(self, path: str, *, virtual: str) -> None:
        super().__init__(
            f"this is the source computer, and it is virtual ({virtual}): the copy computer of a "
            f"virtual source is another, physical one, so {path} was not touched; run disk "
            "preparation there, or allow it here with --allow-virtual-source, which the custody "
            "log records"
        )
        self.path, self.virtual = path, virtual


class DriveNotBlank(RefusedError):
    """Disk preparation met a drive that already holds data."""

    code = "drive-not-blank"

    def __init__(self, serial: str, *, found: str) -> None:
        super().__init__(
            f"drive {serial} holds {found}; to prepare it anyway, run again with --erase {serial}"
        )
        self.serial, self.found = serial, found


class EraseDeclined(RefusedError):
    """The operator did not agree; the drive was not touched (R79)."""

    code = "erase-declined"

    def __init__(self, serial: str) -> None:
        super().__init__(
            f"drive {serial} was left untouched, as you said; run again and answer yes, or give "
            "--yes, to have it erased and filled"
        )
        self.serial = serial


class DriveChanged(RefusedError):
    """A drive that was finished here holds something else now."""

    code = "drive-changed"

    def __init__(self, serial: str) -> None:
        super().__init__(
            f"drive {serial} was finished, and holds something else now; to make it again, run "
            f"again with --replace {serial}"
        )
        self.serial = serial


class DriveNotFound(RefusedError):
    """The local record knows no such drive."""

    code = "drive-not-found"

    def __init__(self, serial: str, *, known: list[str]) -> None:
        super().__init__(
            f"no drive {serial} was prepared for this seed; known are: {', '.join(known) or 'none'}"
        )
        self.serial, self.known = serial, known


class CapacityOverLimit(RefusedError):
    """The drive is larger than the datacenter is said to take (R23)."""

    code = "capacity-over-limit"

    def __init__(self, serial: str, *, capacity_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"drive {serial} has {capacity_bytes} bytes, more than the limit of {limit_bytes}; use "
            "a smaller drive, or raise the limit with --drive-limit if the datacenter allows it"
        )
        self.serial, self.capacity_bytes, self.limit_bytes = serial, capacity_bytes, limit_bytes


class TooManyDrives(RefusedError):
    """An import job holds ten drives (R24)."""

    code = "too-many-drives"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"an import job holds {limit} drives, and the seed does not fit on them; begin again "
            "with larger drives"
        )
        self.limit = limit


class DriveUnfinished(RefusedError):
    """All objects that are left belong to a drive that was begun and not finished."""

    code = "drive-unfinished"

    def __init__(self, serials: list[str]) -> None:
        first = serials[0]
        super().__init__(
            f"what is left belongs on {', '.join(serials)}, which was begun and not finished; "
            f"attach it again, or give it up with --replace {first}"
        )
        self.serials = serials


class DrivesMissing(RefusedError):
    """The drives that were named do not hold the whole seed (R83)."""

    code = "drives-missing"

    def __init__(self, *, object_count: int, object_bytes: int, finished: int) -> None:
        super().__init__(
            f"{object_count} objects with {object_bytes} bytes are not on a drive yet, and "
            f"{finished} drives are finished; run again and name further drives with --drive"
        )
        self.object_count, self.object_bytes, self.finished = object_count, object_bytes, finished


class JobDiffers(RefusedError):
    """An import job of this name exists and is not this one."""

    code = "job-differs"

    def __init__(self, name: str, *, why: str) -> None:
        super().__init__(
            f"import job {name} exists already and {why}; it was not changed; if that job is a "
            "leftover, delete it; else give this seed a job of its own: on the source computer "
            "`overland seed relink POLICY OTHER_NAME`, then the same command here again"
        )
        self.name, self.why = name, why


class NothingShipped(RefusedError):
    """A top-up was asked for, and the drives of the seed have not been shipped."""

    code = "nothing-shipped"

    def __init__(self, name: str, *, state: str) -> None:
        what = f"is {state} still" if state else "does not exist"
        super().__init__(
            f"import job {name} {what}, so its own drives can be made and made again: finish them "
            "with `overland disk prepare`, and replace one with --replace SERIAL"
        )
        self.name, self.state = name, state


class DrivesUnderWay(RefusedError):
    """Nobody knows yet what will be missing: drives may still arrive, or are being imported."""

    code = "drives-under-way"

    def __init__(self, name: str, *, state: str, serials: list[str]) -> None:
        super().__init__(
            f"import job {name} is {state}, and these drives may still bring what they hold: "
            f"{', '.join(serials)}; wait until the datacenter has processed them, or name a drive "
            "that the carrier has lost with --replace SERIAL"
        )
        self.name, self.state, self.serials = name, state, serials


class DriveArrived(RefusedError):
    """A drive was called lost, and the datacenter has it."""

    code = "drive-arrived"

    def __init__(self, serial: str, *, job_name: str, state: str) -> None:
        super().__init__(
            f"drive {serial} has arrived: in import job {job_name} it is {state}; what it cannot "
            "bring is known when all drives are processed, then run with --missing"
        )
        self.serial, self.job_name, self.state = serial, job_name, state


class NothingMissing(RefusedError):
    """A top-up was asked for, and every object of the seed has arrived."""

    code = "nothing-missing"

    def __init__(self, seed_id: str) -> None:
        super().__init__(
            f"nothing of seed {seed_id} is missing at the datacenter, so no drive is needed; the "
            "next scheduled backup of the source computer adopts it, or `overland seed adopt`"
        )
        self.seed_id = seed_id


class JobNotCreatedYet(TransientError):
    """The drives are finished, and the service could not be reached to create the job."""

    code = "job-not-created-yet"

    def __init__(self, name: str, *, why: str) -> None:
        super().__init__(
            f"the drives are finished, but import job {name} could not be created yet: {why}; run "
            "the same command again when the network is back: no drive is made again"
        )
        self.name, self.why = name, why
