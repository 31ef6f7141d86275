"""Which blobs an export job asks for: named one by one, by prefix, or in a list that is a blob."""

from collections.abc import Iterator
from dataclasses import dataclass

from overland.errors import ObjectAbsent
from overland.format.blob_description import DESCRIPTIONS
from overland.format.blob_list import BlobListInvalid, BlobSelection, read_blob_list
from overland.station.connection import StationJob
from overland.station.containers import Containers, logs_place

__all__ = ["ChosenBlob", "Selected", "select_blobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenBlob:
    """One blob that is there."""

    container: str
    name: str
    size_bytes: int

    @property
    def path(self) -> str:
        """The blob's path as manifests and lists have it."""
        return f"{self.container}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """The blobs that are there, each once, by path; and what was asked for and is not there."""

    blobs: tuple[ChosenBlob, ...]
    absent: tuple[str, ...]


def select_blobs(job: StationJob, containers: Containers) -> Selected:
    """Return what an export job asks for, without the logs that the export itself leaves.

    Raises:
        BlobListInvalid: The list that the job names is absent or not valid.
    """
    wanted = _wanted(job, containers)
    found: dict[str, ChosenBlob] = {}
    absent = list(wanted.snapshots)
    for path in wanted.paths:
        blob = _find(job, containers, path)
        if blob is None:
            absent.append(path)
        else:
            found[blob.path] = blob
    for prefix in wanted.prefixes:
        found.update((blob.path, blob) for blob in _below(job, containers, prefix))
    container, prefix = logs_place(job)
    own = f"{container}/{prefix}waies/{job.name}_"
    blobs = tuple(found[path] for path in sorted(found) if not path.startswith(own))
    return Selected(blobs=blobs, absent=tuple(dict.fromkeys(absent)))


def _wanted(job: StationJob, containers: Containers) -> BlobSelection:
    asked = job.export or {}
    path = asked.get("blobListblobPath")
    if path is None:
        inline = asked.get("blobList") or {}
        return BlobSelection(
            paths=tuple(inline.get("blobPath") or ()),
            prefixes=tuple(inline.get("blobPathPrefix") or ()),
        )
    blob = _find(job, containers, str(path).lstrip("/"))
    if blob is None:
        raise BlobListInvalid(f"there is no blob {path}")
    return read_blob_list(containers.exported(job.job_id, blob.container).read(blob.name))


def _find(job: StationJob, containers: Containers, path: str) -> ChosenBlob | None:
    container, _, name = path.partition("/")
    if container not in job.containers or not name:
        return None
    try:
        info = containers.exported(job.job_id, container).head(name)
    except (ObjectAbsent, ValueError):  # the latter for names that no blob can have
        return None
    return ChosenBlob(container=container, name=name, size_bytes=info.size_bytes)


def _below(job: StationJob, containers: Containers, prefix: str) -> Iterator[ChosenBlob]:
    """Yield the blobs of a prefix: of all containers that begin so, or of one from its slash on."""
    start, slash, name = prefix.removeprefix("/").partition("/")
    for container in job.containers:
        if container != start if slash else not container.startswith(start):
            continue
        for info in containers.exported(job.job_id, container).names(name):
            if not info.name.startswith(f"{DESCRIPTIONS}/"):
                yield ChosenBlob(container=container, name=info.name, size_bytes=info.size_bytes)
