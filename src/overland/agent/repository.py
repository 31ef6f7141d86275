"""A repository as its owner sees it: keys in hand, and hints about what is stored.

There is one chunk index for each policy, over its chain of recovery points from the last that
stands for itself: a point names all objects that it needs, itself or through its base, so that a
chunk of another chain must not be relied upon.

The state folder holds hints only: the chunk index, and for every policy what its last run saw.
They are written after a recovery point is safe, so that a kill at any moment leaves hints that
claim too little and never too much; losing them costs time and no data.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, final

from overland.agent.points.pointfile import PointFile
from overland.crypto.aead import POINT_ROOT, open_once, seal_once
from overland.crypto.ids import chunk_id
from overland.crypto.keys import MasterKey, Purpose
from overland.crypto.secrets import Secret
from overland.crypto.sign import Message, message_start, public_key, sign
from overland.errors import ObjectAbsent, ObjectCorrupt
from overland.events import Log
from overland.format import point as point_format
from overland.format.objecttable import Buffer
from overland.format.point import ParsedPoint, PointPublic, PointRoot
from overland.packing.chainindex import ChainIndex
from overland.packing.head import IndexHintDamaged, SavedPacks, read_head, read_packs
from overland.ports.files import Files
from overland.source.changes import ChangeCache
from overland.source.chunker import Chunker, Sizes
from overland.values import ObjectInfo, PackId, PointId, RepositoryId, point_name

if TYPE_CHECKING:
    from overland.agent.points.signatures import KeyChangePlace, Signatures
    from overland.format.index import IndexTables, PackDirectory
    from overland.format.replacement import Replacement
    from overland.packing.hints import IndexHint
    from overland.packing.index import ChunkIndex
    from overland.packing.reader import OpenedPack, PackReader, RangeReader
    from overland.sealing.seal import PackSeal

__all__ = [
    "ObjectReader",
    "Random",
    "Repository",
    "SavedChain",
    "changes_name",
    "hint_name",
    "index_hint_name",
    "pack_id_of",
]

_INDEX: Final = "chunks"
_CHANGES: Final = "changes"

Random = Callable[[int], bytes]

log = Log()


class ObjectReader(Protocol):
    """What of `Files` and `Objects` is needed to look for objects and to read them.

    It is a `RangeReader` too.
    """

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...

    def read(self, name: str) -> bytes:
        """Return a whole object; for small ones.

        Raises:
            ObjectAbsent: There is no such object.
        """
        ...

    def names(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix`, sorted by name."""
        ...


class SavedChain(NamedTuple):
    """The index that a policy's last run saved: its newest point, its packs, and the rest."""

    tip: PointId | None
    packs: SavedPacks
    chain: ChainIndex


@final
class Repository:
    """Keys, sealing and hints of one repository.  For one run at a time."""

    def __init__(
        self,
        *,
        repository_id: RepositoryId,
        master_key: MasterKey,
        signing_key: Secret,
        state: Files,
        state_folder: Path | None,
        signatures: "Callable[[], Signatures] | None" = None,
        random: Random = os.urandom,
    ) -> None:
        """Open the repository; a hint that is damaged is left aside.

        Args:
            repository_id: From the keyring.
            master_key: Opened from the keyring.
            signing_key: Opened from the keyring.
            state: The local folder of this repository's hints.
            state_folder: The path of that folder, for hints larger than memory; None reads all
                hints into memory.
            signatures: Gives what the keyring says of signing keys; None where there is only one.
            random: Gives cryptographically random bytes.
        """
        self.repository_id = repository_id
        self.state = state
        self.random = random
        self.scratch = state_folder  # for what a run has no room for in memory; None has room
        self.signing_public_key = public_key(signing_key)
        self._given_signatures = signatures
        self._signing_key = signing_key
        self._ids = master_key.subkey(Purpose.CHUNK_ID)
        self._segments = master_key.subkeys(Purpose.SEGMENT)
        self._indexes = master_key.subkeys(Purpose.INDEX)
        self._points = master_key.subkeys(Purpose.POINT)
        self._cuts = master_key.subkey(Purpose.CHUNKER)

    @cached_property
    def signatures(self) -> "Signatures":
        """Whose signatures prove points and replacements; runs that change nothing need none."""
        if self._given_signatures is not None:
            return self._given_signatures()
        from overland.agent.points.signatures import Signatures, Signers

        return Signatures(self.repository_id, Signers(self.signing_public_key))

    # -- chunks, packs, indexes, points ---------------------------------------------------------

    def chunk_id(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the keyed id of a chunk."""
        return chunk_id(self._ids, data)

    def chunker(self, sizes: Sizes) -> Chunker:
        """Return a chunker with this repository's secret, for one thread."""
        return Chunker(sizes, secret=self._cuts.reveal())

    def new_pack(self) -> "PackSeal":
        """Return the cipher of a new pack, with a fresh salt."""
        from overland.sealing.seal import PackSeal

        return PackSeal(self._segments, repository_id=self.repository_id, salt=self.random(32))

    def open_pack(self, header: bytes, name: str) -> "OpenedPack":
        """Return what opens the sealed parts of a pack.

        Raises:
            ObjectCorrupt: The header is damaged, or names another repository.
            MasterKeyUnknown: It names a master key that comes after ours.
        """
        from overland.sealing.seal import open_pack

        return open_pack(self._segments, repository_id=self.repository_id)(header, name)

    def reader(
        self, objects: "RangeReader", index: "ChunkIndex", *, workers: int = 2
    ) -> "PackReader":
        """Return a reader of the chunks that `index` knows; use it as a context manager."""
        from overland.packing.reader import PackReader

        return PackReader(
            objects,
            index,
            open_pack=self.open_pack,
            chunk_id=self.chunk_id,
            workers=workers,
        )

    def seal_index(self, packs: "list[PackDirectory]") -> bytes:
        """Return an index file that describes these packs."""
        from overland.sealing.indexfile import seal_index

        return seal_index(
            self._indexes, packs, repository_id=self.repository_id, salt=self.random(32)
        )

    def open_index(self, data: bytes, *, name: str) -> "IndexTables":
        """Return what an index file says.

        Raises:
            IntegrityError: It is damaged, or another repository's.
        """
        from overland.sealing.indexfile import open_tables

        return open_tables(self._indexes, data, repository_id=self.repository_id, name=name)

    def seal_point(self, public: PointPublic, root: PointRoot) -> memoryview:
        """Return a recovery point's file, sealed and signed.

        Raises:
            PointCorrupt: The root breaks a rule that every reader checks.
        """
        plain = point_format.encode_root(root)
        point_format.decode_root(plain, name="the new recovery point")
        sealed = seal_once(
            self._points.newest,
            POINT_ROOT,
            salt=bytes.fromhex(public.salt),
            plaintext=plain,
            aad=point_format.encode_public(public),
        )
        # A point of 100 TB has 280 MB: what is signed is made where the file is, not copied.
        start = message_start(point_format.SIGNATURE_PURPOSE)
        number, sign_it = self._points.number, self._sign_point
        message = point_format.assemble(
            public, sealed, master_number=number, sign=sign_it, before=start
        )
        return memoryview(message)[len(start) :]

    def open_point(
        self, file: Buffer | PointFile, *, name: str, place: "KeyChangePlace"
    ) -> tuple[ParsedPoint, PointRoot]:
        """Return a recovery point's parts and its root.

        Raises:
            IntegrityError, KeyChangeMissing: As `verified_point`.
        """
        parsed = self.verified_point(file, name=name, place=place)
        plain = open_once(
            self._points.of(parsed.master_number, name=name),
            POINT_ROOT,
            salt=parsed.salt,
            sealed=parsed.sealed_root,
            aad=parsed.public_bytes,
            name=name,
        )
        return parsed, point_format.decode_root(plain, name=name)

    def verified_point(
        self, file: Buffer | PointFile, *, name: str, place: "KeyChangePlace"
    ) -> ParsedPoint:
        """Return a recovery point's parts, without opening its root; `place` is where it is from.

        Raises:
            IntegrityError: It is damaged, or was not signed by this repository's owner.
            KeyChangeMissing: A former signing key signed it, and the key change is not here.
        """
        if not isinstance(file, PointFile):
            file = PointFile.of(file, name=name)
        parsed, purpose = file.parsed, point_format.SIGNATURE_PURPOSE
        self.signatures.prove(
            place, purpose, file.message, parsed.signature, file=file.data, name=name
        )
        if parsed.public.repository_id != self.repository_id:
            raise ObjectCorrupt(name, check="another repository's")
        if name != point_name(parsed.public.point_id):
            raise ObjectCorrupt(name, check="it has the name of another recovery point")
        return parsed

    def seal_replacement(self, replacement: "Replacement") -> bytes:
        """Return a replacement's file, signed.

        Raises:
            ReplacementInvalid: It breaks a rule that every reader checks.
        """
        # Repacks and repairs make some, backups none.
        from overland.format.replacement import (
            REPLACEMENT_PURPOSE,
            encode_replacement,
        )
        from overland.format.signed import encode_signed

        return encode_signed(
            REPLACEMENT_PURPOSE,
            encode_replacement(replacement),
            public_key=self.signing_public_key,
            sign=lambda body: sign(self._signing_key, REPLACEMENT_PURPOSE, body),
        )

    # -- hints ----------------------------------------------------------------------------------

    def save_index(self, policy: str, index: "ChunkIndex") -> None:
        """Save the index of a policy's chain, if it has changed.

        Only when what it names is safely stored: the next run relies on it.  One that turned out
        to be damaged is dropped, and the next run rebuilds it.
        """
        if not index.is_changed:
            return
        hint = self.index_hint(policy)
        try:
            hint.save(index)
        except IndexHintDamaged as error:
            log.warning("index_hint.left_aside", problem=error.check)
            hint.drop()

    def changes(self, policy: str | None) -> ChangeCache:
        """Return what the last run of a policy saw; nothing, without a policy."""
        return ChangeCache(self.state, None if policy is None else changes_name(policy))

    def new_index(self) -> "ChunkIndex":
        """Return an empty index, for a chain of points that begins."""
        from overland.packing.index import ChunkIndex

        return ChunkIndex(self.repository_id, scratch=self.scratch)

    def forget_packs(self, policy: str, pack_ids: Iterable[PackId]) -> int:
        """Take packs for lost; the next backup stores again what it needs of them.

        Returns how many of them were known.  Durable on return.  Without a saved index there is
        nothing to forget: the next backup looks at what is there.
        """
        index = self.saved_index(policy)
        if index is None:
            return 0
        count = index.forget_packs(pack_ids)
        self.save_index(policy, index)
        return count

    def drop_hints(self, policy: str) -> None:
        """Forget, durably, what the policy's runs have stored: the next one looks for itself.

        To be called before packs that the hints name may go.
        """
        self.index_hint(policy).drop()
        self.state.delete(changes_name(policy))

    def saved_chain(self, policy: str) -> SavedChain | None:
        """Return the index that the policy's last run saved, to be loaded when it is needed.

        None if there is none, or if what can be known without loading it is damaged.
        """
        name = index_hint_name(policy)
        try:
            head = read_head(self.state, name, repository_id=self.repository_id)
            packs = read_packs(self.state, name, head)
        except ObjectAbsent:
            return None
        except IndexHintDamaged as error:
            log.warning("index_hint.left_aside", problem=error.check)
            return None
        chain = ChainIndex(
            lambda: self.index_hint(policy).load(self.repository_id), epoch=head.epoch
        )
        return SavedChain(head.tip, packs, chain)

    def saved_index(self, policy: str) -> "ChunkIndex | None":
        """Return the index that the policy's last run saved, if there is one and it is whole."""
        try:
            return self.index_hint(policy).load(self.repository_id)
        except ObjectAbsent:
            return None
        except IndexHintDamaged as error:
            log.warning("index_hint.left_aside", problem=error.check)
            return None

    def index_hint(self, policy: str) -> "IndexHint":
        """Return where the index of a policy's chain is saved."""
        from overland.packing.hints import IndexHint

        return IndexHint(self.state, index_hint_name(policy), folder=self.scratch)

    def _sign_point(self, whole: memoryview) -> bytes:
        purpose = point_format.SIGNATURE_PURPOSE
        return sign(self._signing_key, purpose, Message(purpose, whole))


def pack_id_of(name: str) -> PackId:
    """Return the id in a pack's name."""
    assert name.startswith("packs/"), "the name of a pack"
    return PackId(name[-69:-5])


def index_hint_name(policy: str) -> str:
    """Return the name of the head of a policy's saved chunk index."""
    return hint_name(_INDEX, policy)


def changes_name(policy: str) -> str:
    """Return the name of a policy's change cache."""
    return hint_name(_CHANGES, policy)


def hint_name(kind: str, policy: str) -> str:
    """Return the name of a policy's hint; policies may have any name."""
    return f"{kind}/{hashlib.sha256(policy.encode()).hexdigest()[:32]}"
