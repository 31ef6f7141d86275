"""Checks a store: is everything there, and is it what was written?

Without keys it is what any machine can do: digests, layouts, signatures, and whether the objects
that a recovery point names are there.  With the keys every segment is opened, every chunk's id
computed, and every point's tree walked to its last chunk.
"""

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from overland.agent.backup.collector import collecting_rarely
from overland.agent.check.content import PackProof, check_pack_content
from overland.agent.check.described import DescribedPacks, fingerprint
from overland.agent.check.findings import CheckReport, Finding, FindingKind, excused
from overland.agent.check.listed import ListedObjects, Ref, flaw
from overland.agent.check.packs import by_threads, is_worth_processes, prove_by_processes
from overland.agent.check.trees import TreeChecks
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.indexes import read_index_file
from overland.agent.points.memory import keep_freed_memory
from overland.agent.points.pointfile import read_point_file
from overland.agent.points.reading import ReadKeys, open_point, proven_keyring
from overland.agent.points.replacements import proven_replacement
from overland.agent.points.signatures import Signatures
from overland.agent.sources import LayeredObjects, named_digest
from overland.crypto.keyring import decode_keyring
from overland.crypto.signers import KeyChangeMissing, Signers
from overland.errors import IntegrityError, ObjectAbsent, ObjectCorrupt
from overland.format.index import IndexTables
from overland.format.objectsizes import ObjectSizes
from overland.format.pack import TRAILER_BYTES, decode_trailer
from overland.format.point import SIGNATURE_PURPOSE, PointPublic
from overland.format.replacement import Replacement
from overland.packing.index import ChunkIndex
from overland.packing.reader import read_directory
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.sealing.indexfile import open_tables
from overland.values import ObjectInfo, PackId, PointId, is_object_name, pack_name, point_name

__all__ = ["check"]

_PAYLOAD: Final = ("packs/", "index/")


def check(
    objects: Objects,
    *,
    progress: Progress,
    keys: ReadKeys | None = None,
    signatures: Signatures | None = None,
    reclaimed: Collection[str] = (),
    digests: bool = False,
    workers: int = 2,
) -> CheckReport:
    """Read every object of a store once, and report what is missing or corrupt, by name.

    Of names it takes some 80 bytes of memory for each object that is listed, with keys another 64
    for each pack, and for a moment twice as much; what is not as it should be is kept as it is.

    Args:
        objects: One store; not several in layers, because each copy is to be whole.
        progress: Is told of bytes and objects.
        keys: None checks without them.
        signatures: Prove recovery points and replacements, where it is known without keys whose.
        reclaimed: Recovery points that were deleted for good: their files stay while others are
            based on them, and what only they needed is not missed.
        digests: With keys, compute also the SHA-256 of packs whose names their seals prove
            (`docs/format/pack-v1.md` §6.1); without keys it is always computed.
        workers: Threads, where threads do the work; packs in folders are proven by processes.

    Raises:
        Unreachable: The store did not answer.
        NotAuthorised: The store did not let us read.
        OSError: The store's device failed.
    """
    if keys is not None:
        signatures = keys.signatures
    keep_freed_memory()
    run = _Check(objects, keys, signatures, progress, digests=digests, reclaimed=reclaimed)
    run.list_all()
    with collecting_rarely():
        run.read_all(workers=workers)
        run.check_key_changes()
        run.check_points()
    progress.finish()
    return run.report


class _Check:
    """One check of one store."""

    def __init__(
        self,
        objects: Objects,
        keys: ReadKeys | None,
        signatures: Signatures | None,
        progress: Progress,
        *,
        digests: bool,
        reclaimed: Collection[str],
    ) -> None:
        self._objects, self._keys, self._progress = objects, keys, progress
        self._open_store()
        self._signatures, self._digests = signatures, digests
        self._reclaimed = reclaimed
        self._ahead: dict[PointId, list[str]] = {}
        self._described = DescribedPacks()
        self._tables: list[IndexTables] = []
        self._sizes = ObjectSizes()
        self._points: dict[PointId, PointPublic] = {}
        self._replacements: list[Replacement] = []
        self._key_changes: dict[str, str] = {}
        self._bad: set[str] = set()
        self._needed: set[str] = set()
        self.report = CheckReport(with_keys=keys is not None)

    def _open_store(self, index: ChunkIndex | None = None) -> None:
        self._layers = LayeredObjects([("store", self._objects)])
        self._store = ChunkStore(self._layers, self._keys) if self._keys is not None else None
        if self._store is not None and index is not None:
            self._store.index = index
        self._trees = TreeChecks(self._store) if self._store is not None else None

    # -- every object ---------------------------------------------------------------------------

    def list_all(self) -> None:
        """Take note of all that is there; what no repository holds is a finding."""
        foreign: list[ObjectInfo] = []

        def known() -> Iterator[ObjectInfo]:
            for info in self._objects.names():
                if is_object_name(info.name):
                    yield info
                else:
                    foreign.append(info)

        self._sizes = ObjectSizes(known())
        size_bytes = self._sizes.size_bytes + sum(info.size_bytes for info in foreign)
        self._progress.start("checking", size_bytes, len(self._sizes) + len(foreign))
        for info in foreign:
            self._find(info.name, "foreign", "no object of a repository has this name")

    def read_all(self, *, workers: int) -> None:
        """Check each object by itself; index files first, because they prove packs' names."""
        others: Iterable[ObjectInfo] = self._sizes.infos()
        packs: Iterable[ObjectInfo] = ()
        if self._store is not None:
            for info in self._sizes.infos("index/"):
                self._take(info, partial(self._read_index, info.name))
            self._described.arrange()
            waiting = deque(info for info in others if not info.name.startswith(_PAYLOAD))
            others, packs = waiting, self._packs_left(waiting)
        with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
            for info, number in by_threads(others, self._read, pool, workers=workers):
                self._take(info, number)
            for info, proof in by_threads(packs, self._prove, pool, workers=workers):
                self._take_pack(info, proof)

    def _packs_left(self, others: deque[ObjectInfo]) -> Iterable[ObjectInfo]:
        """Have processes prove the packs where they may, and look at others and trees meanwhile.

        Returns the packs that nobody has proven.
        """
        packs = self._sizes.packs()
        if not is_worth_processes(self._objects, packs):
            return packs

        def meanwhile(pause: Callable[[], None]) -> None:
            while others:
                info = others.popleft()
                self._take(info, partial(self._read, info))
            self._walk_ahead(pause)

        return prove_by_processes(packs, self._prove, take=self._take_pack, meanwhile=meanwhile)

    def _take(self, info: ObjectInfo, result: Callable[[], int]) -> None:
        self.report.objects += 1
        self.report.size_bytes += info.size_bytes
        try:
            self.report.chunks += result()
        except IntegrityError as error:
            self._find(info.name, "corrupt", str(error))
        except ObjectAbsent:
            self._find(info.name, "missing", "it was listed, and is gone now")
        except KeyChangeMissing as error:
            self._key_changes[error.change] = info.name
        self._progress.advance(info.size_bytes, 1)

    def _read(self, info: ObjectInfo) -> int:
        """Check one object; return 0, because it is no pack whose chunks are proven."""
        folder = info.name.partition("/")[0]
        if folder == "points":
            self._read_point(info.name)
        elif folder == "replacements":
            self._read_replacement(info.name)
        elif folder == "keys":
            self._read_keyring(info.name)
        else:
            self._read_named_by_digest(info)
        return 0

    def _read_index(self, name: str) -> int:
        """Check an index file, and note what it says of packs; return 0."""
        assert self._keys is not None, "only with keys"
        data = self._objects.read(name)
        if hashlib.sha256(data).hexdigest() != named_digest(name):
            raise ObjectCorrupt(name, check="SHA-256 differs from the name")
        tables = open_tables(
            self._keys.index, data, repository_id=self._keys.repository_id, name=name
        )
        self._described.add(tables)
        self._tables.append(tables)
        return 0

    def _load_index(self, store: ChunkStore) -> None:
        """Make known where chunks lie: only trees need it, so it is done beside the packs."""
        while self._tables:
            tables = self._tables.pop(0)
            store.index.add_tables(tables, wanted=lambda pack_id: pack_name(pack_id) in self._sizes)

    def _prove(self, info: ObjectInfo) -> PackProof:
        assert self._store is not None, "only with keys"
        pack_id = PackId(info.name[9:-5])
        return check_pack_content(
            self._objects,
            info,
            self._store,
            expected=self._described.expected(pack_id),
            digests=self._digests or self._described.has_twin(pack_id),
        )

    def _take_pack(self, info: ObjectInfo, result: Callable[[], PackProof]) -> None:
        def chunks() -> int:
            proof, pack_id = result(), PackId(info.name[9:-5])
            if self._described.expected(pack_id) not in {None, proof.fingerprint}:
                self._described.otherwise[pack_id] = proof.fingerprint
            return proof.chunks

        self._take(info, chunks)

    def _read_keyring(self, name: str) -> None:
        data = self._objects.read(name)
        if self._keys is None:
            document = decode_keyring(data, name=name)
        else:
            document = proven_keyring(data, self._keys, name=name)
        signers = Signers.of(document)
        for number in range(1, len(signers.former) + 1):
            self._key_changes[signers.change_name(number)] = name

    def _read_named_by_digest(self, info: ObjectInfo) -> None:
        digest, tail = hashlib.sha256(), b""
        for block in self._objects.blocks(info.name):
            digest.update(block)
            tail = (tail + bytes(block[-TRAILER_BYTES:]))[-TRAILER_BYTES:]
        if digest.hexdigest() != named_digest(info.name):
            raise ObjectCorrupt(info.name, check="SHA-256 differs from the name")
        if info.name.startswith("packs/"):
            decode_trailer(tail, name=info.name, pack_bytes=info.size_bytes)

    def _read_point(self, name: str) -> None:
        file = read_point_file(self._objects, name)
        parsed = file.parsed
        if self._signatures is not None:
            self._signatures.prove(
                self._objects,
                SIGNATURE_PURPOSE,
                file.message,
                parsed.signature,
                file=file.data,
                name=name,
            )
        if name != point_name(parsed.public.point_id):
            raise ObjectCorrupt(name, check="it has the name of another recovery point")
        self._points[parsed.public.point_id] = parsed.public

    def _read_replacement(self, name: str) -> None:
        self._replacements.append(
            proven_replacement(
                self._objects.read(name),
                name=name,
                place=self._objects,
                signatures=self._signatures,
            )
        )

    def check_key_changes(self) -> None:
        """Miss the key changes that a keyring names, or that could vouch for a document here."""
        for change, needed_by in sorted(self._key_changes.items()):
            if change not in self._sizes:
                self._find(change, "missing", f"{needed_by} needs it")

    # -- every recovery point -------------------------------------------------------------------

    def _walk_ahead(self, pause: Callable[[], None]) -> None:
        """Look at the trees while packs are being proven: what is found holds if all packs do."""
        assert self._keys is not None, "only with keys"
        assert self._store is not None, "only with keys"
        assert self._trees is not None, "only with keys"
        self._load_index(self._store)
        for point_id in sorted(self._points.keys() - set(self._reclaimed)):
            with contextlib.suppress(IntegrityError):  # the point's own: it is opened again later
                point = open_point(self._layers, self._keys, PointId(point_id))
                self._ahead[PointId(point_id)] = self._trees.problems(point, set(), pause)

    def check_points(self) -> None:
        """Look at every recovery point, knowing which objects are damaged."""
        if self._store is not None:
            self._load_index(self._store)
            # Damaged packs that others stand in for would hide the chunks in those.
            hidden = self._bad & {name for each in self._replacements for name in each.replaced}
            self._store.index.forget_packs(PackId(name[9:-5]) for name in hidden)
            self._blame_index_files(self._store)
            if self._described.otherwise or any(name.startswith("packs/") for name in self._bad):
                self._ahead.clear()
                self._open_store(self._store.index)
        listed = ListedObjects(self._points, self._replacements, is_whole=self._is_whole)
        for point_id in sorted(self._points):
            if point_id in self._reclaimed:
                continue
            whole = self._has_objects(listed, point_id)
            self.report.restorable[point_id] = self._has_tree(point_id, whole=whole)
        replaced = {name for each in self._replacements for name in each.replaced}
        self.report.findings = excused(self.report.findings, replaced - self._needed)

    def _blame_index_files(self, store: ChunkStore) -> None:
        """Find the index files that describe whole packs otherwise than they are."""
        otherwise = self._described.otherwise
        if not otherwise:
            return
        assert self._keys is not None, "only with keys"
        for info in self._sizes.infos("index/"):
            name = info.name
            if name in self._bad:
                continue
            for pack in read_index_file(self._layers, self._keys, name):
                said = fingerprint(pack.directory)
                if otherwise.get(pack.pack_id, said) != said:
                    error = ObjectCorrupt(name, check=f"not what is in pack {pack.pack_id}")
                    self._find(name, "corrupt", str(error))
        store.index.forget_packs(otherwise)
        for pack_id in otherwise:
            size_bytes = self._sizes[pack_name(pack_id)]
            store.index.add(
                read_directory(
                    self._objects, pack_id, size_bytes=size_bytes, open_pack=store.open_pack
                )
            )

    def _has_objects(self, listed: ListedObjects, point_id: PointId) -> bool:
        """Return whether all objects of a point, and of those it builds on, are there and whole."""
        line = listed.line(point_id)
        whole = line.lacking is None
        if line.lacking is not None:
            self._find(
                point_name(line.lacking.base), "missing", f"{line.lacking.above} builds on it"
            )
        for ref in listed.needed(line):
            self._needed.add(ref.name)
            whole = self._has(ref) and whole
        return whole

    def _is_whole(self, ref: Ref) -> bool:
        return flaw(ref, self._sizes) is None and ref.name not in self._bad

    def _has(self, ref: Ref) -> bool:
        found = flaw(ref, self._sizes)
        if found is not None:
            self._find(ref.name, *found)
        return ref.name in self._sizes and ref.name not in self._bad

    def _has_tree(self, point_id: PointId, *, whole: bool) -> bool:
        if self._trees is None or self._keys is None:
            return whole
        try:
            point = open_point(self._layers, self._keys, point_id)
        except IntegrityError as error:
            self._find(point_name(point_id), "corrupt", str(error))
            return False
        problems = self._ahead.get(point_id)
        if problems is None:
            bad = {PackId(name[9:-5]) for name in self._bad if name.startswith("packs/")}
            problems = self._trees.problems(point, bad)
        if problems:
            self._find(point_name(point_id), "missing", "; ".join(problems), is_bad=False)
        return not problems

    def _find(self, name: str, kind: FindingKind, reason: str, *, is_bad: bool = True) -> None:
        finding = Finding(name=name, kind=kind, reason=reason)
        if is_bad and name in self._bad:
            return
        if is_bad:
            self._bad.add(name)
        self.report.findings.append(finding)
