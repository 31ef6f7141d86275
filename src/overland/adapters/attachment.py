"""How a folder hangs on this computer, as Linux tells it in `/proc` and `/sys`.

Not verified on real docks and bridges: tests read file trees that are laid out as the kernel's
documentation says (`proc_pid_mountinfo(5)`, `sysfs(5)`).
"""

import os
import re
from pathlib import Path
from typing import Final

from overland.ports.volume import FOLDER, Attachment

__all__ = ["attachment_of"]

_REMOTE: Final = re.compile(
    r"nfs4?|cifs|smb3?|9p|ceph|glusterfs|afs|lustre|fuse\.(sshfs|s3fs|.*nfs)"
)
_BUSES: Final = (
    # Part of the device's path under /sys, and what people call it; the first that fits, because a
    # USB bridge with a SATA disk behind it is USB to this computer.
    (re.compile(r"/usb\d+(/|$)"), "usb"),
    (re.compile(r"/ata\d+(/|$)"), "sata"),
    (re.compile(r"/nvme(/|$)"), "nvme"),
    (re.compile(r"/virtio\d+(/|$)"), "virtio"),
    (re.compile(r"/mmc\d+(/|$)"), "mmc"),
    (re.compile(r"/virtual/block/loop\d+(/|$)"), "loop"),
)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def attachment_of(
    folder: Path, *, mountinfo: Path = Path("/proc/self/mountinfo"), sys: Path = Path("/sys")
) -> Attachment:
    """Return how `folder` is attached: it is a drive when a local device is mounted there.

    A folder within a local file system is for practice, one within a remote file system is on the
    network.
    """
    mounted = _mount_of(folder, mountinfo.read_text(encoding="utf-8", errors="surrogateescape"))
    if mounted is None:
        return FOLDER
    point, device, kind = mounted
    if _REMOTE.fullmatch(kind):
        return Attachment(kind="network", bus=kind)
    if point != folder:
        return FOLDER
    place = sys / "dev" / "block" / device
    if not place.exists():  # made in memory, or bound: no device of its own
        return FOLDER
    return Attachment(kind="drive", bus=_bus(place, sys))


def _mount_of(folder: Path, table: str) -> tuple[Path, str, str] | None:
    """Return the mount that holds `folder`: its place, its device, its kind of file system."""
    found: tuple[Path, str, str] | None = None
    for line in table.splitlines():
        mount, _, system = line.partition(" - ")
        fields = mount.split(" ")
        point = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # Of several mounts at one place the last one is seen.
        if folder.is_relative_to(point) and (
            found is None or len(point.parts) >= len(found[0].parts)
        ):
            found = (point, fields[2], system.split(" ")[0])
    return found


def _bus(place: Path, sys: Path) -> str:
    """Return the bus of a block device; of one that stands on others, that of the first below."""
    real = Path(os.path.realpath(place))
    for _ in range(8):  # encryption on volumes on partitions: never as deep as this
        below = sorted((real / "slaves").iterdir()) if (real / "slaves").is_dir() else []
        if not below:
            break
        real = Path(os.path.realpath(below[0]))
    path = str(real).removeprefix(str(sys))
    return next((name for rule, name in _BUSES if rule.search(path)), "")
