"""Snapshots of LVM's logical volumes, mounted read-only while they are read.

LVM freezes the mounted file system while it takes the snapshot (`lvcreate(8)`, dm's `lockfs`), so
that what the snapshot shows needs no repair.  It is mounted `ro`, and can still be written to by
the kernel: XFS leaves a record in its log that its first mount must work off, and would not be
mounted from a device that cannot be written to.  XFS also refuses two mounts of one UUID, hence
`nouuid`.

A thin volume's snapshot takes its room from the pool.  Any other needs room of its own in the
volume group for what is overwritten in the volume meanwhile; when that is full, the kernel gives
the snapshot up, and reading it fails.  `loss` tells, so that no point is made of such a one.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import msgspec

from overland.ports.programs import ProgramAbsent, Programs
from overland.source.snapshotkinds import (
    Mount,
    SnapshotImpossible,
    call,
    is_named_by_us,
)
from overland.source.snapshotview import SnapshotMode

__all__ = ["FILE_SYSTEMS", "LogicalVolumes"]

_OPTIONS: Final = "ro,nosuid,nodev,noexec"
FILE_SYSTEMS: Final = {
    "ext2": _OPTIONS,
    "ext3": _OPTIONS,
    "ext4": _OPTIONS,
    "xfs": _OPTIONS + ",nouuid",
}
"""The kinds of file systems that are read from a volume's snapshot, and how they are mounted."""

_FIELDS: Final = (
    "lv_name,vg_name,lv_attr,origin,pool_lv,lv_size,data_percent,"
    "lv_kernel_major,lv_kernel_minor,vg_free,vg_extent_size"
)
_INVALID: Final = "IS"  # the fifth character of `lv_attr`: the snapshot was given up (lvs(8))
_FAILED: Final = "F"  # the ninth: its thin pool failed
_FULL_PERCENT: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Volume:
    """A logical volume, as `lvs` tells of it; sizes in bytes."""

    name: str
    group: str
    attributes: str
    origin: str
    pool: str
    size_bytes: int
    used_percent: float
    number: str
    free_bytes: int
    extent_bytes: int

    @property
    def path(self) -> str:
        """How LVM's tools name it."""
        return f"{self.group}/{self.name}"


@final
class LogicalVolumes:
    """Snapshots of logical volumes, shown in folders below one of ours; fulfils `Method`.

    Args:
        programs: Runs LVM's tools, `mount` and `umount`.
        folder: Where to mount; made when needed.
        percent: How much of a volume that is not thin its snapshot has room for.
        mounts: What is mounted now.
    """

    mode: SnapshotMode = "lvm"
    leaves_stubs = False

    def __init__(
        self,
        programs: Programs,
        *,
        folder: Path,
        percent: int,
        mounts: Callable[[], list[Mount]],
    ) -> None:
        self._programs, self._folder, self._percent = programs, folder, percent
        self._mounts = mounts

    def unit_of(self, path: bytes, mount: Mount) -> bytes | None:
        """Return where the volume is mounted.

        Raises:
            SnapshotImpossible: What is mounted there is no logical volume.
        """
        if not _is_mapped(mount.device):
            raise _impossible(path, f"{os.fsdecode(mount.device)} is no logical volume")
        return mount.path

    def take(self, unit: bytes, mount: Mount, name: str) -> bytes:
        """Take and mount a snapshot.

        Raises:
            SnapshotImpossible: There is no room for it, or a tool failed; nothing is left.
            ProgramAbsent, OSError: A tool is not installed, or its folder cannot be made; the same.
        """
        volume = self._volume_of(unit, mount)
        # By default LVM does not activate snapshots of thin volumes: `--setactivationskip n`.
        kind = ["--setactivationskip", "n"] if volume.pool else self._size_options(unit, volume)
        call(
            self._programs, unit, "lvcreate", "--yes", "--snapshot", *kind, "--name", name,
            volume.path,
        )  # fmt: skip
        where = self._folder / name
        try:
            where.mkdir(mode=0o700, parents=True)
            call(
                self._programs, unit, "mount", "-t", mount.kind, "-o", FILE_SYSTEMS[mount.kind],
                f"/dev/{volume.group}/{name}", str(where),
            )  # fmt: skip
        except (SnapshotImpossible, ProgramAbsent, OSError):
            # What cannot be removed now the next run removes.
            with contextlib.suppress(SnapshotImpossible, ProgramAbsent):
                self.remove(unit, mount, name)
            raise
        return os.fsencode(where) + mount.root.rstrip(b"/")

    def loss(self, unit: bytes, mount: Mount, name: str) -> str | None:
        """Return why the snapshot cannot be relied upon; see the protocol."""
        try:
            snapshot = self._snapshots_of(unit, mount).get(name)
        except SnapshotImpossible as error:
            return f"its state is not known: {error.problem}"
        if snapshot is None:
            return "it is gone"
        if not snapshot.pool and (
            snapshot.attributes[4:5] in _INVALID or snapshot.used_percent >= _FULL_PERCENT
        ):
            return (
                "more was written to the volume than the snapshot has room for; give it more with "
                "--snapshot-percent, or run when less is written"
            )
        if snapshot.attributes[8:9] == _FAILED:
            return f"its thin pool {snapshot.group}/{snapshot.pool} failed"
        return None

    def names(self, unit: bytes, mount: Mount, prefix: str) -> list[str]:
        """Return the snapshots of ours of this volume; see the protocol."""
        return [
            name
            for name in self._snapshots_of(unit, mount)
            if is_named_by_us(name.encode(), prefix.encode())
        ]

    def remove(self, unit: bytes, mount: Mount, name: str) -> None:
        """Unmount and remove a snapshot; see the protocol."""
        snapshot = self._snapshots_of(unit, mount).get(name)
        if snapshot is None:
            raise _impossible(unit, f"{name} is no snapshot of it")
        for shown in self._mounts():
            if os.path.basename(shown.path) == name.encode():  # noqa: PTH119 - bytes
                call(self._programs, unit, "umount", shown.path)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / name).rmdir()
        call(self._programs, unit, "lvremove", "--yes", snapshot.path)

    def _size_options(self, unit: bytes, volume: _Volume) -> list[str]:
        wanted = volume.size_bytes * self._percent // 100
        needed = -(-wanted // volume.extent_bytes) * volume.extent_bytes
        if needed > volume.free_bytes:
            raise _impossible(
                unit,
                f"{self._percent} % of {volume.path} are {needed >> 20:,} MiB, and its group "
                f"has {volume.free_bytes >> 20:,} MiB free (vgextend adds a disk, "
                "--snapshot-percent takes less)",
            )
        return ["--size", f"{needed}b"]

    def _volume_of(self, unit: bytes, mount: Mount) -> _Volume:
        for volume in self._volumes(unit):
            if volume.number == mount.number:
                return volume
        raise _impossible(unit, f"{os.fsdecode(mount.device)} is no logical volume")

    def _snapshots_of(self, unit: bytes, mount: Mount) -> dict[str, _Volume]:
        volumes = self._volumes(unit)
        for origin in volumes:
            if origin.number == mount.number:
                return {
                    volume.name: volume
                    for volume in volumes
                    if (volume.group, volume.origin) == (origin.group, origin.name)
                }
        raise _impossible(unit, f"{os.fsdecode(mount.device)} is no logical volume")

    def _volumes(self, unit: bytes) -> list[_Volume]:
        listed = call(
            self._programs, unit, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
            "--options", _FIELDS,
        )  # fmt: skip
        try:
            report = msgspec.json.decode(listed, type=_Report)
            return [_volume(row) for part in report.report for row in part.lv]
        except (msgspec.MsgspecError, ValueError) as error:
            raise _impossible(unit, f"what lvs says is not understood: {error}") from None


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """One volume in the report of `lvs`; all fields are text."""

    lv_name: str
    vg_name: str
    lv_attr: str
    origin: str
    pool_lv: str
    lv_size: str
    data_percent: str
    lv_kernel_major: str
    lv_kernel_minor: str
    vg_free: str
    vg_extent_size: str


class _Part(msgspec.Struct, frozen=True):
    """One command's part of a report."""

    lv: list[_Row]


class _Report(msgspec.Struct, frozen=True):
    """A report of LVM in JSON (lvmreport(7)); later versions may add to it."""

    report: list[_Part]


def _volume(row: _Row) -> _Volume:
    return _Volume(
        name=row.lv_name,
        group=row.vg_name,
        attributes=row.lv_attr,
        origin=row.origin,
        pool=row.pool_lv,
        size_bytes=int(row.lv_size),
        used_percent=float(row.data_percent or 0),
        number=f"{row.lv_kernel_major}:{row.lv_kernel_minor}",
        free_bytes=int(row.vg_free),
        extent_bytes=int(row.vg_extent_size),
    )


def _is_mapped(device: bytes) -> bool:
    """Return whether a device is one of the device mapper's, as all logical volumes are.

    Asked first, so that a computer without LVM is not told to install its tools.
    """
    return device.startswith(b"/dev/mapper/") or os.path.realpath(device).startswith(b"/dev/dm-")


def _impossible(path: bytes, problem: str) -> SnapshotImpossible:
    return SnapshotImpossible(os.fsdecode(path), problem=problem)
