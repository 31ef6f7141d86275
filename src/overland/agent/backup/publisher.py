"""What a run puts into its folder, and the thread that puts the packs there.

It makes each pack durable, tells the index, and tells whoever carries it on.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, final

from overland.agent.backup.crew import Crew, Take
from overland.agent.repository import Repository
from overland.format.objecttable import ObjectRef, ObjectTable
from overland.ports.files import Files
from overland.sealing.dedup import Dedup
from overland.values import index_name, pack_name

if TYPE_CHECKING:
    from overland.format.index import PackDirectory
    from overland.packing.writer import FinishedPack

__all__ = ["OnPublished", "Published", "Publisher"]

_WAITING_PACKS: Final = 2  # finished and not yet durable; each holds a file's buffer
_INDEX_PLAIN_BYTES: Final = 16 << 20  # a quarter of the format's limit: about 90 GB of mixed data
_INDEX_PACKS: Final = 64  # so that a kill over a thin line costs the directories of 4 GiB at most


class TellsPacks(Protocol):
    """What is told of packs that are durable; a chunk index is."""

    def add(self, pack: "PackDirectory") -> None:
        """Take note of a pack."""
        ...


Published = ObjectRef
"""An object that a run put into its folder, or found there and took over."""

OnPublished = Callable[[Published], None]
"""Called when an object is published in the run's folder: packs, their index, the point last."""


@final
class Publisher:
    """Makes packs durable in a thread of its own, and describes them in index files.

    Attributes:
        published: Everything that the point will rely on beside its base, in the order of coming;
            37 bytes each.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        index: TellsPacks,
        dedup: Dedup,
        out: Files,
        on_published: OnPublished,
    ) -> None:
        self.published = ObjectTable()
        self._repository, self._index, self._dedup = repository, index, dedup
        self._out, self._on_published = out, on_published
        self._described: list[PackDirectory] = []
        self._crew = Crew["FinishedPack"]("publish-packs", [self._run], limit=_WAITING_PACKS)

    def submit(self, pack: "FinishedPack") -> None:
        """Hand over a finished pack; waits while the medium is behind.

        Raises:
            Whatever stopped the publisher.
        """
        self._crew.hand_over(pack)

    def finish(self) -> None:
        """Return when all packs and the index files that describe them are durable.

        Raises:
            Whatever stopped the publisher.
        """
        for pack in self._crew.end():
            pack.abandon()
        self._crew.raise_failure()
        self._write_index()

    def stop(self) -> "list[FinishedPack]":
        """End the thread, after a failure; return the packs that it did not publish."""
        return self._crew.end()

    def take_over(
        self, found: Published, directory: "PackDirectory | None", *, is_local: bool
    ) -> None:
        """Count an object that an interrupted run has published among this run's.

        Args:
            found: The object.
            directory: For a pack that no index file describes yet.
            is_local: Whether it lies in this run's folder, and not where it is carried to.
        """
        if is_local:
            self._announce(found)
        else:
            self.published.append(found)
        if directory is not None:
            self._describe(directory)

    def write(self, name: Callable[[str], str], data: bytes | memoryview) -> None:
        """Publish a small object whose name may depend on its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._out.write(name(sha256), data)
        self._announce(Published(name=name(sha256), size_bytes=len(data), sha256=sha256))

    def _run(self, take: "Take[FinishedPack]") -> None:
        while (pack := take()) is not None:
            self._publish(pack)

    def _publish(self, pack: "FinishedPack") -> None:
        directory = pack.directory
        try:
            pack.publish()
        except Exception:
            pack.abandon()  # it was not published, and nobody else knows of it
            raise
        with self._dedup.lock:
            self._index.add(directory)
            self._dedup.arrived(directory.directory.chunks["id"].tobytes())
        self._announce(
            Published(
                name=pack_name(directory.pack_id),
                size_bytes=directory.pack_bytes,
                sha256=directory.pack_id,
            )
        )
        self._describe(directory)

    def _announce(self, published: Published) -> None:
        self.published.append(published)
        self._on_published(published)

    def _describe(self, directory: "PackDirectory") -> None:
        if _plain_bytes([*self._described, directory]) > _INDEX_PLAIN_BYTES:
            self._write_index()
        self._described.append(directory)
        if len(self._described) >= _INDEX_PACKS:
            self._write_index()

    def _write_index(self) -> None:
        if self._described:
            self.write(index_name, self._repository.seal_index(self._described))
            self._described = []


def _plain_bytes(packs: "list[PackDirectory]") -> int:
    from overland.format.index import plain_bytes  # noqa: PLC0415 - loads arrays

    return plain_bytes(
        packs=len(packs),
        segments=sum(len(pack.directory.segments) for pack in packs),
        chunks=sum(len(pack.directory.chunks) for pack in packs),
    )
