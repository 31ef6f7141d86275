"""One blob of another tool's drive into its container, as its disposition says.

| there is a blob of that name, and | then                                                        |
|-----------------------------------|-------------------------------------------------------------|
| `no-overwrite`                    | it stays, and this one is skipped                           |
| `rename`, as where nothing is said| this one is called `name (2)`, or the next number           |
| `overwrite`                       | it is deleted when this one has been read and checked       |

A blob becomes visible whole and checked, or not at all; only then its description is written.
Where it goes is kept before it is sent, so that an import that was killed ends as if it had not
been.  Between the old blob's removal and the new one's arrival a reader finds neither; after a
power cut in between the next run brings the new one.
"""

import hashlib
from dataclasses import replace
from typing import Final

from overland.errors import ObjectAbsent, ObjectCorrupt, ObjectExists
from overland.format.blob_description import (
    BlobDescription,
    description_name,
    encode_description,
    is_reserved,
)
from overland.format.copy_log import BlobStatus, DispositionStatus, PartStatus, SideStatus
from overland.format.drive_xml import Blob, is_blob_path
from overland.ports.files import Files, name_parts
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.station.blobreading import BadReading, BlobContent, Checked, check_blob_file
from overland.station.containers import ROOT_CONTAINER, Containers, is_container_name
from overland.station.items import DriveKey, Item, Place, Verdict
from overland.station.records import Records
from overland.station.sidefiles import Sides, read_sides
from overland.station.transfer import UploadChanged

__all__ = ["Placing", "next_name", "target_problem"]

_TRIES: Final = 1000  # numbers after a name; nobody has more blobs of one name
_READINGS: Final = 2  # a medium that read wrong once is asked again before it is called bad
_MAX_NAME_BYTES: Final = 1024
_MAX_PART_BYTES: Final = 255


class Placing:
    """Brings blobs of other tools' drives into their containers."""

    def __init__(self, *, records: Records, containers: Containers, progress: Progress) -> None:
        self._records, self._containers, self._progress = records, containers, progress

    def place(self, key: DriveKey, item: Item, *, medium: Files) -> Verdict:
        """Import a blob; return how it went.

        Raises:
            UploadChanged: Bytes were changed on the way; the blob's import stays open.
            OverlandError: The container failed; the blob's import stays open.
        """
        verdict = self._placed(key, item, medium)
        self._progress.advance(bytes=item.size_bytes if verdict.landed else 0, count=1)
        return verdict

    def _placed(self, key: DriveKey, item: Item, medium: Files) -> Verdict:
        problem = target_problem(item.blob.blob_path)
        if problem is not None:
            return _cancelled(problem, item.blob)
        container, _, name = item.blob.blob_path.partition("/")
        store = self._containers.blobs(key.job_id, container, replace=False)
        if _is_skipped(store, item, name):
            place = Place(name=name, disposition=DispositionStatus.SKIPPED)
            return replace(_cancelled(BlobStatus.COMPLETED, item.blob), place=place)
        for _ in range(_READINGS):
            checked = _check(medium, item.blob)
            if checked.status is not BlobStatus.COMPLETED:
                return replace(_cancelled(checked.status, item.blob), parts=checked.parts)
            sending = _Sending(self._records, self._containers, key, item)
            try:
                return sending.send(medium, checked, store, name=name)
            except BadReading:
                continue  # the medium gave other bytes than a moment ago
            except ObjectCorrupt as error:
                raise UploadChanged(item.name) from error
        return replace(_cancelled(BlobStatus.IO_FAILED, item.blob), parts=PartStatus.IO_FAILED)


class _Sending:
    """One blob on its way, after it was read and found right."""

    def __init__(self, records: Records, containers: Containers, key: DriveKey, item: Item) -> None:
        self._records, self._containers, self._key, self._item = records, containers, key, item

    def send(self, medium: Files, checked: Checked, store: Objects, *, name: str) -> Verdict:
        """Store the blob under the name that its disposition gives it; return how it went.

        The name is kept in the tables before anything is sent: who is killed sends to the same one
        again; a name that somebody else took meanwhile is chosen anew, `_TRIES` times at most.

        Raises:
            BadReading: The medium gave other bytes than when it was checked; nothing was stored.
            ObjectCorrupt: The container got other bytes than were sent; nothing was stored.
            OverlandError: The container failed; the blob's import stays open.
        """
        place = self._item.place
        for _ in range(_TRIES):
            if place is None:
                place = _choose(store, self._item.blob, name)
                if place is None:
                    return _cancelled(BlobStatus.RENAME_FAILED, self._item.blob)
                self._records.choose_place(self._key, self._item.number, place)
            if self._put(medium, checked, store, place):
                return self._describe(medium, checked, store, place)
            if place.disposition is DispositionStatus.OVERWRITTEN or not _holds(store, place.name):
                # Its name is that of a folder, or has a blob where it needs a folder.
                return _cancelled(BlobStatus.BLOB_REQUEST_FAILED, self._item.blob)
            place = None  # somebody else took the name since it was chosen
            if self._item.blob.disposition == "no-overwrite":
                taken = Place(name=name, disposition=DispositionStatus.SKIPPED)
                return replace(_cancelled(BlobStatus.COMPLETED, self._item.blob), place=taken)
        return _cancelled(BlobStatus.RENAME_FAILED, self._item.blob)

    def _put(self, medium: Files, checked: Checked, store: Objects, place: Place) -> bool:
        """Store the blob; return whether it has its name now."""
        content = BlobContent(medium, self._item.blob)
        size_bytes = self._item.size_bytes
        try:
            store.put(place.name, content, size_bytes=size_bytes, sha256=checked.sha256)
        except ObjectExists:
            if place.disposition is not DispositionStatus.OVERWRITTEN:
                return False
        else:
            return True
        replacing = self._replacing()
        replacing.delete(description_name(place.name))
        replacing.delete(place.name)
        try:
            replacing.put(place.name, content, size_bytes=size_bytes, sha256=checked.sha256)
        except ObjectExists:
            return False
        return True

    def _describe(self, medium: Files, checked: Checked, store: Objects, place: Place) -> Verdict:
        sides = read_sides(medium, self._item.blob)
        description = BlobDescription(
            name=place.name,
            blob_type="BlockBlob" if self._item.blob.page_ranges is None else "PageBlob",
            sha256=checked.sha256,
            properties=sides.properties,
            metadata=sides.metadata,
        )
        data = encode_description(description)
        try:
            _put_small(store, description_name(place.name), data)
        except ObjectExists:  # left by a blob that is gone, or of the same bytes as this one
            self._replacing().delete(description_name(place.name))
            _put_small(store, description_name(place.name), data)
        return _landed(place, sides)

    def _replacing(self) -> Objects:
        container = self._item.blob.blob_path.partition("/")[0]
        return self._containers.blobs(self._key.job_id, container, replace=True)


def target_problem(blob_path: str) -> BlobStatus | None:
    """Say why no blob can be imported under a path, which may be anything that a drive says.

    A path without a problem has a container's name, and a name below it that leads nowhere else
    and is not ours.
    """
    container, _, name = blob_path.partition("/")
    if not is_blob_path(blob_path) or not is_container_name(container):
        return BlobStatus.BLOB_REQUEST_FAILED
    try:
        parts = [part.encode() for part in name_parts(name)]
    except ValueError:
        return BlobStatus.BLOB_REQUEST_FAILED
    if len(name.encode()) > _MAX_NAME_BYTES or max(map(len, parts)) > _MAX_PART_BYTES:
        return BlobStatus.BLOB_REQUEST_FAILED
    if container == ROOT_CONTAINER and len(parts) > 1:
        return BlobStatus.BLOB_REQUEST_FAILED
    return BlobStatus.BLOB_REQUEST_FORBIDDEN if is_reserved(name) else None


def next_name(name: str, number: int) -> str:
    """Return the name that the rename rule gives: the number goes before the last dot.

    `chart.png` becomes `chart (2).png`, and `chart` becomes `chart (2)`.
    """
    stem, dot, ending = name.rpartition(".")
    return f"{stem} ({number}).{ending}" if dot else f"{name} ({number})"


def _choose(store: Objects, blob: Blob, name: str) -> Place | None:
    """Return where a blob goes now, None when no name is left for it."""
    if not _holds(store, name):
        return Place(name=name, disposition=DispositionStatus.CREATED)
    if blob.disposition == "overwrite":
        return Place(name=name, disposition=DispositionStatus.OVERWRITTEN)
    container = blob.blob_path.partition("/")[0]
    for number in range(2, _TRIES):
        other = next_name(name, number)
        if target_problem(f"{container}/{other}") is not None:
            return None
        if not _holds(store, other):
            return Place(name=other, disposition=DispositionStatus.RENAMED)
    return None


def _is_skipped(store: Objects, item: Item, name: str) -> bool:
    return item.place is None and item.blob.disposition == "no-overwrite" and _holds(store, name)


def _check(medium: Files, blob: Blob) -> Checked:
    """Read a blob's file, again if it reads wrong."""
    checked = check_blob_file(medium, blob)
    if checked.status is BlobStatus.COMPLETED_WITH_ERRORS:
        return check_blob_file(medium, blob)
    return checked


def _holds(store: Objects, name: str) -> bool:
    try:
        store.head(name)
    except ObjectAbsent:
        return False
    return True


def _put_small(store: Objects, name: str, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.put(name, [data], size_bytes=len(data), sha256=digest)


def _landed(place: Place, sides: Sides) -> Verdict:
    is_whole = sides.are_whole
    return Verdict(
        status=BlobStatus.COMPLETED if is_whole else BlobStatus.COMPLETED_WITH_ERRORS,
        parts=PartStatus.COMPLETED,
        place=place,
        metadata=sides.metadata_status,
        properties=sides.properties_status,
    )


def _cancelled(status: BlobStatus, blob: Blob) -> Verdict:
    """Return the verdict on a blob that nothing was stored of."""
    has_metadata = blob.metadata or blob.blob_list.metadata
    has_properties = blob.properties or blob.blob_list.properties
    return Verdict(
        status=status,
        parts=PartStatus.CANCELLED,
        metadata=SideStatus.CANCELLED if has_metadata else None,
        properties=SideStatus.CANCELLED if has_properties else None,
    )
