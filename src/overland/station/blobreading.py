"""A blob of another tool's drive, read part by part.

Nobody signed such a drive.  What its manifest promises are MD5s of parts, so the file is read
twice: once to check each part and to learn the SHA-256 of the whole, and once to send it, when the
store compares it with that.  Between the parts of a page blob there are zeros, whatever the file
has there.
"""

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.copy_log import BlobStatus, PartStatus
from overland.format.drive_xml import Blob, Block, PageRange, file_path_problem
from overland.ports.files import Files

__all__ = ["BadReading", "BlobContent", "Checked", "check_blob_file"]

_ZEROS: Final = memoryview(bytes(1 << 20))


class BadReading(IntegrityError):
    """The medium does not give any more what it gave before."""

    code = "bad-reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a file turned out to be; `sha256` is empty unless all parts are right."""

    status: BlobStatus
    parts: tuple[PartStatus, ...] | PartStatus
    sha256: str = ""


def check_blob_file(medium: Files, blob: Blob) -> Checked:
    """Read a blob's file and check every part; nothing that the drive does is raised.

    Parts that are right of a blob that is not are never stored: blocks stay `Uncommitted`, ranges
    `Cancelled`.
    """
    problem = file_path_problem(blob.file_path)
    if problem is not None:
        return _none(_NAMES[problem])
    try:
        return _check_parts(medium, blob)
    except (ObjectAbsent, ValueError, OSError) as error:
        return _none(_status(error))


_NAMES: Final = {
    "invalid": BlobStatus.FILE_NAME_INVALID,
    "too-long": BlobStatus.FILE_NAME_TOO_LONG,
}


def _status(error: Exception) -> BlobStatus:
    match error:
        case ObjectAbsent():
            return BlobStatus.FILE_NOT_FOUND
        case PermissionError():
            return BlobStatus.FILE_ACCESS_DENIED
        case ValueError():  # a name that the drive's folder keeps for itself
            return BlobStatus.FILE_NAME_INVALID
        case OSError(errno=errno.ENAMETOOLONG):
            return BlobStatus.FILE_NAME_TOO_LONG
        case _:
            return BlobStatus.IO_FAILED


class BlobContent:
    """A blob's bytes, to be read any number of times."""

    def __init__(self, medium: Files, blob: Blob) -> None:
        self._medium, self._blob = medium, blob

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the content.

        Raises:
            BadReading: The medium failed, or a part is not any more what it was.
        """
        end = 0
        for part in self._blob.parts:
            yield from _zeros(part.offset - end)
            try:
                data = _read_part(self._medium, self._blob.file_name, part)
            except (ObjectAbsent, OSError) as error:
                raise BadReading(f"{self._blob.file_name} cannot be read any more") from error
            if _md5(data) != part.md5:
                raise BadReading(f"{self._blob.file_name} does not read as before")
            yield data
            end = part.offset + part.length
        yield from _zeros(self._blob.length - end)


def _check_parts(medium: Files, blob: Blob) -> Checked:
    medium.size_bytes(blob.file_name)  # also a file of which nothing is read has to be there
    whole, statuses, end = hashlib.sha256(), [], 0
    for part in blob.parts:
        _add_zeros(whole, part.offset - end)
        statuses.append(_check_part(medium, blob.file_name, part, whole))
        end = part.offset + part.length
    _add_zeros(whole, blob.length - end)
    if all(status is PartStatus.COMPLETED for status in statuses):
        return Checked(
            status=BlobStatus.COMPLETED, parts=PartStatus.COMPLETED, sha256=whole.hexdigest()
        )
    kept = PartStatus.UNCOMMITTED if blob.page_ranges is None else PartStatus.CANCELLED
    parts = tuple(kept if each is PartStatus.COMPLETED else each for each in statuses)
    return Checked(status=BlobStatus.COMPLETED_WITH_ERRORS, parts=parts)


def _check_part(
    medium: Files, name: str, part: PageRange | Block, whole: "hashlib._Hash"
) -> PartStatus:
    try:
        data = _read_part(medium, name, part)
    except PermissionError:
        raise
    except OSError:
        return PartStatus.IO_FAILED
    if len(data) < part.length:
        return PartStatus.FILE_UNEXPECTED_END
    whole.update(data)
    return PartStatus.COMPLETED if _md5(data) == part.md5 else PartStatus.CORRUPTED


def _read_part(medium: Files, name: str, part: PageRange | Block) -> bytes:
    return medium.read_range(name, offset=part.offset, length=part.length)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().upper()


def _add_zeros(whole: "hashlib._Hash", count: int) -> None:
    for block in _zeros(count):
        whole.update(block)


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)


def _none(status: BlobStatus) -> Checked:
    return Checked(status=status, parts=PartStatus.CANCELLED)
