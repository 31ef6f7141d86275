"""Why disk preparation refuses a drive, a job or a request; each says what to do next."""

from overland.errors import RefusedError, TransientError

__all__ = [
    "CapacityOverLimit",
    "DriveChanged",
    "DriveHoldsStaging",
    "DriveNotBlank",
    "DriveNotFound",
    "DriveOfSystem",
    "DriveUnfinished",
    "DrivesMissing",
    "EraseDeclined",
    "JobDiffers",
    "JobNotCreatedYet",
    "NoPreparation",
    "NoSeedToPrepare",
    "SeedReplaced",
    "SeveralPreparations",
    "ShippingDeclined",
    "TooManyDrives",
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
            f"import job {name} exists already and {why}; it was not changed; cancel that job, or "
            "rename the job of the policy with `overland seed relink`"
        )
        self.name, self.why = name, why


class JobNotCreatedYet(TransientError):
    """The drives are finished, and the service could not be reached to create the job."""

    code = "job-not-created-yet"

    def __init__(self, name: str, *, why: str) -> None:
        super().__init__(
            f"the drives are finished, but import job {name} could not be created yet: {why}; run "
            "the same command again when the network is back: no drive is made again"
        )
        self.name, self.why = name, why
