"""Write an image of a recovery point back onto a block device.

The device is opened exclusively (`O_EXCL`, open(2)): the kernel refuses while anything of it is
mounted, swapped to, or part of another device, and lets nobody mount it meanwhile.  Its first MiB,
by which everybody recognises what is on it, is emptied first and written last: a device whose
restore did not end shows no file system, partition or boot record.
"""

import errno
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.agent.points.tree import PointTree
from overland.errors import IntegrityError, RefusedError
from overland.format.tree import KIND_FILE, Entry
from overland.ports.progress import Progress

__all__ = [
    "DeviceDiffers",
    "DeviceReport",
    "DeviceUnusable",
    "TargetDevice",
    "image_entry",
    "restore_to_device",
]

_HEAD_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(4 << 20)
_READ_BYTES: Final = 4 << 20
_IDS: Final = 64  # chunks read together: 4 MiB of an image's; never more than 64 of 16 MiB
_BLKZEROOUT: Final = 0x127F  # linux/fs.h
_ALIGNED: Final = 1 << 16  # whole pages and sectors, whatever their size


class DeviceUnusable(RefusedError):
    """A device cannot be restored to as it is; nothing on it was changed."""

    code = "target-device-unusable"

    def __init__(self, path: str, *, problem: str) -> None:
        super().__init__(f"{path} cannot be restored to: {problem}; nothing on it was changed")
        self.path, self.problem = path, problem


class DeviceDiffers(IntegrityError):
    """What a device gave back is not what was written to it."""

    code = "target-device-differs"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} gave back other bytes than were written to it; do not use it, and restore to "
            "another device"
        )
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """What was written, in bytes; `verified_bytes` were read back and compared."""

    size_bytes: int
    data_bytes: int
    zero_bytes: int
    verified_bytes: int
    changed_while_read: bool


@final
class TargetDevice:
    """A block device that nobody else uses, open for writing until it is closed.

    Raises:
        DeviceUnusable: It is none, is in use, or cannot be written to.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            if not stat.S_ISBLK(os.stat(path).st_mode):  # noqa: PTH116 - one way for all calls
                raise DeviceUnusable(path, problem="it is no block device; use --target for files")
            self.fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            problem = os.strerror(error.errno or errno.EIO)
            if error.errno == errno.EBUSY:
                problem = "it, or a part of it, is mounted or otherwise in use"
            raise DeviceUnusable(path, problem=problem) from None
        self.size_bytes = os.lseek(self.fd, 0, os.SEEK_END)
        self._can_zero = True

    def close(self) -> None:
        """Let others use it."""
        os.close(self.fd)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write at an offset, all of it."""
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self.fd, rest, offset)
            rest, offset = rest[done:], offset + done

    def zero(self, start: int, end: int) -> None:
        """Have a range read as zeros, by the device's own means where it has some."""
        first, last = -(-start // _ALIGNED) * _ALIGNED, end // _ALIGNED * _ALIGNED
        if not self._can_zero or first >= last:
            self._write_zeros(start, end)
            return
        self._write_zeros(start, first)
        try:
            fcntl.ioctl(self.fd, _BLKZEROOUT, struct.pack("=QQ", first, last - first))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL}:
                raise
            self._can_zero = False
            self._write_zeros(first, last)
        self._write_zeros(last, end)

    def sync(self) -> None:
        """Return when what was written survives a power cut."""
        os.fsync(self.fd)

    def blocks(self) -> Iterator[bytes]:
        """Read the whole device from its medium, not from memory."""
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        at = 0
        while block := os.pread(self.fd, _READ_BYTES, at):
            yield block
            at += len(block)

    def _write_zeros(self, start: int, end: int) -> None:
        for at in range(start, end, len(_ZEROS)):
            self.write(memoryview(_ZEROS)[: end - at], at)


def image_entry(point: Point, path: bytes, store: ChunkStore) -> tuple[PointTree, Entry]:
    """Return the file at a full path of a point, and the tree it is in.

    Raises:
        PathAbsent: There is nothing.
        DeviceUnusable: It is no file.
    """
    tree = PointTree(point, store)
    entry = tree.entry(path)
    if entry is None or entry.kind != KIND_FILE:
        raise DeviceUnusable(os.fsdecode(path), problem="in the point it is no file or image")
    return tree, entry


def restore_to_device(
    tree: PointTree,
    entry: Entry,
    *,
    store: ChunkStore,
    device: TargetDevice,
    progress: Progress,
    verify: bool,
) -> DeviceReport:
    """Write an image onto a device: what is a hole or behind the image's end becomes zeros.

    Nothing that was on the device before can be read afterwards.  On return the image survives a
    power cut.  After a kill, or an error below, the device's first MiB is zeros; run it again.

    Args:
        tree: Of the point.
        entry: The image.
        store: Reads its chunks.
        device: Is written to.
        progress: Is told bytes.
        verify: Read the whole device back and compare.

    Raises:
        DeviceUnusable: The device is smaller than the image; nothing was changed.
        ChunkAbsent, ObjectAbsent, IntegrityError: A part of the image cannot be read anywhere.
        DeviceDiffers: `verify` found other bytes than were written.
        OSError: The device failed.
    """
    if device.size_bytes < entry.size_bytes:
        raise DeviceUnusable(
            device.path,
            problem=f"it has {device.size_bytes:,} bytes, and the image {entry.size_bytes:,}",
        )
    progress.start("restoring", entry.size_bytes, None)
    try:
        head_end = min(_HEAD_BYTES, device.size_bytes)
        device.zero(0, head_end)
        device.sync()
        writer = _Writer(device, head_end, progress)
        data = _data(tree, entry, store)
        whole = ((0, entry.size_bytes),)
        for offset, length in whole if entry.extents is None else entry.extents:
            writer.skip_to(offset)
            for piece in data.take(length):
                writer.append(piece)
        writer.skip_to(device.size_bytes)
        device.sync()
        device.write(memoryview(writer.head), 0)
        device.sync()
    finally:
        progress.finish()
    if verify:
        digest = hashlib.sha256()
        for block in device.blocks():
            digest.update(block)
        if digest.digest() != writer.digest.digest():
            raise DeviceDiffers(device.path)
    return DeviceReport(
        size_bytes=entry.size_bytes,
        data_bytes=writer.data_bytes,
        zero_bytes=device.size_bytes - writer.data_bytes,
        verified_bytes=device.size_bytes if verify else 0,
        changed_while_read=entry.changed,
    )


@final
class _Writer:
    """Writes from the beginning to the end, and keeps the head for later."""

    def __init__(self, device: TargetDevice, head_end: int, progress: Progress) -> None:
        self.head = bytearray(head_end)
        self.digest = hashlib.sha256()
        self.data_bytes = 0
        self._device, self._progress = device, progress
        self._at = 0

    def skip_to(self, offset: int) -> None:
        """Leave zeros up to an offset."""
        assert offset >= self._at, "extents are in order"
        self._device.zero(max(self._at, min(len(self.head), offset)), offset)
        for start in range(self._at, offset, len(_ZEROS)):
            self.digest.update(memoryview(_ZEROS)[: offset - start])
        self._at = offset

    def append(self, data: memoryview) -> None:
        """Write what comes next."""
        in_head = min(max(len(self.head) - self._at, 0), len(data))
        self.head[self._at : self._at + in_head] = data[:in_head]
        self._device.write(data[in_head:], self._at + in_head)
        self.digest.update(data)
        self._at += len(data)
        self.data_bytes += len(data)
        self._progress.advance(bytes=len(data))


@final
class _Data:
    """The bytes of an image without its holes, in order."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def take(self, length: int) -> Iterator[memoryview]:
        """Yield the next bytes.

        Raises:
            IntegrityError: There are not so many: the entry and its chunks do not agree.
        """
        while length:
            while not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise IntegrityError("the image has fewer bytes than its entry says")
                self._rest = memoryview(chunk)
            piece = self._rest[:length]
            self._rest = self._rest[len(piece) :]
            length -= len(piece)
            yield piece


def _data(tree: PointTree, entry: Entry, store: ChunkStore) -> _Data:
    def chunks() -> Iterator[bytes]:
        """Yield the chunks of the image in order; raises as `ChunkStore.read`."""
        for ids in tree.content_ids(entry):
            for first in range(0, len(ids), _IDS):
                yield from store.read(ids[first : first + _IDS])

    return _Data(chunks())
