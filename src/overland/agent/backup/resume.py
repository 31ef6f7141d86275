"""What an interrupted run left behind, put to use: nothing that is stored is stored twice.

A pack that was published is whole, whatever happened afterwards.  Its sealed directory tells
which chunks it holds, and its name whether its bytes are still what was written.  What cannot be
read, or is not ours, is left where it is and not relied upon.
"""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from overland.agent.backup.chain import add_pack, named_by_points
from overland.agent.backup.publisher import Published, Publisher
from overland.agent.repository import ObjectReader, Repository, pack_id_of
from overland.errors import IntegrityError
from overland.events import Log
from overland.packing.chainindex import ChainIndex
from overland.ports.files import Files
from overland.values import ObjectInfo, PointId, is_object_name, pack_name

if TYPE_CHECKING:
    from overland.format.index import PackDirectory

__all__ = ["adopt_local", "adopt_stored"]

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
    the new point takes its place.  The store checked their bytes when it took them.

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
    for info in stored.names("packs/"):
        if info.name in named or not is_object_name(info.name):
            continue
        if index.has_pack(pack_id_of(info.name)):
            continue
        known = described.get(info.name)
        if known is None:
            known = add_pack(repository, stored, index, name=info.name, size_bytes=info.size_bytes)
        elif known.pack_bytes == info.size_bytes:
            index.add(known)
        else:  # cut off since: a point that named it with this length would be wrong for ever
            log.warning("pack.left_aside", pack=info.name, problem="its length has changed")
            continue
        if known is not None:
            found = Published(
                name=info.name,
                size_bytes=info.size_bytes,
                sha256=known.pack_id,
            )
            publisher.take_over(found, known, is_local=False)


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
