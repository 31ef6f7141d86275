"""What is mounted where on this computer, and on what kind of medium.

Read from `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and `/sys/dev/block`; the text comes in as
an argument, so that the answers can be tested on mounts that nobody has at hand.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["NETWORK_FILE_SYSTEMS", "SYSTEM_FILE_SYSTEMS", "Mount", "Mounts"]

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"smb3", "smbfs", "fuse.sshfs", "fuse.davfs2", "fuse.glusterfs", "fuse.cephfs", "beegfs"}
)

SYSTEM_FILE_SYSTEMS: Final = frozenset(
    {"proc", "sysfs", "devtmpfs", "devpts", "mqueue", "hugetlbfs", "cgroup", "cgroup2", "pstore"}
    | {"securityfs", "debugfs", "tracefs", "configfs", "bpf", "efivarfs", "binfmt_misc", "autofs"}
    | {"selinuxfs", "rpc_pipefs", "nsfs", "fusectl"}
)

_FIELDS: Final = 6  # before the optional ones
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system: where, of what kind, from where, and how."""

    point: str
    file_system: str
    source: str
    device: str  # major:minor
    options: frozenset[str]

    @property
    def is_network(self) -> bool:
        """Whether its files lie on another computer."""
        return self.file_system in NETWORK_FILE_SYSTEMS

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written to it, here or at all."""
        return "ro" in self.options

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return "network share" if self.is_network else f"{self.file_system} volume"


class Mounts:
    """The mounts of one instant."""

    def __init__(self, mountinfo: str, *, sys_block: Path = Path("/sys/dev/block")) -> None:
        """Read the mounts from the text of a `mountinfo` file."""
        self._mounts = [_mount(line) for line in mountinfo.splitlines() if line.strip()]
        self._sys_block = sys_block

    @classmethod
    def now(cls) -> "Mounts":
        """Return the mounts that this process sees."""
        # Names are bytes; those that are not UTF-8 stay what they are.
        return cls(Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape"))

    def of(self, path: str) -> Mount | None:
        """Return the mount that holds a full path, links on the way followed."""
        real = os.path.realpath(path)
        holds = [each for each in self._mounts if _is_below(real, each.point)]
        longest = max((len(each.point) for each in holds), default=0)
        # Of several mounts on one point the last one is seen.
        return next((each for each in reversed(holds) if len(each.point) == longest), None)

    def from_source(self, share: str) -> list[Mount]:
        """Return the mounts of a share, such as `//server/share` or `server:/export`."""
        wanted = share.rstrip("/").casefold()
        return [each for each in self._mounts if each.source.rstrip("/").casefold() == wanted]

    def is_removable(self, device: str) -> bool:
        """Whether the kernel calls the medium of a block device (major:minor) removable."""
        try:
            folder = (self._sys_block / device).resolve(strict=True)
        except OSError:
            return False  # no block device: a share, or memory
        for place in (folder, folder.parent):  # a partition lies in its disk's folder
            try:
                return (place / "removable").read_text().strip() == "1"
            except OSError:
                continue
        return False


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    assert len(fields) >= _FIELDS, "proc_pid_mountinfo(5): six fields before the optional ones"
    file_system, source, settings = rest[0], rest[1], rest[2] if len(rest) > 2 else ""
    return Mount(
        point=_plain(fields[4]),
        file_system=file_system,
        source=_plain(source),
        device=fields[2],
        options=frozenset((*fields[5].split(","), *settings.split(","))),
    )


def _plain(text: str) -> str:
    """Return a field with its blanks, tabs and backslashes, which are written in octal."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
