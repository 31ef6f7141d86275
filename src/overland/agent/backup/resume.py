"""What an interrupted run left behind, put to use: nothing that is stored is stored twice.

A pack that was published is whole, whatever happened afterwards.  Its sealed directory tells
which chunks it holds, and its name whether its bytes are still what was written.  The new point
will vouch for these packs, so each is read through and compared with its name, wherever it lies.
What cannot be read, or is not ours, is left where it is and not relied upon.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from overland.agent.backup.chain import add_pack, named_by_points
from overland.agent.backup.publisher import Published, Publisher
from overland.agent.repository import ObjectReader, Repository, pack_id_of
from overland.errors import IntegrityError, ObjectAbsent
from overland.events import Log
from overland.packing.chainindex import ChainIndex
from overland.ports.files import Files
from overland.values import ObjectInfo, PackId, PointId, is_object_name, pack_name

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
    new = [
        info
        for info in out.names("packs/")
        if is_object_name(info.name) and not index.has_pack(pack_id_of(info.name))
    ]
    if not new:
        return
    packs = _all_checked(out, new)
    indexes = _all_checked(out, list(out.names("index/")))
    described: dict[str, PackDirectory] = {}
    for name in list(indexes):
        directories = {str(pack_name(p.pack_id)): p for p in _index_packs(out, name, repository)}
        if directories and directories.keys() <= packs.keys():
            described.update(directories)
        else:
            del indexes[name]
    for name, pack in packs.items():
        known = described.get(name)
        if known is not None:
            index.add(known)
            publisher.take_over(pack, None, is_local=True)
            continue
        known = add_pack(repository, out, index, name=name, size_bytes=pack.size_bytes)
        if known is not None:
            publisher.take_over(pack, known, is_local=True)
    for found in indexes.values():
        publisher.take_over(found, None, is_local=True)


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
    named = named_by_points(repository, stored, beside=base) | without
    described: dict[str, PackDirectory] = {}
    for info in stored.names("index/"):
        if info.name not in named:
            for directory in _index_packs(stored, info.name, repository):
                described.setdefault(pack_name(directory.pack_id), directory)
    left = [
        info
        for info in stored.names("packs/")
        if is_object_name(info.name)
        and info.name not in named
        and not index.has_pack(pack_id_of(info.name))
    ]
    for info in _all_whole(stored, left, repository):
        known = described.get(info.name)
        if known is None:
            known = add_pack(repository, stored, index, name=info.name, size_bytes=info.size_bytes)
        elif known.pack_bytes == info.size_bytes:
            index.add(known)
        else:  # an index file of ours and a pack of ours that contradict each other
            log.warning("pack.left_aside", pack=info.name, problem="it has another length")
            continue
        if known is not None:
            found = Published(
                name=info.name,
                size_bytes=info.size_bytes,
                sha256=known.pack_id,
            )
            publisher.take_over(found, known, is_local=False)


def _all_whole(
    stored: ObjectReader, left: list[ObjectInfo], repository: Repository
) -> Iterator[ObjectInfo]:
    """Yield those of the packs whose bytes are what their names promise."""
    there = {f"{info.size_bytes} {pack_id_of(info.name)}" for info in left}
    read = _read_before(repository) & there
    count = len(read)
    for info in left:
        line = f"{info.size_bytes} {pack_id_of(info.name)}"
        if line not in read:
            if _digest(stored, info) != pack_id_of(info.name):
                log.warning("pack.left_aside", pack=info.name, problem="its bytes have changed")
                continue
            read.add(line)
            if len(read) % _NOTED_EVERY == 0:
                repository.state.write(_READ, "\n".join(sorted(read)).encode())
        yield info
    if len(read) > count:
        repository.state.write(_READ, "\n".join(sorted(read)).encode())


def _read_before(repository: Repository) -> set[str]:
    """Return what was read through: length and name of each; damage only makes it less."""
    try:
        return set(repository.state.read(_READ).decode("ascii", "replace").splitlines())
    except ObjectAbsent:
        return set()


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


def _all_checked(out: Files, infos: Iterable[ObjectInfo]) -> dict[str, Published]:
    found = (_checked(out, info.name, info.size_bytes) for info in infos)
    return {published.name: published for published in found if published is not None}


def _checked(out: Files, name: str, size_bytes: int) -> Published | None:
    """Return the object with its digests, if its bytes are those that its name promises."""
    if not is_object_name(name):
        return None
    sha256 = hashlib.sha256()
    for block in out.blocks(name):
        sha256.update(block)
    if sha256.hexdigest() not in name:
        log.warning("object.left_aside", object=name, problem="its bytes are not its name's")
        return None
    out.settle(name)
    return Published(
        name=name,
        size_bytes=size_bytes,
        sha256=sha256.hexdigest(),
    )
