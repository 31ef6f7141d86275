"""Chunks into new packs, these and index files into the vault, and a replacement for the old.

The order of what becomes visible: packs, index files that describe them, the replacement's
document, and only then the cloud is asked to accept it.  Until it has accepted, nothing changed
for anybody; what was put is unneeded, and is used by the next attempt or deleted by the cloud.
"""

import hashlib
from collections.abc import Container, Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self, final

from overland.agent.backup.lanes import Lane
from overland.agent.backup.plan import DEFAULT_LEVEL
from overland.agent.backup.publisher import Published, Publisher
from overland.agent.backup.upload import Uploader
from overland.agent.repack.shelf import Shelf
from overland.agent.repository import Repository
from overland.errors import ObjectCorrupt
from overland.format.index import PackDirectory
from overland.format.replacement import Replacement, ReplacementObject
from overland.packing.index import Ids
from overland.packing.reader import read_directory
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.sealing.dedup import Dedup
from overland.values import PackId, pack_name, replacement_name

__all__ = ["Rewriter", "forget_journal", "put_replacement"]

_PACK_BYTES: Final = 64 << 20
_JOURNAL: Final = "rewritten/"


@final
class Rewriter:
    """Stores chunks anew.  Use as a context manager, for one thread.

    Killed at any moment, the next one with the same state and spool finds the packs that reached
    the vault, and stores no chunk of them again.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        vault: Objects,
        spool: Files,
        clock: Clock,
        pack_bytes: int = _PACK_BYTES,
    ) -> None:
        """Prepare.

        Args:
            repository: Seals; its state remembers which packs are ours.
            vault: Where everything goes to.
            spool: A folder of its own on this computer, for a few packs on their way.
            clock: For pauses between attempts.
            pack_bytes: How large packs become.
        """
        self._repository, self._vault, self._spool = repository, vault, spool
        self._pack_bytes = pack_bytes
        self._uploader = Uploader(vault, spool, clock=clock)
        self.index = repository.new_index()
        self._dedup = Dedup(self.index)
        self._ours: list[PackDirectory] = []

    def __enter__(self) -> Self:
        """Start, and send what an interrupted attempt left in the spool."""
        self._spool.sweep()
        with ExitStack() as stack:
            stack.enter_context(self._uploader)
            self._uploader.resume()
            self._stack = stack.pop_all()
        self._publisher = Publisher(
            repository=self._repository,
            index=self.index,
            dedup=self._dedup,
            out=self._spool,
            on_published=self._published,
        )
        self._lane = Lane(
            repository=self._repository,
            out=self._spool,
            publisher=self._publisher,
            level=DEFAULT_LEVEL,
            pack_bytes=self._pack_bytes,
            first_pack_bytes=self._pack_bytes,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the threads."""
        if error is not None:
            for pack in self._publisher.stop():
                pack.abandon()
            self._lane.abandon()
        self._stack.__exit__(kind, error, trace)

    def resume(self, shelf: Shelf, *, taken: Container[str]) -> int:
        """Take over packs that an interrupted attempt brought to the vault; return how many.

        Args:
            shelf: Reads their directories from the vault.
            taken: Objects that a point needs by now, or that were replaced: they are not ours.
        """
        for info in list(self._repository.state.names(_JOURNAL)):
            pack_id = PackId(info.name.removeprefix(_JOURNAL))
            name = pack_name(pack_id)
            directory = None if name in taken else shelf.own_directory(pack_id)
            if directory is None:
                self._repository.state.delete(info.name)
                continue
            self.index.add(directory)
            self._ours.append(directory)
        return len(self._ours)

    def add(self, ids: Ids, chunks: Iterable[memoryview]) -> None:
        """Store chunks whose content was proven by their ids; those that are stored, not again.

        Raises:
            OutOfSpace: This computer or the vault is full.
            TransientError: The vault did not answer.
        """
        new = set(self._dedup.claim(ids.tobytes()))
        for position, data in enumerate(chunks):
            if position in new:
                chunk_id = ids[position].tobytes()
                self._lane.add(data, [len(data)], [chunk_id], new=[0])

    def lacks(self, ids: Ids) -> Ids:
        """Return which of the chunks have not been added yet."""
        return ids[self.index.lookup(ids) < 0]

    def finish(
        self, survivors: Iterable[PackDirectory], *, needed: Iterable[Ids]
    ) -> list[ReplacementObject]:
        """Return what came, when all of it is in the vault: packs, and index files.

        The vault's store compares size and SHA-256 before an object becomes visible, so that the
        segments are not read back; the directories are, and every needed chunk is looked up in
        these.

        Args:
            survivors: Old packs that the new index files describe too.
            needed: Chunks that were added, now or by an interrupted attempt.

        Raises:
            ObjectCorrupt: The vault does not hold what was put.
            OutOfSpace, TransientError: As `add`.
        """
        self._lane.close()
        old: set[str] = set()
        for directory in survivors:
            old.add(pack_name(directory.pack_id))
            self._publisher.take_over(_published(directory), directory, is_local=False)
        for directory in self._ours:
            self._publisher.take_over(_published(directory), directory, is_local=False)
        self._publisher.finish()
        self._uploader.drain()
        came = [each for each in self._publisher.published if each.name not in old]
        self._prove(came, needed)
        return sorted(
            (
                ReplacementObject(name=each.name, size_bytes=each.size_bytes, sha256=each.sha256)
                for each in came
            ),
            key=lambda item: item.name,
        )

    def _prove(self, came: Sequence[Published], needed: Iterable[Ids]) -> None:
        stored = self._repository.new_index()
        for each in came:
            if self._vault.head(each.name).size_bytes != each.size_bytes:
                raise ObjectCorrupt(each.name, check="the vault holds it with another length")
            if each.name.startswith("packs/"):
                stored.add(
                    read_directory(
                        self._vault,
                        PackId(each.sha256),
                        size_bytes=each.size_bytes,
                        open_pack=self._repository.open_pack,
                    )
                )
        for ids in needed:
            if (stored.lookup(ids) < 0).any():
                raise ObjectCorrupt("a new pack", check="it lacks a chunk that was copied")

    def _published(self, published: Published) -> None:
        if published.name.startswith("packs/"):
            self._repository.state.write(_JOURNAL + published.sha256, b"put by an attempt\n")
        self._uploader.submit(published)


def _published(directory: PackDirectory) -> Published:
    return Published(
        name=pack_name(directory.pack_id),
        size_bytes=directory.pack_bytes,
        sha256=directory.pack_id,
    )


def forget_journal(repository: Repository) -> None:
    """Note that a replacement counts: from now on its packs are like any other."""
    for info in list(repository.state.names(_JOURNAL)):
        repository.state.delete(info.name)


def put_replacement(repository: Repository, vault: Objects, replacement: Replacement) -> None:
    """Store a replacement's document; it counts when it is accepted.

    Raises:
        OutOfSpace: The vault is full.
        TransientError: It did not answer.
    """
    data = repository.seal_replacement(replacement)
    name = replacement_name(replacement.replacement_id)
    vault.put(name, [data], size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
