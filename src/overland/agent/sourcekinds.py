"""Which sources a first copy by drive can be made of, and why not of the others.

A source is fixed, online, writable, unlocked and local (R8), and it is no system state (R4).  All
but system state and what is offline can be allowed by name, kind by kind.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from overland.agent.mounts import SYSTEM_FILE_SYSTEMS, Mount, Mounts
from overland.agent.policy import Policy
from overland.agent.seedrefusals import (
    SourceLocked,
    SourceOffline,
    SourceOnNetwork,
    SourceReadOnly,
    SourceRemovable,
    SourceUnfit,
    SystemStateRefused,
)

__all__ = ["ALLOWABLE", "SourceKind", "source_problems"]

SourceKind = Literal["removable", "read-only", "network", "locked"]
"""What can be allowed; what is not there cannot be read, and system state cannot be put back."""

ALLOWABLE: Final[tuple[SourceKind, ...]] = get_args(SourceKind)

_SYSTEM_FOLDERS: Final = ("/proc", "/sys", "/dev", "/run", "/var/run")
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_LOCKS: Final = (  # offset and bytes of the mark that an encrypted volume begins with
    (0, b"LUKS\xba\xbe", "LUKS"),
    (3, b"-FVE-FS-", "BitLocker"),
)
_HEAD_BYTES: Final = 16


def source_problems(
    policy: Policy, mounts: Mounts, *, fstab: str = "", allowed: Sequence[str] = ()
) -> list[SourceUnfit]:
    """Return why sources of a policy cannot be seeded, each named with its reason.

    `fstab` (fstab(5)) tells which folders are mount points of volumes that are not mounted.
    """
    planned = _planned_mounts(fstab)
    found: list[SourceUnfit] = []
    for path in policy.sources:
        found += _folder_problems(path, mounts, planned)
    for path in policy.images:
        found += _image_problems(path, mounts)
    return [problem for problem in found if problem.kind not in allowed]


def _folder_problems(path: str, mounts: Mounts, planned: dict[str, str]) -> Iterator[SourceUnfit]:
    offline = _offline(path)
    if offline is not None:
        yield offline
        return
    mount = mounts.of(path)
    if mount is None:
        yield SourceOffline(path, why="nothing is mounted there")
        return
    system = _system_state(path, mount)
    if system is not None:
        yield system
        return
    missing = planned.get(os.path.realpath(path))
    if missing is not None and mount.point != os.path.realpath(path):
        yield SourceOffline(path, why=f"its volume {missing} is in /etc/fstab and not mounted")
    yield from _volume_problems(path, mount, mounts)


def _image_problems(path: str, mounts: Mounts) -> Iterator[SourceUnfit]:
    offline = _offline(path)
    if offline is not None:
        yield offline
        return
    state = Path(path).stat()
    if stat.S_ISBLK(state.st_mode):
        device = f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}"
        if mounts.is_removable(device):
            yield SourceRemovable(path, device=path)
    else:
        mount = mounts.of(path)
        assert mount is not None, "a file that can be looked at lies on something"
        yield from _volume_problems(path, mount, mounts)
    scheme = _locked_scheme(path)
    if scheme is not None:
        yield SourceLocked(path, scheme=scheme)


def _volume_problems(path: str, mount: Mount, mounts: Mounts) -> Iterator[SourceUnfit]:
    if mount.is_network:
        yield SourceOnNetwork(path, share=mount.source, file_system=mount.file_system)
    if mount.is_read_only:
        yield SourceReadOnly(path, mount=mount.point)
    if mounts.is_removable(mount.device):
        yield SourceRemovable(path, device=mount.source)


def _offline(path: str) -> SourceOffline | None:
    try:
        Path(path).stat()
    except OSError as error:
        return SourceOffline(path, why=str(error.strerror))
    return None


def _system_state(path: str, mount: Mount) -> SystemStateRefused | None:
    real = os.path.realpath(path)
    is_system = mount.file_system in SYSTEM_FILE_SYSTEMS or (
        # A disk that is mounted below /run is a disk; what is kept there in memory is not.
        any(real == top or real.startswith(top + "/") for top in _SYSTEM_FOLDERS)
        and (mount.file_system in _MEMORY or real in _SYSTEM_FOLDERS)
    )
    return SystemStateRefused(path, file_system=mount.file_system) if is_system else None


def _locked_scheme(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None  # the backup will say so
    for offset, mark, scheme in _LOCKS:
        if head[offset : offset + len(mark)] == mark:
            return scheme
    return None


def _planned_mounts(fstab: str) -> dict[str, str]:
    """Return mount point and source of each line of an fstab."""
    rows = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    return {row[1]: row[0] for row in rows if len(row) > 1 and row[1].startswith("/")}
