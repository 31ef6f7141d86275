"""What a policy's last run saw, so that what did not change is not read again.  Only a hint.

For every folder there is a block: the state of its entries as the scan sees them, and the node
that was written for it.  A block is found by the hash of the folder's path.  A file whose times
are not clearly older than the scan is never trusted: it could have been written once more within
the same tick of the file system's clock, with the same size (the "racy clean" problem).

The cache is a hint that proves nothing of the chunk index beside it; so it is bound to that by an
epoch, which both have, and which is another one with each cache that is another.

Layout: header, blocks, sorted path hashes, the blocks' offsets in the same order, trailer.  Each
block and the table have a CRC-32; what is damaged counts as missing.
"""

import contextlib
import stat
import struct
import zlib
from array import array
from bisect import bisect_left
from typing import Final, final

import msgspec
from blake3 import blake3

from overland.errors import ObjectAbsent
from overland.ports.files import Files, NewFile
from overland.source.scan import Stat, State

__all__ = [
    "FINGERPRINT_BYTES",
    "UNTRUSTED",
    "ChangeCache",
    "ChangeCacheWriter",
    "FolderBlock",
    "as_mounted",
    "fingerprint",
    "folder_key",
    "folders_by_inode",
    "is_settled",
    "split_prints",
    "state_as_seen",
]

_FINGERPRINT: Final = struct.Struct("<QqqQI")  # size, mtime, ctime, inode, mode
_FAR_FINGERPRINT: Final = struct.Struct("<QQQQI")
_MOUNTED: Final = 1 << 31  # a bit that no mode has
_64_BITS: Final = 2**64 - 1  # times beyond the year 2262 do not fit a signed number
FINGERPRINT_BYTES: Final = _FINGERPRINT.size
UNTRUSTED: Final = b"\xff" * FINGERPRINT_BYTES
"""Stands for an entry that has to be read again; equal to no real fingerprint."""

_MAGIC: Final = b"OVLCHNG1"
_HEADER: Final = struct.Struct("<8s")
_BLOCK: Final = struct.Struct("<II")  # length, CRC-32
_TRAILER: Final = struct.Struct("<QQ16sI8s")  # table offset, rows, epoch of the index, CRC, magic
_WINDOW_BYTES: Final = 1 << 20
_WRITE_BYTES: Final = 256 << 10  # a call for each small block would cost more than the block
_KEY_BYTES: Final = 16
_pack = _FINGERPRINT.pack


class FolderBlock(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One folder as a run left it."""

    key: bytes
    device: int
    has_links: bool  # ids of hard link groups depend on the device's number
    names: bytes  # of the entries in the node, joined with NUL
    fingerprints: bytes
    node: bytes
    content: bytes  # chunk ids of the node
    levels: int
    files: int
    others: int
    file_bytes: int


def fingerprint(state: Stat) -> bytes:
    """Return what tells two states of an entry apart; owner and attributes show in the ctime."""
    mtime_ns, ctime_ns = state.st_mtime_ns, state.st_ctime_ns
    try:
        return _pack(state.st_size, mtime_ns, ctime_ns, state.st_ino, state.st_mode)
    except struct.error:
        far = (mtime_ns & _64_BITS, ctime_ns & _64_BITS)
        return _FAR_FINGERPRINT.pack(state.st_size, *far, state.st_ino, state.st_mode)


def as_mounted(mark: bytes) -> bytes:
    """Return the fingerprint of a folder where a file system is mounted: no other one is equal."""
    return mark[:-4] + (int.from_bytes(mark[-4:], "little") | _MOUNTED).to_bytes(4, "little")


def split_prints(joined: bytes) -> list[bytes]:
    """Return the fingerprints that were laid end to end."""
    size = FINGERPRINT_BYTES
    return [joined[at : at + size] for at in range(0, len(joined), size)]


def folders_by_inode(block: FolderBlock) -> dict[int, bytes]:
    """Return the inodes and names of the folders in a folder, but for those not trusted.

    Where a file system is mounted is none of them: its inode is one of its own, which a folder
    here may have as well, and who made that file system may have chosen it.
    """
    names = block.names.split(b"\0") if block.names else []
    marks = _FINGERPRINT.iter_unpack(block.fingerprints)
    return {
        inode: name
        for name, (_, _, _, inode, mode) in zip(names, marks, strict=True)
        if stat.S_ISDIR(mode) and mode < _MOUNTED
    }


def state_as_seen(mark: bytes, *, device: int) -> State:
    """Return the state of a file with one name that has this fingerprint; its owner is left out."""
    size, mtime_ns, ctime_ns, inode, mode = _FINGERPRINT.unpack(mark)
    return State(mode, inode, device, 1, 0, 0, size, mtime_ns, ctime_ns, 0)


def is_settled(state: Stat, *, before_ns: int) -> bool:
    """Return whether all that happened to the entry happened before `before_ns`."""
    return state.st_mtime_ns < before_ns and state.st_ctime_ns < before_ns


def folder_key(parent: bytes, name: bytes) -> bytes:
    """Return the key of the folder `name` in the folder with key `parent` (b"" for a root)."""
    return blake3(b"%b/%b" % (parent, name)).digest(_KEY_BYTES)


@final
class ChangeCache:
    """The blocks of the last run; everything that is damaged or missing is simply not there."""

    def __init__(self, files: Files, name: str | None) -> None:
        """Open the cache `name`; None, or a name that is not there, for one that knows nothing."""
        self.epoch = b""
        self._files, self._name = files, name or ""
        self._keys = self._offsets = memoryview(b"").cast("Q")
        self._window, self._window_at = memoryview(b""), 0
        self.size_bytes = 0
        if name is not None:
            with contextlib.suppress(ObjectAbsent):
                self._open(files.size_bytes(name))

    def find(self, key: bytes) -> FolderBlock | None:
        """Return the block of a folder, if there is one and it is whole."""
        number = int.from_bytes(key[:8], "little")
        row = bisect_left(self._keys, number)
        while row < len(self._keys) and self._keys[row] == number:
            block = self._block_at(self._offsets[row])
            if block is not None and block.key == key:
                return block
            row += 1
        return None

    def _open(self, size_bytes: int) -> None:
        if size_bytes < _HEADER.size + _TRAILER.size:
            return
        (magic,) = _HEADER.unpack(self._read(0, _HEADER.size))
        at, rows, epoch, crc, end = _TRAILER.unpack(
            self._read(size_bytes - _TRAILER.size, _TRAILER.size)
        )
        if magic != _MAGIC or end != _MAGIC or at + 16 * rows + _TRAILER.size != size_bytes:
            return
        table = memoryview(self._read(at, 16 * rows))
        if zlib.crc32(table) == crc:
            self._keys, self._offsets = table[: 8 * rows].cast("Q"), table[8 * rows :].cast("Q")
            self.epoch, self.size_bytes = epoch, size_bytes

    def _block_at(self, offset: int) -> FolderBlock | None:
        head = self._slice(offset, _BLOCK.size)
        if len(head) < _BLOCK.size:
            return None
        length, crc = _BLOCK.unpack(head)
        body = self._slice(offset + _BLOCK.size, length)
        if len(body) != length or zlib.crc32(body) != crc:
            return None
        try:
            return _decoder.decode(body)
        except msgspec.DecodeError:
            return None

    def _slice(self, offset: int, length: int) -> memoryview:
        """Return bytes through a window: blocks are asked for nearly in the order they lie in."""
        start = offset - self._window_at
        if start < 0 or start + length > len(self._window):
            begin = max(0, offset - _WINDOW_BYTES // 4)
            self._window_at, start = begin, offset - begin
            wanted = max(_WINDOW_BYTES, start + length)
            self._window = memoryview(self._read(begin, wanted))
        return self._window[start : start + length]

    def _read(self, offset: int, length: int) -> bytes:
        return self._files.read_range(self._name, offset=offset, length=length)


@final
class ChangeCacheWriter:
    """Collects the blocks of a run, which are to replace the old ones.

    As long as they are what the old cache has at the same places, nothing is written: most runs
    find nothing changed, and leave the old file.
    """

    def __init__(self, files: Files, *, old: str | None) -> None:
        """Write to `files`, in which the cache `old` is perhaps the same."""
        self._files, self._old = files, old
        self._file: NewFile | None = None
        self._flushed = 0  # how much of the old cache is the same, until there is a file
        self._offset = self._waiting_bytes = 0
        self._waiting: list[bytes] = []
        self._keys, self._offsets = array("Q"), array("Q")
        self._write(_HEADER.pack(_MAGIC))

    def add(self, block: FolderBlock) -> None:
        """Keep the block of a folder that is complete."""
        body = _encoder.encode(block)
        self._keys.append(int.from_bytes(block.key[:8], "little"))
        self._offsets.append(self._offset)
        self._write(_BLOCK.pack(len(body), zlib.crc32(body)))
        self._write(body)

    def end(self, *, epoch: bytes, new_epoch: bytes) -> tuple[bytes, NewFile | None]:
        """Complete the cache; return its epoch, and the file that is to replace the old one.

        Without a file the old one is the same to the last byte, and stays.

        Args:
            epoch: Of the chunk index so far, and of the old cache if that counts with it.
            new_epoch: For a cache that is not the old one.  The chunk index has to get it too,
                and to know all chunks that are named in the blocks.
        """
        keys, offsets = self._keys, self._offsets
        order = sorted(range(len(keys)), key=keys.__getitem__)
        table = array("Q", [keys[row] for row in order]).tobytes()
        table += array("Q", [offsets[row] for row in order]).tobytes()
        at, crc = self._offset, zlib.crc32(table)
        self._write(table)
        same = _TRAILER.pack(at, len(keys), epoch, crc, _MAGIC)
        if self._file is None and self._is_rest_of_old(b"".join([*self._waiting, same])):
            return epoch, None
        self._write(_TRAILER.pack(at, len(keys), new_epoch, crc, _MAGIC))
        self._flush()
        new = self._new_file()
        self._file = None
        return new_epoch, new

    def abandon(self) -> None:
        """Forget the run; does nothing after `end`."""
        if self._file is not None:
            self._file.abandon()

    def _write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._offset += len(data)
        if self._waiting_bytes >= _WRITE_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._file is None and self._old_part(self._flushed, len(data)) == data:
            self._flushed += len(data)
        else:
            self._new_file().write(data)

    def _new_file(self) -> NewFile:
        """Return the file; at first it gets what it has in common with the old cache."""
        if self._file is None:
            self._file = self._files.create()
            for at in range(0, self._flushed, _WINDOW_BYTES):
                length = min(_WINDOW_BYTES, self._flushed - at)
                self._file.write(self._old_part(at, length))
        return self._file

    def _is_rest_of_old(self, data: bytes) -> bool:
        return self._old_part(self._flushed, len(data) + 1) == data

    def _old_part(self, offset: int, length: int) -> bytes:
        """Return bytes of the old cache; fewer where it ends, or where there is none."""
        if self._old is None:
            return b""
        try:
            return self._files.read_range(self._old, offset=offset, length=length)
        except ObjectAbsent:
            return b""


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(FolderBlock)
