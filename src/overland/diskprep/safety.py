"""Which drives are taken: none that the system, the sources or the staging location live on.

Practice drives (folders, and images behind loop devices) keep the rules about what is erased.  The
rules about hardware concern drives on a bus only: who works, on what computer, and by which cable.
"""

from dataclasses import dataclass
from typing import Final

from overland.diskprep.record import DriveState, Preparation
from overland.diskprep.refusals import (
    AdministratorNeeded,
    CapacityOverLimit,
    DriveHoldsSource,
    DriveHoldsStaging,
    DriveNotLocal,
    DriveOfSystem,
    DriveRemovable,
    TooManyDrives,
    VirtualSource,
)
from overland.ports.volume import Volume

__all__ = ["DEFAULT_DRIVE_LIMIT_BYTES", "MAX_DRIVES", "Host", "custody_notes", "refuse_unsafe"]

MAX_DRIVES: Final = 10
"""The most drives that one import job holds (R24)."""

DEFAULT_DRIVE_LIMIT_BYTES: Final = 10 * 1000**4
"""The largest drive that the datacenter takes unless the operator knows better (R23)."""

_PRACTICE: Final = frozenset({"loop"})
_REMOVABLE: Final = frozenset({"usb", "mmc"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this computer is, for the work at hand.

    `virtual` is empty on a physical computer, and else names what it runs in, such as `kvm`;
    `sources` are the paths that are backed up from here, when this is the source computer.
    """

    is_administrator: bool = False
    is_source: bool = False
    virtual: str = ""
    sources: tuple[str, ...] = ()
    allows_virtual_source: bool = False
    allows_usb_adapter: bool = False


def is_hardware(volume: Volume) -> bool:
    """Return whether this is a drive on a bus, and not one for practice."""
    attached = volume.attachment()
    return attached.kind == "drive" and attached.bus not in _PRACTICE


def refuse_unsafe(
    volume: Volume, record: Preparation, host: Host, *, drive_limit_bytes: int
) -> None:
    """Return when the drive may be erased and filled; nothing has touched it (R80).

    Raises:
        DriveOfSystem: The running system lives on it.
        DriveHoldsStaging: The staging location does.
        DriveHoldsSource: What is backed up does.
        DriveNotLocal: It is on another computer (R25).
        DriveRemovable: It is on a removable bus, and no adapter was declared (R22).
        AdministratorNeeded: Only root may erase a drive (R76).
        VirtualSource: This is the source computer, and virtual (R9).
        CapacityOverLimit: It is larger than the datacenter takes (R23).
        TooManyDrives: The job has all the drives that it may have (R24).
    """
    if volume.is_system():
        raise DriveOfSystem(volume.path)
    if volume.holds(record.staging):
        raise DriveHoldsStaging(volume.path, staging=record.staging)
    for source in host.sources:
        if volume.holds(source):
            raise DriveHoldsSource(volume.path, source=source)
    _refuse_hardware(volume, host)
    if volume.capacity_bytes > drive_limit_bytes:
        raise CapacityOverLimit(
            volume.serial, capacity_bytes=volume.capacity_bytes, limit_bytes=drive_limit_bytes
        )
    in_use = [drive for drive in record.drives if drive.state is not DriveState.GIVEN_UP]
    if sum(drive.serial != volume.serial for drive in in_use) >= MAX_DRIVES:
        raise TooManyDrives(MAX_DRIVES)


def custody_notes(volume: Volume, host: Host) -> dict[str, str]:
    """Return what the custody log says about how a drive was allowed, beside its path."""
    notes = {"path": volume.path}
    if not is_hardware(volume):
        return notes
    if host.is_source and host.virtual:
        notes["override"] = f"prepared on the virtual source computer ({host.virtual})"
    if volume.attachment().bus in _REMOVABLE:
        notes["adapter"] = f"{volume.attachment().bus}, declared by the operator"
    return notes


def _refuse_hardware(volume: Volume, host: Host) -> None:
    attached = volume.attachment()
    if attached.kind == "network":
        raise DriveNotLocal(volume.path, system=attached.bus)
    if not is_hardware(volume):
        return
    if attached.bus in _REMOVABLE and not host.allows_usb_adapter:
        raise DriveRemovable(volume.path, bus=attached.bus)
    if not host.is_administrator:
        raise AdministratorNeeded(volume.path)
    if host.is_source and host.virtual and not host.allows_virtual_source:
        raise VirtualSource(volume.path, virtual=host.virtual)
