r"""One blob of an export onto a drive: its file, its properties and metadata, its parts.

The file is written under its final name when it is whole, and read back from the medium before it
counts.  Where the blob's path can be a path on the drive it is that one; any other blob gets a
number below `\renamed`, which only the manifest explains.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.blob_description import (
    BlobDescription,
    decode_description,
    description_name,
    is_reserved,
)
from overland.format.drive_xml import (
    MAX_BLOCKS,
    MAX_RANGES,
    RANGE_BYTES,
    Blob,
    Block,
    ManifestXmlInvalid,
    PageRange,
    SideFile,
    block_id,
    file_path_problem,
    is_blob_path,
)
from overland.format.side_xml import write_metadata, write_properties
from overland.ports.files import Files, name_parts
from overland.ports.objects import Objects
from overland.station.selection import ChosenBlob

__all__ = ["BlobChanged", "DriveFolder", "NotAsWritten", "needed_bytes"]

_PAGE: Final = 512
_ENTRY_BYTES: Final = 2048  # of a blob in the manifest, with its paths
_PART_BYTES: Final = 160  # of a part in the manifest
_SIDES_BYTES: Final = 128 << 10  # of both files beside it, with what the file system takes
# Names that the drive's usual file system keeps for devices, or cannot end with.
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


class BlobChanged(IntegrityError):
    """A blob went away or changed while it was exported."""

    code = "blob-changed"

    def __init__(self, path: str) -> None:
        super().__init__(f"blob {path} changed while it was exported; make a new export job for it")
        self.path = path


class NotAsWritten(IntegrityError):
    """A drive does not give back what was written to it."""

    code = "not-as-written"

    def __init__(self, serial: str, *, name: str) -> None:
        super().__init__(f"drive {serial} does not read back {name} as it was written")
        self.serial, self.name = serial, name


def needed_bytes(blob: ChosenBlob) -> int:
    """Return what a drive needs free for a blob, with its part of the manifest."""
    parts = blob.size_bytes // _part_bytes(blob.size_bytes) + 1
    return blob.size_bytes + _SIDES_BYTES + _ENTRY_BYTES + parts * _PART_BYTES


class DriveFolder:
    """The files of one drive that is being filled."""

    def __init__(self, serial: str, files: Files) -> None:
        self._serial, self._files = serial, files
        self._taken: set[str] = set()
        self._promised_bytes = 0

    def has_room(self, blob: ChosenBlob) -> bool:
        """Return whether the blob fits, beside the manifest that is written last."""
        return needed_bytes(blob) + self._promised_bytes <= self._files.free_bytes()

    def holds(self, blob: ChosenBlob) -> bool:
        """Return whether the drive has a file of the blob's name and size, of an earlier run."""
        name = _file_name(self._path(blob, number=len(self._taken)))
        return self._has(name, blob.size_bytes)

    def fill(self, blob: ChosenBlob, store: Objects) -> tuple[Blob, str]:
        """Bring a blob onto the drive; return its entry in the manifest, and its SHA-256.

        Raises:
            ManifestXmlInvalid: No manifest can name the blob.
            BlobChanged: The blob has another size, or is not there any more.
            NotAsWritten: The drive gives other bytes back.
            OutOfSpace: The drive is full.
            OSError: The drive failed.
        """
        if not is_blob_path(blob.path):
            raise ManifestXmlInvalid("the new drive manifest", check="a blob path is not allowed")
        path = self._path(blob, number=len(self._taken))
        described = _described(store, blob.name)
        is_paged = _is_paged(blob, described)
        parts, sha256 = self._write(blob, store, _file_name(path), is_paged=is_paged)
        is_known = described is not None and described.sha256 == sha256
        metadata = described.metadata if described is not None and is_known else {}
        properties = described.properties if described is not None and is_known else {}
        shown = {**properties, "Content-Length": str(blob.size_bytes), "Etag": f'"{sha256}"'}
        entry = Blob(
            blob_path=blob.path,
            file_path=path,
            length=blob.size_bytes,
            disposition="rename",
            page_ranges=tuple(PageRange(*part) for part in _non_zero(parts)) if is_paged else None,
            blocks=None if is_paged else _blocks(parts),
            metadata=self._side(path, "metadata", write_metadata(metadata)) if metadata else None,
            properties=self._side(path, "properties", write_properties(shown)),
        )
        self._taken.add(path.casefold())
        self._promised_bytes += _ENTRY_BYTES + len(entry.parts) * _PART_BYTES
        return entry, sha256

    def _write(
        self, blob: ChosenBlob, store: Objects, name: str, *, is_paged: bool
    ) -> tuple[list[tuple[int, int, str]], str]:
        if self._has(name, blob.size_bytes):  # of an earlier run, which was killed
            parts, sha256 = _copy(blob, store, lambda _: None, is_paged=is_paged)
            try:
                self._read_back(name, sha256)
            except NotAsWritten:
                self._files.delete(name)  # there may be no room for both
            else:
                return parts, sha256
        new = self._files.create()
        try:
            parts, sha256 = _copy(blob, store, new.write, is_paged=is_paged)
            new.publish(name)
        finally:
            new.abandon()
        self._read_back(name, sha256)
        return parts, sha256

    def _has(self, name: str, size_bytes: int) -> bool:
        try:
            return self._files.size_bytes(name) == size_bytes
        except ObjectAbsent:
            return False

    def _read_back(self, name: str, sha256: str) -> None:
        found = hashlib.sha256()
        for block in self._files.blocks(name):
            found.update(block)
        if found.hexdigest() != sha256:
            raise NotAsWritten(self._serial, name=name)

    def _side(self, path: str, ending: str, data: bytes) -> SideFile:
        side = f"{path}.{ending}"
        if file_path_problem(side) is not None or side.casefold() in self._taken:
            side = f"\\renamed\\{len(self._taken):08d}.{ending}"
        self._files.write(_file_name(side), data)
        self._taken.add(side.casefold())
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
        return SideFile(path=side, md5=digest)

    def _path(self, blob: ChosenBlob, *, number: int) -> str:
        """Return where a blob lies on the drive; names there do not differ in case alone."""
        path = "\\" + blob.path.replace("/", "\\")
        while path.casefold() in self._taken or not _is_usable(path):
            path, number = f"\\renamed\\{number:08d}", number + 1
        return path


def _is_usable(path: str) -> bool:
    if file_path_problem(path) is not None or not path.isprintable():
        return False
    parts = path[1:].split("\\")
    try:
        name_parts("/".join(parts))
    except ValueError:
        return False
    is_short = max(len(part.encode()) for part in parts) <= 240  # with `.properties` after it
    return is_short and not any(
        _DEVICE.fullmatch(part) or part.endswith((".", " ")) or part.startswith(" ")
        for part in parts
    )


def _file_name(path: str) -> str:
    return path[1:].replace("\\", "/")


def _described(store: Objects, name: str) -> BlobDescription | None:
    """Return what is kept of a blob, None when there is nothing, or nothing that can be read."""
    try:
        data = store.read(description_name(name))
        return decode_description(data, name=name)
    except (ObjectAbsent, IntegrityError):
        return None


def _is_paged(blob: ChosenBlob, described: BlobDescription | None) -> bool:
    """Return whether a blob is a page blob; a seed's packs were imported as such."""
    if blob.size_bytes % _PAGE or blob.size_bytes > MAX_RANGES * RANGE_BYTES:
        return False
    if described is not None:
        return described.blob_type == "PageBlob"
    return is_reserved(blob.name) and blob.size_bytes > 0


def _part_bytes(size_bytes: int) -> int:
    """Return the length of blocks: 4 MiB, and more where there would be too many."""
    return max(RANGE_BYTES, -(-size_bytes // MAX_BLOCKS))


def _blocks(parts: list[tuple[int, int, str]]) -> tuple[Block, ...]:
    return tuple(Block(*part, block_id(number)) for number, part in enumerate(parts))


def _non_zero(parts: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Yield the parts of a page blob that are not a hole."""
    return (part for part in parts if part[2])


def _read(store: Objects, blob: ChosenBlob) -> Iterator[memoryview]:
    try:
        yield from store.blocks(blob.name)
    except ObjectAbsent:
        raise BlobChanged(blob.path) from None


def _copy(
    blob: ChosenBlob, store: Objects, write: Callable[[bytes], None], *, is_paged: bool
) -> tuple[list[tuple[int, int, str]], str]:
    """Read a blob part by part; return its parts, a hole without a hash, and its SHA-256."""
    parts, whole, offset = list[tuple[int, int, str]](), hashlib.sha256(), 0
    part_bytes = RANGE_BYTES if is_paged else _part_bytes(blob.size_bytes)
    for piece in _pieces(_read(store, blob), part_bytes):
        whole.update(piece)
        is_hole = is_paged and not piece.strip(b"\0")
        md5 = hashlib.md5(piece, usedforsecurity=False).hexdigest().upper()
        parts.append((offset, len(piece), "" if is_hole else md5))
        offset += len(piece)
        if offset > blob.size_bytes:
            raise BlobChanged(blob.path)
        write(piece)
    if offset != blob.size_bytes:
        raise BlobChanged(blob.path)
    return parts, whole.hexdigest()


def _pieces(blocks: Iterable[memoryview], length: int) -> Iterator[bytes]:
    """Cut a content into pieces of one length, the last one shorter."""
    kept = bytearray()
    for block in blocks:
        kept += block
        while len(kept) >= length:
            yield bytes(kept[:length])
            del kept[:length]
    if kept:
        yield bytes(kept)
