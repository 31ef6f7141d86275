"""The directories of packs: from index files where one describes them, else from the packs."""

from collections.abc import Iterable, Iterator
from typing import final

from overland.agent.points.indexes import read_index_file
from overland.agent.points.reading import ReadKeys
from overland.agent.sources import LayeredObjects
from overland.errors import IntegrityError, ObjectAbsent
from overland.events import Log
from overland.format.index import PackDirectory
from overland.packing.reader import OpenPack, read_directory
from overland.ports.objects import Objects
from overland.values import PackId, pack_name

__all__ = ["Shelf"]

log = Log()


@final
class Shelf:
    """Finds directories.  Holds which index file describes which packs, and no directory.

    Attributes:
        described: The packs that each index file describes, of those that can be read.
        damaged: Index files that cannot.
    """

    def __init__(
        self,
        objects: LayeredObjects,
        keys: ReadKeys,
        *,
        open_pack: OpenPack,
        index_files: Iterable[str],
    ) -> None:
        """Read the named index files once, from whichever place has them whole."""
        self._objects, self._keys, self._open_pack = objects, keys, open_pack
        self.described: dict[str, tuple[PackId, ...]] = {}
        self.damaged: list[str] = []
        self._by_pack: dict[PackId, str] = {}
        for name in sorted(index_files):
            try:
                packs = tuple(each.pack_id for each in read_index_file(objects, keys, name))
            except (IntegrityError, ObjectAbsent) as error:
                log.warning("index.left_aside", index=name, problem=str(error))
                self.damaged.append(name)
                continue
            self.described[name] = packs
            self._by_pack.update(dict.fromkeys(packs, name))

    def is_described(self, pack_id: PackId) -> bool:
        """Return whether an index file knows the pack."""
        return pack_id in self._by_pack

    def directories(self, pack_ids: Iterable[PackId]) -> Iterator[PackDirectory]:
        """Yield the directories of these packs, as far as anything tells them.

        Grouped by index file, each of which is read once a call; packs that none describes are
        asked themselves, and left out when they are missing or damaged.

        Raises:
            IntegrityError, ObjectAbsent: An index file that was whole at the start is not any more.
            TransientError: A place did not answer.
        """
        wanted: dict[str, set[PackId]] = {}
        alone: list[PackId] = []
        for pack_id in pack_ids:
            name = self._by_pack.get(pack_id)
            if name is None:
                alone.append(pack_id)
            else:
                wanted.setdefault(name, set()).add(pack_id)
        for name in sorted(wanted):
            for directory in read_index_file(self._objects, self._keys, name):
                if directory.pack_id in wanted[name]:
                    wanted[name].discard(directory.pack_id)
                    yield directory
        for pack_id in sorted(alone):
            own = self.own_directory(pack_id)
            if own is not None:
                yield own

    def own_directory(self, pack_id: PackId) -> PackDirectory | None:
        """Return what the pack itself says it holds; None if it is missing or damaged."""
        name = pack_name(pack_id)

        def read(layer: Objects) -> PackDirectory:
            """Read the copy of one place; `LayeredObjects.first` asks the next one if it is bad."""
            size_bytes = layer.head(name).size_bytes
            return read_directory(layer, pack_id, size_bytes=size_bytes, open_pack=self._open_pack)

        try:
            return self._objects.first(name, read)
        except (IntegrityError, ObjectAbsent) as error:
            log.warning("pack.left_aside", pack=name, problem=str(error))
            return None

    def touching(self, packs: frozenset[PackId]) -> list[str]:
        """Return the index files that describe one of these packs, sorted."""
        return sorted(name for name, of in self.described.items() if not packs.isdisjoint(of))
