"""A recovery point: a signed file with a public part and a sealed root (`point-v1.md`).

The public part is what keyless machines need to know which objects make the point whole.  All
names, times and sizes of the source are in the sealed root.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec.structs import replace

from overland.errors import ObjectCorrupt
from overland.format.objecttable import (
    Buffer,
    ListingBroken,
    ObjectRef,
    ObjectTable,
    joined,
    listing,
    split,
)
from overland.format.tree import Entry, TreeCorrupt, check_entry
from overland.values import PointId, RepositoryId, SeedId, canonical_uuid, is_object_name

__all__ = [
    "MAX_POINT_BYTES",
    "SIGNATURE_BYTES",
    "SIGNATURE_PURPOSE",
    "LeftOut",
    "ObjectRef",
    "ParsedPoint",
    "PointCorrupt",
    "PointPublic",
    "PointRoot",
    "Root",
    "Skipped",
    "Statistics",
    "assemble",
    "decode_public",
    "decode_root",
    "encode_public",
    "encode_root",
    "parse",
]

SIGNATURE_PURPOSE: Final = "overland-point-v1"
MAX_POINT_BYTES: Final = 512 << 20
MAX_ROOT_BYTES: Final = 64 << 20
_PREFIX: Final = struct.Struct("<8sIHHII8x")  # §2
_MAGIC: Final = b"OVLPOIN1"
_VERSION: Final = 1
_AES_256_GCM: Final = 1
SIGNATURE_BYTES: Final = 64
_TAG_BYTES: Final = 16
_ALIGNMENT: Final = 512
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NEW: Final = "the new recovery point"

_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class PointCorrupt(ObjectCorrupt):
    """A recovery point breaks a rule of `docs/format/point-v1.md`."""

    code = "point-corrupt"


class PointPublic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What everybody may know of a recovery point; long `objects` are an `ObjectTable`."""

    point_id: PointId
    repository_id: RepositoryId
    created_at: _Instant
    kind: Literal["seed", "incremental", "full"]
    seed_id: SeedId | None
    base: PointId | None
    salt: _Sha256
    objects: Sequence[ObjectRef]


class Statistics(
    msgspec.Struct, frozen=True, array_like=True, kw_only=True, forbid_unknown_fields=True
):
    """What a run read, and what of it was new."""

    files: _Count = 0
    folders: _Count = 0
    others: _Count = 0
    source_bytes: _Count = 0
    new_bytes: _Count = 0
    stored_bytes: _Count = 0
    chunks: _Count = 0
    new_chunks: _Count = 0
    changed_while_read: _Count = 0
    skipped: _Count = 0


class Skipped(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Something of the source that is not in the recovery point, and why."""

    path: bytes
    reason: _Text


class Root(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One source root: its absolute path, and its entry."""

    path: bytes
    entry: Entry


class LeftOut(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the policy left out for what it is, rather than for its name (§4).

    Attributes:
        caches: Whether what lies beside a valid `CACHEDIR.TAG` was left out.
        if_present: Names; what lies beside an entry of such a name was left out.
        larger_than_bytes: Files longer than this were left out; None for none.
    """

    caches: bool = False
    if_present: list[bytes] = []
    larger_than_bytes: _Count | None = None


class PointRoot(msgspec.Struct, frozen=True, kw_only=True):
    """What only the holder of the key may know of a recovery point."""

    roots: list[Root]
    statistics: Statistics
    skipped: list[Skipped]
    host: str
    policy: str
    include: list[str]
    exclude: list[str]
    started_at: datetime
    ended_at: datetime
    left_out: LeftOut = LeftOut()


class _WireRoot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: Literal[1]
    roots: Annotated[list[Root], msgspec.Meta(max_length=10_000)]
    statistics: Statistics
    skipped: list[Skipped]
    host: _Text
    policy: _Text
    include: list[_Text]
    exclude: list[_Text]
    started_us: int
    ended_us: int
    left_out: LeftOut


class ParsedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery point's parts.  Nothing is proven until the signature was verified.

    `public_bytes` and `signed_bytes` are views of the file, which stays in memory with them;
    `master_number` says which master key the key of the sealed root comes from.

    `signed_bytes` and `signature` go to `crypto.sign.verify` with `SIGNATURE_PURPOSE`;
    `public_bytes` is the additional data of the sealed root, `salt` the one of its key.
    """

    public: PointPublic
    public_bytes: memoryview
    master_number: int
    salt: bytes
    sealed_root: bytes
    signed_bytes: memoryview
    signature: bytes


def encode_public(public: PointPublic) -> bytearray:
    """Return the public part as canonical JSON; the additional data of the sealed root.

    Raises:
        PointCorrupt: `public` breaks a rule of §3; nothing may be written from it.
    """
    return _append_public(bytearray(), public)


def decode_public(data: Buffer, *, name: str) -> PointPublic:
    """Return the public part of a recovery point.

    Raises:
        PointCorrupt: A rule of `docs/format/point-v1.md` §3 is broken.
    """
    try:
        shell, elements = split(data)
        public = msgspec.json.decode(shell, type=PointPublic)
        _check_shell(public, name=name)
        if msgspec.json.encode(public) != shell:
            raise PointCorrupt(name, check="the public part is not in canonical form")
        objects = listing(elements, check=lambda ref: _check_object(ref, name=name))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ListingBroken) as error:
        raise PointCorrupt(name, check=f"not a public part of version 1: {error}") from None
    if objects.has_twice():
        raise PointCorrupt(name, check="an object's name is not allowed, or there twice")
    return replace(public, objects=objects)


def encode_root(root: PointRoot) -> bytes:
    """Return the plaintext of the sealed root.

    Raises:
        PointCorrupt: It is too long, and no reader would take it.
    """
    wire = _WireRoot(
        _VERSION,
        root.roots,
        root.statistics,
        root.skipped,
        root.host,
        root.policy,
        root.include,
        root.exclude,
        _microseconds(root.started_at),
        _microseconds(root.ended_at),
        root.left_out,
    )
    data = msgspec.msgpack.encode(wire)
    if len(data) > MAX_ROOT_BYTES - _TAG_BYTES:
        raise PointCorrupt(_NEW, check="its root is too long")
    return data


def decode_root(data: bytes, *, name: str) -> PointRoot:
    """Return the root of a recovery point from its opened bytes.

    Raises:
        PointCorrupt: A rule of `docs/format/point-v1.md` §4 is broken.
    """
    try:
        wire = msgspec.msgpack.decode(data, type=_WireRoot)
        started, ended = (_instant(us) for us in (wire.started_us, wire.ended_us))
        for root in wire.roots:
            _check_root_path(root.path, name=name)
            check_entry(root.entry, name=name)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise PointCorrupt(name, check=f"not a root of version 1: {error}") from None
    except TreeCorrupt as error:
        raise PointCorrupt(name, check=error.check) from None
    if msgspec.msgpack.encode(wire) != data:
        raise PointCorrupt(name, check="the root is not in canonical form")
    return PointRoot(
        roots=wire.roots,
        statistics=wire.statistics,
        skipped=wire.skipped,
        host=wire.host,
        policy=wire.policy,
        include=wire.include,
        exclude=wire.exclude,
        started_at=started,
        ended_at=ended,
        left_out=wire.left_out,
    )


def _check_root_path(path: bytes, *, name: str) -> None:
    """§4: absolute, and no part of it could lead anywhere else."""
    parts = path.split(b"/")
    if parts[0] != b"" or len(parts) < 2 or b"\0" in path:
        raise PointCorrupt(name, check="a root's path is not absolute")
    if path != b"/" and any(part in {b"", b".", b".."} for part in parts[1:]):
        raise PointCorrupt(name, check="a root's path has a part that is no name")


def assemble(
    public: PointPublic,
    sealed_root: bytes,
    *,
    master_number: int,
    sign: Callable[[memoryview], bytes],
    before: bytes = b"",
) -> bytearray:
    """Return the whole file of a recovery point; its length is a multiple of 512.

    Args:
        public: The public part.
        sealed_root: `encode_root` sealed under `public.salt` with `encode_public` as additional
            data.
        master_number: Of the master key that the root is sealed under.
        sign: Returns the Ed25519 signature for `SIGNATURE_PURPOSE` of its argument; keeps no view.
        before: Stands before the file in what is returned, and in what `sign` is given: a file of
            hundreds of MiB is in memory once, together with what a signature wants before it.

    Raises:
        PointCorrupt: `public` breaks a rule of §3, or the file would be too long.
    """
    text = _append_public(bytearray(before + bytes(_PREFIX.size)), public)
    lengths = len(text) - len(before) - _PREFIX.size, len(sealed_root)
    text += sealed_root
    text += bytes(-(len(text) - len(before) + SIGNATURE_BYTES) % _ALIGNMENT)
    if len(text) - len(before) + SIGNATURE_BYTES > MAX_POINT_BYTES:
        raise PointCorrupt(_NEW, check="it lists more objects than a point can")
    _PREFIX.pack_into(text, len(before), _MAGIC, _VERSION, _AES_256_GCM, master_number, *lengths)
    with memoryview(text) as signed:
        signature = sign(signed)
    assert len(signature) == SIGNATURE_BYTES, "an Ed25519 signature has 64 bytes"
    text += signature
    return text


def parse(data: Buffer, *, name: str) -> ParsedPoint:
    """Return the parts of a recovery point's file.  Checks no signature and opens nothing.

    Raises:
        PointCorrupt: A rule of `docs/format/point-v1.md` §2 or §3 is broken.
    """
    if not _PREFIX.size + SIGNATURE_BYTES <= len(data) <= MAX_POINT_BYTES:
        raise PointCorrupt(name, check="the file's length is not allowed")
    if len(data) % _ALIGNMENT:
        raise PointCorrupt(name, check="the file's length is not a multiple of 512")
    view = memoryview(data)
    master_number, public_bytes, sealed_root = _layout(view, name=name)
    public = decode_public(public_bytes, name=name)
    return ParsedPoint(
        public=public,
        public_bytes=public_bytes,
        master_number=master_number,
        salt=bytes.fromhex(public.salt),
        sealed_root=sealed_root,
        signed_bytes=view[:-SIGNATURE_BYTES],
        signature=bytes(view[-SIGNATURE_BYTES:]),
    )


def _layout(data: memoryview, *, name: str) -> tuple[int, memoryview, bytes]:
    magic, version, cipher, number, public_bytes, sealed_bytes = _PREFIX.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or cipher != _AES_256_GCM:
        raise PointCorrupt(name, check="not a recovery point of version 1")
    if any(data[24 : _PREFIX.size]):
        raise PointCorrupt(name, check="a reserved byte is not zero")
    sealed_at = _PREFIX.size + public_bytes
    sealed_end = sealed_at + sealed_bytes
    padding = len(data) - SIGNATURE_BYTES - sealed_end
    if not 0 <= padding < _ALIGNMENT or not _TAG_BYTES < sealed_bytes <= MAX_ROOT_BYTES:
        raise PointCorrupt(name, check="the parts do not fill the file")
    if any(data[sealed_end : sealed_end + padding]):
        raise PointCorrupt(name, check="the padding is not zero")
    return number, data[_PREFIX.size : sealed_at], bytes(data[sealed_at:sealed_end])


def _append_public(data: bytearray, public: PointPublic) -> bytearray:
    _check_shell(public, name=_NEW)
    for ref in public.objects:
        _check_object(ref, name=_NEW)
    objects = public.objects
    if (objects if isinstance(objects, ObjectTable) else ObjectTable(objects)).has_twice():
        raise PointCorrupt(_NEW, check="an object's name is not allowed, or there twice")
    for part in joined(msgspec.json.encode(replace(public, objects=())), objects):
        data += part
    return data


def _check_shell(public: PointPublic, *, name: str) -> None:
    ids = (public.point_id, public.repository_id, public.seed_id, public.base)
    if any(text is not None and not _is_canonical(text) for text in ids):
        raise PointCorrupt(name, check="an id is not a canonical UUID")
    if (public.kind == "seed") != (public.seed_id is not None):
        raise PointCorrupt(name, check="a seed has a seed id, and nothing else has")
    if (public.kind == "incremental") != (public.base is not None):
        raise PointCorrupt(name, check="an incremental has a base, and nothing else has")
    if public.created_at.utcoffset() != timedelta(0):
        raise PointCorrupt(name, check="an instant is not in UTC")


def _check_object(ref: ObjectRef, *, name: str) -> None:
    if not _is_payload(ref.name):
        raise PointCorrupt(name, check="an object's name is not allowed, or there twice")
    if ref.sha256 not in ref.name or ref.size_bytes % _ALIGNMENT:
        raise PointCorrupt(name, check="an object's name or size is not its own")


def _is_payload(name: str) -> bool:
    return is_object_name(name) and name.startswith(("packs/", "index/"))


def _is_canonical(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False


def _microseconds(instant: datetime) -> int:
    assert instant.tzinfo is not None, "instants are aware, in UTC"
    return (instant - _EPOCH) // _MICROSECOND


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
