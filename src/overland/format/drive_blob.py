"""The values of an XML drive manifest and their rules (`drive-manifest-v1.md` §3.3)."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from overland.errors import IntegrityError

__all__ = [
    "DISPOSITIONS",
    "MAX_BLOCKS",
    "MAX_BLOCK_BYTES",
    "MAX_RANGES",
    "RANGE_BYTES",
    "VERSION",
    "Blob",
    "BlobList",
    "Block",
    "Disposition",
    "ManifestXmlInvalid",
    "NameProblem",
    "PageRange",
    "SideFile",
    "block_id",
    "check_blob",
    "file_path_problem",
    "is_blob_path",
]

VERSION: Final = "2014-11-01"
RANGE_BYTES: Final = 4 << 20
MAX_RANGES: Final = 262_144  # 1 TiB, the documented largest page blob, in full ranges
MAX_BLOCKS: Final = 50_000
MAX_BLOCK_BYTES: Final = 100 << 20  # later services take blocks of 100 MiB
MAX_BLOB_BYTES: Final = 8 << 40
_ALIGNMENT: Final = 512
_MD5: Final = re.compile(r"[0-9A-F]{32}")
_FORBIDDEN: Final = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]')
_MAX_PART: Final = 255
_MAX_PATH: Final = 1024

NameProblem = Literal["invalid", "too-long"]
"""Why a path on a drive cannot be used; two different codes in a copy log."""

Disposition = Literal["no-overwrite", "overwrite", "rename"]
DISPOSITIONS: Final = frozenset[Disposition]({"no-overwrite", "overwrite", "rename"})


class ManifestXmlInvalid(IntegrityError):
    """An XML drive manifest is not well formed, or breaks a rule of its schema."""

    code = "manifest-xml-invalid"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is not a valid drive manifest: {check}; prepare the drive again")
        self.name, self.check = name, check


class PageRange(NamedTuple):
    """A part of a page blob; the offset is the same in file and blob.  MD5 in upper case."""

    offset: int
    length: int
    md5: str


class Block(NamedTuple):
    """A part of a block blob; blocks cover the whole file.  MD5 in upper case."""

    offset: int
    length: int
    md5: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFile:
    """A file of metadata or of properties beside the data; `md5` may be unknown."""

    path: str
    md5: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobList:
    """What the blobs of one list share: its id, and the defaults for metadata and properties."""

    id: str | None = None
    metadata: SideFile | None = None
    properties: SideFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    r"""One file on the drive and the blob that it becomes; either ranges or blocks.

    Attributes:
        blob_path: Container and blob name.
        file_path: Path on the drive, from the root, with a leading `\`.
        length: The file's bytes.
        disposition: What to do if the blob exists; `rename` where a manifest says nothing.
        page_ranges: The parts of a page blob, or None.
        blocks: The parts of a block blob, or None.
        metadata: The blob's own metadata file.
        properties: The blob's own properties file.
        blob_list: What the list around it says.
    """

    blob_path: str
    file_path: str
    length: int
    disposition: Disposition
    page_ranges: tuple[PageRange, ...] | None = None
    blocks: tuple[Block, ...] | None = None
    metadata: SideFile | None = None
    properties: SideFile | None = None
    blob_list: BlobList = BlobList()

    @property
    def file_name(self) -> str:
        """The file's name below the drive's root, with `/`, as `ports.files` wants it."""
        return self.file_path[1:].replace("\\", "/")

    @property
    def parts(self) -> Sequence[PageRange | Block]:
        """The ranges or the blocks, whichever the blob has."""
        return self.page_ranges or self.blocks or ()


def block_id(number: int) -> str:
    """Return the id of block `number`: Base64 of four bytes, lowest first."""
    return base64.b64encode(number.to_bytes(4, "little")).decode("ascii")


def check_blob(blob: Blob, *, name: str, names: bool = True) -> None:
    """Return when a blob's paths, length and parts follow the rules of §3.3.

    Without `names` the two paths are left to the caller, who must not use them before
    `file_path_problem` and `is_blob_path` were asked.

    Raises:
        ManifestXmlInvalid: They do not; `check` names the rule.
    """
    if names and file_path_problem(blob.file_path) is not None:
        raise ManifestXmlInvalid(name, check="a file path is not allowed")
    if names and not is_blob_path(blob.blob_path):
        raise ManifestXmlInvalid(name, check="a blob path is not allowed")
    if not 0 <= blob.length <= MAX_BLOB_BYTES:
        raise ManifestXmlInvalid(name, check="a blob's length is not allowed")
    if blob.disposition not in DISPOSITIONS:
        raise ManifestXmlInvalid(name, check="a disposition is unknown")
    if (blob.page_ranges is None) == (blob.blocks is None):
        raise ManifestXmlInvalid(name, check="a blob needs either page ranges or blocks")
    if any(_MD5.fullmatch(part.md5) is None for part in blob.parts):
        raise ManifestXmlInvalid(name, check="a hash is not an MD5 in hexadecimal digits")
    if blob.page_ranges is not None:
        _check_ranges(blob.page_ranges, length=blob.length, name=name)
    if blob.blocks is not None:
        _check_blocks(blob.blocks, length=blob.length, name=name)


def _check_ranges(ranges: tuple[PageRange, ...], *, length: int, name: str) -> None:
    if length % _ALIGNMENT:
        raise ManifestXmlInvalid(name, check="a page blob's length is not a multiple of 512")
    if len(ranges) > MAX_RANGES:
        raise ManifestXmlInvalid(name, check="a page blob has too many ranges")
    end = 0
    for part in ranges:
        if part.offset % _ALIGNMENT or part.length % _ALIGNMENT:
            raise ManifestXmlInvalid(name, check="a page range is not aligned to 512 bytes")
        if not 0 < part.length <= RANGE_BYTES:
            raise ManifestXmlInvalid(name, check="a page range's length is not allowed")
        if part.offset < end or part.offset + part.length > length:
            raise ManifestXmlInvalid(name, check="page ranges overlap or leave the file")
        end = part.offset + part.length


def _check_blocks(blocks: tuple[Block, ...], *, length: int, name: str) -> None:
    if len(blocks) > MAX_BLOCKS:
        raise ManifestXmlInvalid(name, check="a block blob has too many blocks")
    end = 0
    for block in blocks:
        if not 0 < block.length <= MAX_BLOCK_BYTES:
            raise ManifestXmlInvalid(name, check="a block's length is not allowed")
        if block.offset != end:
            raise ManifestXmlInvalid(name, check="blocks overlap or leave a gap")
        end += block.length
    if end != length:
        raise ManifestXmlInvalid(name, check="blocks do not cover the file")
    if len({block.id is None for block in blocks}) > 1:
        raise ManifestXmlInvalid(name, check="block ids are neither all present nor all absent")


def file_path_problem(path: str) -> NameProblem | None:
    r"""Say why a path from a manifest, such as `\wai\meta.xml`, names no file of the drive.

    A path without a problem has plain parts only: it cannot leave the drive.
    """
    if not path.startswith("\\"):
        return "invalid"
    parts = path[1:].split("\\")
    if any(part in {"", ".", ".."} or _FORBIDDEN.search(part) for part in parts):
        return "invalid"
    if len(path) > _MAX_PATH or max(map(len, parts)) > _MAX_PART:
        return "too-long"
    return None


def is_blob_path(path: str) -> bool:
    """Return whether a path from a manifest has a container and a blob's name, of plain parts."""
    parts = path.split("/")
    if len(parts) < 2 or len(path) > _MAX_PATH or not path.isprintable():
        return False
    return all(part not in {"", ".", ".."} and "\\" not in part for part in parts)
