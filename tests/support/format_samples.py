"""Small valid objects of every format, made from counters instead of randomness."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate

import msgspec
import numpy as np
from backports import zstd
from msgspec import UNSET
from msgspec.structs import replace

from overland.crypto.aead import (
    POINT_ROOT,
    TAG_BYTES,
    IndexCipher,
    index_cipher,
    pack_cipher,
    seal_once,
)
from overland.crypto.ids import chunk_id
from overland.crypto.keyring import NO_MAC, Argon2Parameters, KeyringDocument, encode_keyring
from overland.crypto.keys import MasterKey, Purpose, new_keyring, signing_key, with_master
from overland.crypto.secrets import Secret
from overland.crypto.sign import sign
from overland.format import index, pack, point
from overland.format.index import HEAD_PART
from overland.format.replacement import Replacement, ReplacementObject
from overland.format.seed_manifest import DriveManifest, ManifestObject, SeedManifest
from overland.format.tree import Entry
from overland.values import PackId, PointId, ReplacementId, RepositoryId, SeedId

REPOSITORY = RepositoryId("0b9d2a5e-7c14-4e0f-9a63-5d1f0c8e2b71")
SEED = SeedId("5e3c1d2b-9f80-4a7e-8c66-1b2a3c4d5e6f")
REPLACEMENT = ReplacementId("7d1f4c2a-0e6b-4b9d-a5c8-3f2e1d0c9b8a")
POINT = PointId("c4a1e7f2-3b5d-4c8a-b1d0-9e8f7a6b5c4d")
PASSPHRASE = "seven drives over land"
NEW_PASSPHRASE = "eight ferries over sea"
INSTANT = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)
CHEAP = Argon2Parameters(memory_kib=64, iterations=1, lanes=1)
PLAIN = [
    [b"tide tables of the harbour\n" * 40, b"\x00" * 500],
    [bytes(hashlib.sha256(b"noise").digest())],
]
"""Two segments: the first shrinks and has two chunks, the second is stored raw."""


def counter(start: str = "overland") -> Callable[[int], bytes]:
    """Return a source of bytes that is the same in every run."""
    turn = 0

    def take(length: int) -> bytes:
        nonlocal turn
        turn += 1
        return hashlib.shake_256(f"{start} {turn}".encode()).digest(length)

    return take


def keys() -> tuple[KeyringDocument, MasterKey, str]:
    """Return a keyring as the first ones were, without a checksum, its master key, and its kit."""
    made, master, kit = new_keyring(
        PASSPHRASE, repository_id=REPOSITORY, random=counter("keys"), cost=CHEAP
    )
    bare = replace(made, sha256=UNSET, mac=NO_MAC)
    key = master.subkey(Purpose.KEYRING_MAC).reveal()
    mac = hmac.digest(key, msgspec.json.encode(bare), "sha256").hex()
    return replace(bare, mac=mac), master, kit


def rotated() -> tuple[KeyringDocument, MasterKey, str]:
    """Return the keyring that comes after `keys`, with a second master key."""
    document, master, _ = keys()
    return with_master(document, master, NEW_PASSPHRASE, random=counter("second"), cost=CHEAP)


def signer() -> Secret:
    """Return the private signing key of `keys`."""
    document, master, _ = keys()
    return signing_key(document, master)


def header(master_number: int = 0) -> pack.Header:
    """Return the header of the sample files."""
    salt = counter("salt")(32)
    return pack.Header(repository_id=REPOSITORY, master_number=master_number, salt=salt)


def segments_and_chunks(
    plain: Sequence[Sequence[bytes]], master: MasterKey
) -> tuple[pack.Directory, list[bytes]]:
    """Return the directory of `plain`, segments of chunks, and the segments' packed bytes."""
    key = master.subkey(Purpose.CHUNK_ID)
    segments, chunks, stored = [], [], []
    offset = pack.HEADER_BYTES
    for number, parts in enumerate(plain):
        raw = b"".join(parts)
        small = zstd.compress(raw, 1)
        codec, packed = (1, small) if len(small) < len(raw) else (0, raw)
        segments.append((offset, len(packed) + pack.TAG_BYTES, len(raw), codec, (0,) * 7))
        at = 0
        for part in parts:
            chunks.append((np.frombuffer(chunk_id(key, part), "u1"), number, at, len(part)))
            at += len(part)
        stored.append(packed)
        offset += len(packed) + pack.TAG_BYTES
    directory = pack.Directory(
        segments=np.array(segments, pack.SEGMENT_DTYPE), chunks=np.array(chunks, pack.CHUNK_DTYPE)
    )
    return directory, stored


def seal_pack(
    master: MasterKey,
    packed: Sequence[bytes],
    directory_plain: bytes,
    *,
    counts: tuple[int, int],
) -> bytes:
    """Return the pack of these packed segments and this directory, whatever they say."""
    head = pack.encode_header(header(master.number))
    cipher = pack_cipher(master.subkey(Purpose.SEGMENT), salt=header().salt, header=head)
    body = bytearray(head)
    for number, plaintext in enumerate(packed):
        room = memoryview(bytearray(len(plaintext) + pack.TAG_BYTES))
        cipher.seal_segment(number, plaintext, room)
        body += room
    sealed = cipher.seal_directory(directory_plain)
    end = pack.Trailer(
        directory_offset=len(body),
        directory_sealed_bytes=len(sealed),
        segment_count=counts[0],
        chunk_count=counts[1],
    )
    return bytes(body + sealed + pack.encode_trailer(end))


def sample_pack(master: MasterKey | None = None) -> tuple[bytes, pack.Directory]:
    """Return a good pack and its directory."""
    master = master or keys()[1]
    directory, packed = segments_and_chunks(PLAIN, master)
    counts = (len(directory.segments), len(directory.chunks))
    return seal_pack(master, packed, pack.encode_directory(directory), counts=counts), directory


def open_pack(data: bytes, *, name: str) -> pack.Directory:
    """Return the directory of a pack, with every check that a reader makes."""
    _, master, _ = rotated()
    found = pack.decode_header(data, name=name)
    key = master.subkeys(Purpose.SEGMENT).of(found.master_number, name=name)
    trailer = pack.decode_trailer(data[-pack.TRAILER_BYTES :], name=name, pack_bytes=len(data))
    cipher = pack_cipher(key, salt=found.salt, header=data[:64], name=name)
    end = trailer.directory_offset + trailer.directory_sealed_bytes
    plain = cipher.open_directory(data[trailer.directory_offset : end])
    directory = pack.decode_directory(plain, name=name, pack_bytes=len(data), trailer=trailer)
    for number, row in enumerate(directory.segments):
        start, length = int(row["offset"]), int(row["sealed_bytes"])
        cipher.open_segment(number, data[start : start + length])
    return directory


def index_plain() -> list[bytes]:
    """Return the plaintexts of the parts of an index file of two packs."""
    data, directory = sample_pack()
    packs = [
        index.PackDirectory(
            pack_id=PackId(hashlib.sha256(data + suffix).hexdigest()),
            pack_bytes=len(data),
            directory=directory,
        )
        for suffix in (b"", b"another")
    ]
    shape, plain = index.encode_index(packs)
    lengths = [part.plain_bytes for part in (HEAD_PART, *shape.parts())]
    ends = accumulate(lengths)
    return [bytes(plain[end - n : end]) for n, end in zip(lengths, ends, strict=True)]


def seal_index(plain: Sequence[bytes], master: MasterKey | None = None) -> bytes:
    """Return the index file of these parts, whatever they say."""
    master = master or keys()[1]
    head = index.encode_header(header(master.number))
    cipher = index_cipher(master.subkey(Purpose.INDEX), salt=header().salt, header=head)
    return b"".join((head, *(seal_part(cipher, *part) for part in enumerate(plain))))


def seal_part(cipher: IndexCipher, number: int, plain: bytes) -> bytes:
    """Return one part of an index file, sealed."""
    sealed = bytearray(len(plain) + TAG_BYTES)
    cipher.seal_into(number, plain, memoryview(sealed))
    return bytes(sealed)


def entries() -> list[Entry]:
    """Return a folder with entries of every kind, sorted by name."""
    ids = counter("chunks")(96)
    plain = Entry(
        name=b"boot.img",
        kind="file",
        mode=0o640,
        uid=1000,
        gid=100,
        user="ada",
        group="staff",
        mtime_ns=1_773_501_000_123_456_789,
        size_bytes=1 << 30,
        content=ids,
        extents=((0, 4096), (1 << 20, 65536)),
    )
    bare = replace(plain, size_bytes=0, content=b"", extents=None)
    return [
        plain,
        replace(bare, name=b"huge", size_bytes=5 << 40, content=ids[:64], levels=2, changed=True),
        replace(bare, name=b"link", kind="symlink", user=None, group=None, target=b"../boot.img"),
        replace(
            bare,
            name=b"logs",
            kind="folder",
            mode=0o2755,
            content=ids[:32],
            xattrs=((b"user.a", b""), (b"user.b", b"\xff\x00")),
        ),
        replace(bare, name=b"pipe\xff", kind="fifo", mtime_ns=-1),
        replace(
            bare, name="\N{LATIN SMALL LETTER E WITH ACUTE}t\xe9".encode(), link=counter("link")(16)
        ),
    ]


def public() -> point.PointPublic:
    """Return the public part of a seed's recovery point."""
    data, _ = sample_pack()
    digest = hashlib.sha256(data).hexdigest()
    made = seal_index(index_plain())
    listed = hashlib.sha256(made).hexdigest()
    return point.PointPublic(
        point_id=POINT,
        repository_id=REPOSITORY,
        created_at=INSTANT,
        kind="seed",
        seed_id=SEED,
        base=None,
        salt=counter("point")(32).hex(),
        objects=[
            point.ObjectRef(name=f"index/{listed}.index", size_bytes=len(made), sha256=listed),
            point.ObjectRef(
                name=f"packs/{digest[:2]}/{digest}.pack", size_bytes=len(data), sha256=digest
            ),
        ],
    )


def root() -> point.PointRoot:
    """Return a recovery point's root."""
    return point.PointRoot(
        roots=[point.Root(b"/srv/harbour", entries()[3])],
        statistics=point.Statistics(files=3, folders=2, source_bytes=1572, skipped=1),
        skipped=[point.Skipped(b"/srv/harbour/.lock", "not readable")],
        host="harbour-01",
        policy="nightly",
        include=["/srv/harbour"],
        exclude=["*.tmp"],
        started_at=INSTANT,
        ended_at=INSTANT,
        left_out=point.LeftOut(caches=True, if_present=[b".nobackup"], larger_than_bytes=1 << 30),
    )


def seal_root(plain: bytes, master: MasterKey | None = None) -> bytes:
    """Return the sealed root of the sample's recovery point, whatever it says."""
    master = master or keys()[1]
    return seal_once(
        master.subkey(Purpose.POINT),
        POINT_ROOT,
        salt=bytes.fromhex(public().salt),
        plaintext=plain,
        aad=point.encode_public(public()),
    )


def sample_point(master: MasterKey | None = None) -> bytes:
    """Return a good recovery point."""
    private, master = signer(), master or keys()[1]
    return bytes(
        point.assemble(
            public(),
            seal_root(point.encode_root(root()), master),
            master_number=master.number,
            sign=lambda data: sign(private, point.SIGNATURE_PURPOSE, data),
        )
    )


def manifest() -> SeedManifest:
    """Return the manifest of the sample's seed."""
    named = {
        o.name: data
        for o, data in zip(
            public().objects, (seal_index(index_plain()), sample_pack()[0]), strict=True
        )
    }
    named[f"points/{POINT}.point"] = sample_point()
    named["keys/00000001.keyring"] = encode_keyring(keys()[0])
    return SeedManifest(
        seed_id=SEED,
        repository_id=REPOSITORY,
        job_name="harbour first",
        point_id=POINT,
        snapshot_at=INSTANT,
        created_at=INSTANT,
        objects=[
            ManifestObject(
                name=name,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
            for name, data in sorted(named.items())
        ],
    )


def drive_manifest(seed: bytes) -> DriveManifest:
    """Return the manifest of the first of two drives of the seed whose manifest file is `seed`."""
    return DriveManifest(
        seed_id=SEED,
        job_name="harbour first",
        drive_serial="ZX91K7Q0",
        sequence=1,
        drive_count=2,
        seed_manifest_sha256=hashlib.sha256(seed).hexdigest(),
        objects=manifest().objects[:2],
        prepared_at=INSTANT,
    )


def replacement() -> Replacement:
    """Return a repair's replacement: one point is whole again, one is not."""
    come = hashlib.sha256(b"comes").hexdigest()
    go = hashlib.sha256(b"goes").hexdigest()
    listed = public().objects[0]
    return Replacement(
        replacement_id=REPLACEMENT,
        repository_id=REPOSITORY,
        created_at=INSTANT,
        reason="repair",
        keeps=[POINT],
        lost=[PointId("d0f5b8e3-6a1c-4d2f-8b7e-9c0d1e2f3a4b")],
        replaced=sorted((f"packs/{go[:2]}/{go}.pack", listed.name)),
        objects=[
            ReplacementObject(
                name=f"packs/{come[:2]}/{come}.pack", size_bytes=1 << 20, sha256=come
            ),
        ],
    )
