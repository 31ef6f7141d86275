"""A source computer and its vault in memory, and a model of the keeper, for repack and repair.

The keeper knows nothing but the documents in the vault, and deletes what no living point needs at
once: what a test restores afterwards was not saved by a time of grace.
"""

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from tests.support.backed_up import PASSPHRASE, SMALL_CHUNKS, SettledClock, sample_keyring
from tests.support.signing_rotation import rotate_signing, vouch
from tests.support.simdisk import SimDisk

from overland.adapters.folderobjects import FolderObjects
from overland.agent.backup.run import BackupPlan, back_up
from overland.agent.backup.upload import Uploader
from overland.agent.check.findings import CheckReport
from overland.agent.check.run import check
from overland.agent.connection import Chains, VaultPoint
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import ReadKeys, open_keys, open_point
from overland.agent.points.replacements import proven_replacement
from overland.agent.points.signatures import Signatures
from overland.agent.points.tree import PointTree
from overland.agent.repack.run import RepackReport, Workshop, repack
from overland.agent.repair.run import RepairReport, repair
from overland.agent.repository import Repository
from overland.agent.sources import LayeredObjects
from overland.crypto.keyring import Argon2Parameters, encode_keyring, generation_of
from overland.crypto.keys import signing_key, with_master
from overland.errors import RefusedError
from overland.format.point import PointPublic, parse
from overland.format.replacement import Replacement
from overland.format.tree import Entry
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import PointId, keyring_name, point_name, replacement_name

__all__ = ["ModelKeeper", "Vaulted", "content"]


class ModelKeeper:
    """Accepts by the rules of `replacement-v1.md` §5, worked out in the slow and obvious way."""

    def __init__(self, vault: Objects, vaulted: "Vaulted") -> None:
        self.vault, self._vaulted = vault, vaulted
        self.version = 0
        self.recorded: list[PointId] = []
        self.deleted: set[PointId] = set()
        self.accepted: list[str] = []
        self.states: dict[PointId, str] = {}

    def chains(self) -> Chains:
        return Chains(
            chain_version=self.version,
            points=tuple(self._row(point_id) for point_id in self.recorded),
            replacements=tuple(self.accepted),
        )

    def _row(self, point_id: PointId) -> VaultPoint:
        state = self.states.get(point_id, "available")
        return VaultPoint(
            point_id=point_id,
            created_at="2026-01-01T00:00:00Z",
            kind="full",
            state="reclaimed" if point_id in self.deleted else state,
        )

    def record(self, point_id: PointId) -> None:
        replaced = {name for each in self.documents() for name in each.replaced}
        own = {ref.name for ref in self._public(point_id).objects}
        assert own.isdisjoint(replaced), "a point must not rely on what was replaced"
        assert self.needed(point_id) <= {info.name for info in self.vault.names()}
        self.recorded.append(point_id)
        self.version += 1

    def accept_replacement(self, replacement_id: str, *, chain_version: int) -> int:
        if chain_version != self.version:
            raise RefusedError("chain-changed")
        name = f"replacements/{replacement_id}.replacement"
        new = self._proven(name)
        stored = {info.name: info.size_bytes for info in self.vault.names()}
        for item in new.objects:
            assert stored[item.name] == item.size_bytes
            data = self.vault.read(item.name)
            assert hashlib.sha256(data).hexdigest() == item.sha256
        before = {name for each in self.documents() for name in each.replaced}
        assert before.isdisjoint(item.name for item in new.objects)
        for point_id in self.living():
            if not self._named(point_id).isdisjoint(new.replaced):
                assert point_id in {*new.keeps, *new.lost}, "a point that is not kept needs it"
        self.accepted.append(replacement_id)
        self.version += 1
        return self.version

    def living(self) -> list[PointId]:
        return [point_id for point_id in self.recorded if point_id not in self.deleted]

    def documents(self) -> list[Replacement]:
        return [self._proven(f"replacements/{each}.replacement") for each in self.accepted]

    def needed(self, point_id: PointId) -> set[str]:
        names = self._named(point_id)
        for each in self.documents():
            if point_id not in each.lost:
                names -= set(each.replaced)
        return names

    def _named(self, point_id: PointId) -> set[str]:
        names: set[str] = set()
        at: PointId | None = point_id
        while at is not None:
            public = self._public(at)
            names |= {ref.name for ref in public.objects}
            at = public.base
        for each in self.documents():  # in the order of acceptance
            if not names.isdisjoint(each.replaced):
                names |= {item.name for item in each.objects}
        return names

    def reclaim(self) -> int:
        """Delete everything that no living point needs; return how many bytes that were."""
        kept = {info.name for info in self.vault.names("key")}  # key changes, too
        kept |= {replacement_name(each.replacement_id) for each in self.documents()}
        for point_id in self.living():
            kept |= self.needed(point_id)
            at: PointId | None = point_id
            while at is not None:
                kept.add(point_name(at))
                at = self._public(at).base
        freed = 0
        for info in list(self.vault.names()):
            if info.name not in kept:
                self.vault.delete(info.name)
                freed += info.size_bytes
        return freed

    def _public(self, point_id: PointId) -> PointPublic:
        name = point_name(point_id)
        return parse(self.vault.read(name), name=name).public

    def _proven(self, name: str) -> Replacement:
        keys = self._vaulted.keys
        return proven_replacement(
            self.vault.read(name),
            name=name,
            place=self.vault,
            signatures=keys.signatures,
        )


class Vaulted:
    """One source computer with policies, its state, and its vault."""

    def __init__(self, folder: Path, *, pack_bytes: int = 1 << 16) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        self.disk, self.state, self.spool = SimDisk(), SimDisk(), SimDisk()
        self.document, self._master, _ = sample_keyring()
        self.home = SimDisk()  # for key changes
        self.thief = signing_key(self.document, self._master)
        self._vouched: set[str] = set()
        self.pack_bytes = pack_bytes
        self.sizes = SMALL_CHUNKS
        self.clock = SettledClock()
        self.made = 0
        self.last: dict[str, PointId] = {}
        self.contents: dict[PointId, dict[bytes, bytes]] = {}
        self.disk.write(keyring_name(1), encode_keyring(self.document))
        self.restart()
        self.keys: ReadKeys = open_keys(self.objects(), passphrase=PASSPHRASE)
        self.keeper = ModelKeeper(self.vault, self)

    def restart(self) -> None:
        """Begin anew on the same disks."""
        self.vault = FolderObjects(self.disk)
        self.repository = Repository(
            repository_id=self.document.repository_id,
            master_key=self._master,
            signing_key=signing_key(self.document, self._master),
            state=self.state,
            state_folder=None,
            signatures=lambda: Signatures.of(self.document, at_hand=[self.home]),
        )
        if hasattr(self, "keeper"):
            self.keeper.vault = self.vault

    def rotate_master(self, passphrase: str) -> None:
        """Take a new master key, and begin anew with it."""
        self.document, self._master, _ = with_master(
            self.document,
            self._master,
            passphrase,
            random=secrets.token_bytes,
            cost=Argon2Parameters(memory_kib=32, iterations=1, lanes=1),
        )
        name = keyring_name(generation_of(self.document))
        self.disk.write(name, encode_keyring(self.document))
        self.restart()
        self.keys = open_keys(self.objects(), passphrase=passphrase)

    def rotate_signing(self, passphrase: str, *, without: Sequence[PointId] = ()) -> str:
        """Take a new signing and master key; return the key change's name.

        Vouched for is every point and replacement in the vault that the present key signed, but
        those `without`.
        """
        self.thief = signing_key(self.document, self._master)
        documents = {
            info.name: self.vault.read(info.name)
            for folder in ("points/", "replacements/")
            for info in self.vault.names(folder)
            if info.name not in self._vouched
        }
        listed = [each for each in vouch(documents.items()) if each.id not in without]
        made = rotate_signing(self.document, self._master, listed, passphrase)
        self._vouched |= documents.keys()
        self.document, self._master = made.document, made.master
        for place in (self.home, self.disk):
            place.write(made.name, made.data)
        self.disk.write(keyring_name(generation_of(made.document)), encode_keyring(made.document))
        self.restart()
        self.keys = ReadKeys.of(made.document, made.master, at_hand=[self.home])
        return made.name

    def objects(self) -> LayeredObjects:
        return LayeredObjects([("vault", self.vault)])

    def workshop(self) -> Workshop:
        return Workshop(
            repository=self.repository,
            keys=self.keys,
            vault=self.vault,
            keeper=self.keeper,
            spool=self.spool,
            scratch=None,
            clock=self.clock,
            progress=NullProgress(),
            pack_bytes=self.pack_bytes,
            chunk_sizes=[SMALL_CHUNKS],
        )

    def back_up(
        self, policy: str = "documents", *, full: bool = False, images: Sequence[Path] = ()
    ) -> PointId:
        """Send a point of everything in the source, and of images, and record it."""
        base = None if full else self.last.get(policy)
        point_id = PointId(str(UUID(int=0x1000 + self.made)))
        self.made += 1
        plan = BackupPlan(
            point_id=point_id,
            kind="incremental" if base else "full",
            seed_id=None,
            base=base,
            roots=(self.source,),
            include=(),
            exclude=(),
            one_file_system=True,
            never_enter=(),
            policy=policy,
            host="source",
            images=tuple(images),
            sizes=self.sizes,
            image_sizes=self.sizes,
            pack_bytes=self.pack_bytes,
            workers=1,
        )
        spool = SimDisk()
        with Uploader(self.vault, spool, clock=self.clock) as uploader:
            back_up(
                plan,
                repository=self.repository,
                out=spool,
                clock=self.clock,
                progress=NullProgress(),
                stored=[self.vault],
                on_published=uploader.submit,
                acknowledge=uploader.drain,
            )
        self.clock.sleep(1)
        self.keeper.record(point_id)
        self.last[policy] = point_id
        self.contents[point_id] = content(self.source)
        return point_id

    def repack(self, policy: str | None = None, *, min_live: float = 0.7) -> RepackReport:
        return repack(self.workshop(), policy=policy, min_live=min_live)

    def repair(self, **places: Objects) -> RepairReport:
        return repair(self.workshop(), places)

    def restored(
        self, point_id: PointId, objects: LayeredObjects | None = None
    ) -> dict[bytes, bytes]:
        """Return what a point gives back, by path below the source; fails if it is not whole."""
        objects = objects or self.objects()
        store = ChunkStore(objects, self.keys)
        store.load_index()
        tree = PointTree(open_point(objects, self.keys, point_id), store)
        found: dict[bytes, bytes] = {}
        root = str(self.source).encode() + b"/"
        for step in tree.walk():
            if step.action == "entry" and step.entry is not None and step.entry.kind == "file":
                parts = [part for ids in tree.content_ids(step.entry) for part in store.read(ids)]
                found[step.path.removeprefix(root)] = with_holes(step.entry, b"".join(parts))
        return found

    def check(self) -> CheckReport:
        return check(
            self.vault,
            progress=NullProgress(),
            keys=self.keys,
            reclaimed=self.keeper.deleted,
            workers=1,
        )

    def assert_all_restorable(self, but: Sequence[PointId] = ()) -> None:
        for point_id in self.keeper.living():
            if point_id not in but:
                assert self.restored(point_id) == self.contents[point_id], point_id

    def packs(self) -> set[str]:
        return {info.name for info in self.vault.names("packs/")}


def with_holes(entry: Entry, data: bytes) -> bytes:
    """Return a file's content, with zeros where it has no data."""
    if entry.extents is None:
        return data
    whole, at = bytearray(entry.size_bytes), 0
    for start, length in entry.extents:
        whole[start : start + length] = data[at : at + length]
        at += length
    return bytes(whole)


def content(source: Path) -> dict[bytes, bytes]:
    """Return the files below a folder."""
    return {
        str(path.relative_to(source)).encode(): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file()
    }
