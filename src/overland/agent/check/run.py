"""Checks a store: is everything there, and is it what was written?

Without keys it is what any machine can do: digests, layouts, signatures, and whether the objects
that a recovery point names are there.  With the keys every segment is opened, every chunk's id
computed, and every point's tree walked to its last chunk.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from overland.agent.backup.collector import collecting_rarely
from overland.agent.check.content import PackProof, check_pack_content
from overland.agent.check.described import DescribedPacks, fingerprint
from overland.agent.check.findings import CheckReport, Finding, FindingKind
from overland.agent.check.packs import by_threads, is_worth_processes, prove_by_processes
from overland.agent.check.trees import TreeChecks
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.indexes import read_index_file
from overland.agent.points.memory import keep_freed_memory
from overland.agent.points.reading import ReadKeys, open_point, proven_keyring
from overland.agent.points.replacements import proven_replacement
from overland.agent.points.signatures import Signatures
from overland.agent.sources import LayeredObjects, named_digest
from overland.crypto.keyring import decode_keyring
from overland.crypto.signers import KeyChangeMissing, Signers
from overland.errors import IntegrityError, ObjectAbsent, ObjectCorrupt
from overland.format.index import IndexTables
from overland.format.pack import TRAILER_BYTES, decode_trailer
from overland.format.point import SIGNATURE_PURPOSE, ObjectRef, PointPublic, parse
from overland.format.replacement import Replacement, ReplacementObject, needed_after
from overland.packing.index import ChunkIndex
from overland.packing.reader import read_directory
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.sealing.indexfile import open_tables
from overland.values import ObjectInfo, PackId, PointId, is_object_name, pack_name, point_name

__all__ = ["check"]


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
    infos = list(objects.names())
    progress.start("checking", sum(info.size_bytes for info in infos), len(infos))
    with collecting_rarely():
        run.read_all(infos, workers=workers)
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
        self._sizes: dict[str, int] = {}
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

    def read_all(self, infos: list[ObjectInfo], *, workers: int) -> None:
        """Check each object by itself; index files first, because they prove packs' names."""
        by_folder: dict[str, list[ObjectInfo]] = {"index/": [], "packs/": []}
        others: list[ObjectInfo] = []
        for info in infos:
            if not is_object_name(info.name):
                self._find(info.name, "foreign", "no object of a repository has this name")
                continue
            self._sizes[info.name] = info.size_bytes
            of_kind = others if self._store is None else by_folder.get(info.name[:6], others)
            of_kind.append(info)
        for info in by_folder["index/"]:
            self._take(info, partial(self._read_index, info.name))
        packs = by_folder["packs/"]
        if is_worth_processes(self._objects, packs):

            def meanwhile(pause: Callable[[], None]) -> None:
                while others:
                    info = others.pop(0)
                    self._take(info, partial(self._read, info))
                self._walk_ahead(pause)

            packs = prove_by_processes(
                packs, self._prove, take=self._take_pack, meanwhile=meanwhile
            )
        with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
            for info, number in by_threads(others, self._read, pool, workers=workers):
                self._take(info, number)
            for info, proof in by_threads(packs, self._prove, pool, workers=workers):
                self._take_pack(info, proof)

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
        data = self._objects.read(name)
        parsed = parse(data, name=name)
        if self._signatures is not None:
            self._signatures.prove(
                self._objects,
                SIGNATURE_PURPOSE,
                parsed.signed_bytes,
                parsed.signature,
                file=data,
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
        for point_id, public in sorted(self._points.items()):
            if point_id in self._reclaimed:
                continue
            whole = self._has_objects(public)
            self.report.restorable[point_id] = self._has_tree(point_id, whole=whole)
        self._excuse_replaced()

    def _excuse_replaced(self) -> None:
        """Call damage by its lesser name where a replacement has made it nobody's loss."""
        replaced = {name for each in self._replacements for name in each.replaced} - self._needed
        self.report.findings = [
            dataclasses.replace(each, kind="replaced")
            if each.kind == "corrupt" and each.name in replaced
            else each
            for each in self.report.findings
        ]

    def _blame_index_files(self, store: ChunkStore) -> None:
        """Find the index files that describe whole packs otherwise than they are."""
        otherwise = self._described.otherwise
        if not otherwise:
            return
        assert self._keys is not None, "only with keys"
        for name in sorted(self._sizes.keys() - self._bad):
            if not name.startswith("index/"):
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

    def _has_objects(self, public: PointPublic) -> bool:
        """Return whether all objects of a point, and of those it builds on, are there and whole."""
        listed: dict[str, ObjectRef | ReplacementObject] = {
            each.name: each for replacement in self._replacements for each in replacement.objects
        }
        seen, last, whole = set[PointId](), public, True
        named: set[str] = set()
        while last.point_id not in seen:
            seen.add(last.point_id)
            listed |= {ref.name: ref for ref in last.objects}
            named |= {ref.name for ref in last.objects}
            if last.base is None:
                break
            if last.base not in self._points:
                self._find(point_name(last.base), "missing", f"{last.point_id} builds on it")
                whole = False
                break
            last = self._points[last.base]
        needed = needed_after(named, self._replacements, point_id=public.point_id)
        self._needed |= needed
        for ref in (listed[name] for name in sorted(needed)):
            whole = self._has(ref.name, ref.size_bytes, ref.sha256) and whole
        return whole

    def _has(self, name: str, size_bytes: int, sha256: str) -> bool:
        if name not in self._sizes:
            self._find(name, "missing", "a recovery point needs it")
        elif self._sizes[name] != size_bytes or named_digest(name) not in {None, sha256}:
            self._find(name, "corrupt", "it is not the object that a recovery point names")
        return name in self._sizes and name not in self._bad

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
