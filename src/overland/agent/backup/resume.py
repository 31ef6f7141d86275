"""What an interrupted run left behind, put to use: nothing that is stored is stored twice.

A pack that was published is whole, whatever happened afterwards.  Its sealed directory tells
which chunks it holds, and its name whether its bytes are still what was written.  The new point
will vouch for these packs, so each is read through and compared with its name, wherever it lies.
What cannot be read, or is not ours, is left where it is and not relied upon.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, final

from overland.agent.backup.chain import add_pack, named_by_points
from overland.agent.backup.publisher import Published, Publisher
from overland.agent.repository import ObjectReader, Repository, pack_id_of
from overland.errors import IntegrityError, ObjectAbsent
from overland.events import Log
from overland.format.objectsizes import ObjectSizes
from overland.packing.chainindex import ChainIndex
from overland.ports.files import Files
from overland.values import (
    DIGEST_HEX_LENGTH,
    ObjectInfo,
    PackId,
    PointId,
    is_object_name,
    named_digest,
    pack_name,
)

if TYPE_CHECKING:
    from overland.format.index import PackDirectory

__all__ = ["adopt_local", "adopt_stored"]

_READ: Final = "adopted/packs"
"""The hint of which packs were read through: a long first copy that is killed every night reads
each pack once, and not every night."""

_BLOCK_BYTES: Final = 4 << 20
_NOTED_EVERY: Final = 64  # packs of which a kill may lose the note

log = Log()


def adopt_local(
    out: Files, *, repository: Repository, index: ChainIndex, publisher: Publisher
) -> None:
    """Take over the packs and index files of an interrupted run from the run's own folder.

    Every pack is read and compared with its name, because the run will vouch for it.  Packs that
    the chain knows already belong to an earlier point.
    """
    out.sweep()
    packs = ObjectSizes(
        _whole(
            out,
            (
                info
                for info in out.names("packs/")
                if is_object_name(info.name) and not index.has_pack(pack_id_of(info.name))
            ),
        )
    )
    if not packs:
        return
    # One index file at a time: those of 100 TB have 17 GB.
    indexes = [
        found
        for found in _whole(out, out.names("index/"))
        if _take_described(out, found.name, packs, repository, index, publisher)
    ]
    for info in packs.infos():
        if not index.has_pack(pack_id_of(info.name)):
            known = add_pack(repository, out, index, name=info.name, size_bytes=info.size_bytes)
            if known is not None:
                publisher.take_over(_published(info), known, is_local=True)
    for found in indexes:
        publisher.take_over(_published(found), None, is_local=True)


def _take_described(
    out: Files,
    name: str,
    packs: ObjectSizes,
    repository: Repository,
    index: ChainIndex,
    publisher: Publisher,
) -> bool:
    """Take over the packs of an index file; return False where it describes what is not there."""
    directories = _index_packs(out, name, repository)
    if not directories or not all(pack_name(each.pack_id) in packs for each in directories):
        return False
    for known in directories:
        if not index.has_pack(known.pack_id):  # another index file may describe it too
            index.add(known)
            pack = pack_name(known.pack_id)
            found = ObjectInfo(name=pack, size_bytes=packs[pack])
            publisher.take_over(_published(found), None, is_local=True)
    return True


def adopt_stored(
    stored: ObjectReader,
    *,
    repository: Repository,
    index: ChainIndex,
    publisher: Publisher,
    base: PointId | None,
    without: frozenset[str] = frozenset(),
) -> None:
    """Take over packs that an interrupted run has carried to a store, and that no point names.

    Those of a point with the same base count as such: its run was killed before it was noted, and
    the new point takes its place.  The store checked their bytes when it took them, and what became
    of them since, nobody did: each is read through here, once, and a hint remembers that.

    Args:
        stored: The store.
        repository: Whose packs these are.
        index: Is told of them.
        publisher: Counts them among the new point's.
        base: The new point's.
        without: Packs and index files that others were put in the place of.
    """
    named = named_by_points(repository, stored, beside=base)

    def is_left(name: str) -> bool:
        return is_object_name(name) and name not in named and name not in without

    left = ObjectSizes(
        info
        for info in stored.names("packs/")
        if is_left(info.name) and not index.has_pack(pack_id_of(info.name))
    )
    if not left:
        return
    indexes = ObjectSizes(info for info in stored.names("index/") if is_left(info.name))
    adoption = _Adoption(stored, left, repository=repository, index=index, publisher=publisher)
    for name in indexes:  # one at a time: those of 100 TB have 17 GB
        for directory in _index_packs(stored, name, repository):
            adoption.take(pack_name(directory.pack_id), directory)
    for name in left:
        adoption.take(name, None)
    adoption.finish()


@final
class _Adoption:
    """Packs of a store that are taken over, each when its bytes are what its name promises.

    Takes 200 bytes of memory for each pack that was read through.
    """

    def __init__(
        self,
        stored: ObjectReader,
        left: ObjectSizes,
        *,
        repository: Repository,
        index: ChainIndex,
        publisher: Publisher,
    ) -> None:
        self._stored, self._left = stored, left
        self._repository, self._index, self._publisher = repository, index, publisher
        self._aside: set[str] = set()
        self._read = ObjectSizes(_read_before(repository, left))
        self._lines = bytearray(b"\n".join(map(_line, self._read.infos())))
        self._noted = self._count = len(self._read)

    def take(self, name: str, known: "PackDirectory | None") -> None:
        """Take a pack over, if it is one of those that are left and was not looked at before."""
        is_new = name in self._left and name not in self._aside
        if not is_new or self._index.has_pack(pack_id_of(name)):
            return
        info = ObjectInfo(name=name, size_bytes=self._left[name])
        if not self._is_whole(info):
            self._leave(name, "its bytes have changed")
            return
        if known is None:
            known = add_pack(
                self._repository,
                self._stored,
                self._index,
                name=name,
                size_bytes=info.size_bytes,
            )
        elif known.pack_bytes == info.size_bytes:
            self._index.add(known)
        else:  # an index file of ours and a pack of ours that contradict each other
            self._leave(name, "it has another length")
            return
        if known is not None:
            self._publisher.take_over(_published(info), known, is_local=False)

    def finish(self) -> None:
        """Note which packs were read through, if these are more than before."""
        if self._count > self._noted:
            self._repository.state.write(_READ, self._lines)
            self._noted = self._count

    def _leave(self, name: str, problem: str) -> None:
        log.warning("pack.left_aside", pack=name, problem=problem)
        self._aside.add(name)

    def _is_whole(self, info: ObjectInfo) -> bool:
        if info.name in self._read:
            return True
        if _digest(self._stored, info) != pack_id_of(info.name):
            return False
        self._lines += b"\n" * bool(self._lines) + _line(info)
        self._count += 1
        if self._count % _NOTED_EVERY == 0:
            self.finish()
        return True


def _line(info: ObjectInfo) -> bytes:
    return f"{info.size_bytes} {pack_id_of(info.name)}".encode("ascii")


def _read_before(repository: Repository, left: ObjectSizes) -> Iterator[ObjectInfo]:
    """Yield which of the packs were read through before; damage only makes it less."""
    try:
        lines = io.BytesIO(repository.state.read(_READ))
    except ObjectAbsent:
        return
    for line in lines:
        pack_id = line[-DIGEST_HEX_LENGTH - 1 :].strip().decode("ascii", "replace")
        name = pack_name(PackId(pack_id))
        info = ObjectInfo(name=name, size_bytes=left.get(name, 0))
        if name in left and line.strip() == _line(info):
            yield info


def _digest(stored: ObjectReader, info: ObjectInfo) -> PackId | None:
    """Return the id that these bytes would give a pack; None for one that is cut off or longer."""
    digest, offset = hashlib.sha256(), 0
    while block := stored.read_range(info.name, offset=offset, length=_BLOCK_BYTES):
        digest.update(block)
        offset += len(block)
    return PackId(digest.hexdigest()) if offset == info.size_bytes else None


def _index_packs(objects: ObjectReader, name: str, repository: Repository) -> "list[PackDirectory]":
    if not is_object_name(name):
        return []
    try:
        return repository.open_index(objects.read(name), name=name).directories()
    except IntegrityError as error:
        log.warning("index.left_aside", index=name, problem=str(error))
        return []


def _published(info: ObjectInfo) -> Published:
    digest = named_digest(info.name)
    assert digest is not None, "packs and index files have it in their names"
    return Published(name=info.name, size_bytes=info.size_bytes, sha256=digest)


def _whole(out: Files, infos: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Yield the objects whose bytes are those that their names promise, now durable."""
    for info in infos:
        if not is_object_name(info.name):
            continue
        sha256 = hashlib.sha256()
        for block in out.blocks(info.name):
            sha256.update(block)
        if sha256.hexdigest() != named_digest(info.name):
            log.warning(
                "object.left_aside", object=info.name, problem="its bytes are not its name's"
            )
            continue
        out.settle(info.name)
        yield info
