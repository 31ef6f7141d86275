"""A folder's node: its entries, sorted by name, in MessagePack (`tree-v1.md`).

`Entry` is a plain array-like structure, not a checked value: one is made for each file of the
source, so decoding and checking are done by `msgspec` and one pass.
"""

import operator
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Final, Literal

import msgspec

from overland.errors import ObjectCorrupt

__all__ = [
    "CHUNK_ID_BYTES",
    "KIND_FIFO",
    "KIND_FILE",
    "KIND_FOLDER",
    "KIND_SYMLINK",
    "LINK_BYTES",
    "MAX_LEVELS",
    "MAX_NODE_BYTES",
    "Entry",
    "Kind",
    "TreeCorrupt",
    "check_entry",
    "decode_entry",
    "decode_node",
    "decode_nodes",
    "decode_own_node",
    "encode_node",
    "encode_own_node",
    "joined_node",
    "node_head",
    "split_own_node",
]

CHUNK_ID_BYTES: Final = 32
LINK_BYTES: Final = 16
MAX_LEVELS: Final = 4
MAX_NODE_BYTES: Final = 1 << 30
KIND_FILE: Final = "file"
KIND_FOLDER: Final = "folder"
KIND_SYMLINK: Final = "symlink"
KIND_FIFO: Final = "fifo"
_VERSION: Final = 1
_NO_NAMES: Final = frozenset({b"", b".", b".."})
_MAX_MODE: Final = 0o7777
_NEW: Final = "the new node"

Kind = Literal["file", "folder", "symlink", "fifo"]
_Name = Annotated[bytes, msgspec.Meta(max_length=65_535)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Owner = Annotated[str, msgspec.Meta(max_length=1024)] | None


class TreeCorrupt(ObjectCorrupt):
    """A folder's node breaks a rule of `docs/format/tree-v1.md`."""

    code = "tree-corrupt"


class Entry(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, kw_only=True
):
    """One file, folder, symbolic link or pipe, as it was at the instant of the snapshot.

    `content` is chunk ids laid end to end: of the file's bytes (of its data extents, where it has
    holes), or of the folder's own node.  With `levels` above 0 it is that of a longer list, itself
    stored in chunks, so many times over.
    """

    name: _Name
    kind: Kind
    mode: Annotated[int, msgspec.Meta(ge=0, le=_MAX_MODE)]
    uid: _Id
    gid: _Id
    user: _Owner
    group: _Owner
    mtime_ns: int
    size_bytes: _Size
    content: bytes = b""
    levels: Annotated[int, msgspec.Meta(ge=0, le=MAX_LEVELS)] = 0
    extents: tuple[tuple[_Size, _Size], ...] | None = None
    target: _Name = b""
    xattrs: tuple[tuple[_Name, bytes], ...] = ()
    link: bytes = b""
    changed: bool = False


class _Node(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: Literal[1]
    entries: list[Entry]


class _SplitNode(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: Literal[1]
    entries: list[msgspec.Raw]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Node)
_splitter: Final = msgspec.msgpack.Decoder(_SplitNode)
_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)


def encode_node(entries: Iterable[Entry]) -> bytes:
    """Return a folder's node.  `entries` are sorted by name, and each name is there once.

    The same entries give the same bytes, so an unchanged folder is a chunk that exists already.

    Raises:
        TreeCorrupt: An entry breaks a rule of `docs/format/tree-v1.md` §4.
    """
    node = _Node(version=_VERSION, entries=list(entries))
    _check_nodes([node], name=_NEW)
    return _encoded(node)


def encode_own_node(entries: Sequence[Entry | msgspec.Raw], *, names: Sequence[bytes]) -> bytes:
    """Return the node that `encode_node` would, of entries some of which are encoded already.

    Args:
        entries: Those in MessagePack are of `split_own_node`: they were checked when they were
            encoded, and a checksum has kept them since.
        names: Of all the entries, which are sorted by them.

    Raises:
        TreeCorrupt: A name, or an entry that is not encoded yet, breaks a rule of §4.
    """
    _check_names(names, ends=(), name=_NEW)
    _check_entries([entry for entry in entries if isinstance(entry, Entry)], name=_NEW)
    return _encoded((_VERSION, entries))


def decode_node(data: bytes, *, name: str) -> list[Entry]:
    """Return the entries of a folder's node.

    Args:
        data: The node, joined from its chunks.
        name: Used in errors only; not a path of the source, which must not reach a log.

    Raises:
        TreeCorrupt: A rule of `docs/format/tree-v1.md` §4 is broken; `check` says which.
    """
    return decode_nodes([data], name=name)[0]


def decode_nodes(encoded: Sequence[bytes], *, name: str) -> list[list[Entry]]:
    """Return the entries of several nodes, as `decode_node` does of one: faster, if there are many.

    Raises:
        TreeCorrupt: A rule is broken in one of them, as in `decode_node`.
    """
    if any(len(data) > MAX_NODE_BYTES for data in encoded):
        raise TreeCorrupt(name, check="the node is too long")
    nodes = [_decoded(data, name=name) for data in encoded]
    _check_nodes(nodes, name=name)
    if any(map(operator.ne, map(_encoder.encode, nodes), encoded)):
        raise TreeCorrupt(name, check="the node is not in canonical form")
    return [node.entries for node in nodes]


def decode_own_node(data: bytes, *, name: str) -> list[Entry]:
    """Return the entries of a node that `encode_node` made and a checksum has kept since.

    The rules of §4 were checked then, and are once more by who encodes these entries again.

    Raises:
        TreeCorrupt: It is no node at all.
    """
    return _decoded(data, name=name).entries


def split_own_node(data: bytes, *, name: str) -> list[msgspec.Raw]:
    """Return the entries of a node of our own, as `decode_own_node`, each still in MessagePack.

    Raises:
        TreeCorrupt: It is no node at all.
    """
    try:
        return _splitter.decode(data).entries
    except (msgspec.DecodeError, RecursionError) as error:
        raise TreeCorrupt(name, check=f"not a node of version 1: {error}") from None


def decode_entry(encoded: msgspec.Raw, *, name: str) -> Entry:
    """Return an entry of `split_own_node`.

    Raises:
        TreeCorrupt: It is no entry at all.
    """
    try:
        return _entry_decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TreeCorrupt(name, check=f"not an entry: {error}") from None


def _encoded(node: object) -> bytes:
    data = _encoder.encode(node)
    if len(data) > MAX_NODE_BYTES:
        raise TreeCorrupt(_NEW, check="the node is too long")
    return data


def _decoded(data: bytes, *, name: str) -> _Node:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TreeCorrupt(name, check=f"not a node of version 1: {error}") from None


def joined_node(nodes: Iterable[bytes], *, counts: Sequence[int]) -> Iterator[bytes]:
    """Yield, in parts, the node of the entries of several nodes, one behind the other.

    Args:
        nodes: As `encode_node` returned them; names ascend from each to the next.
        counts: How many entries each of them has.

    Raises:
        TreeCorrupt: There is no room for all of them in one node.
    """
    yield node_head(sum(counts))
    length = 0
    for node, count in zip(nodes, counts, strict=True):
        length += len(node)
        if length > MAX_NODE_BYTES:
            raise TreeCorrupt(_NEW, check="the node is too long")
        yield node[len(node_head(count)) :]


def node_head(count: int) -> bytes:
    """Return what lies in front of the entries: an array of the version and an array."""
    if count < 16:
        return b"\x92\x01" + bytes([0x90 | count])
    if count < 1 << 16:
        return b"\x92\x01\xdc" + struct.pack(">H", count)
    return b"\x92\x01\xdd" + struct.pack(">I", count)


def check_entry(entry: Entry, *, name: str) -> None:
    """Return when what the entry says of its content holds together (§4.2).

    Raises:
        TreeCorrupt: It does not.
    """
    if not 0 <= entry.mode <= _MAX_MODE:
        raise TreeCorrupt(name, check="a mode holds more than permissions")
    if len(entry.content) % CHUNK_ID_BYTES:
        raise TreeCorrupt(name, check="a content list is cut")
    if entry.levels and not entry.content:
        raise TreeCorrupt(name, check="a list of lists is empty")
    if entry.link and (len(entry.link) != LINK_BYTES or entry.kind == KIND_FOLDER):
        raise TreeCorrupt(name, check="a hard link's group is not allowed")
    if entry.kind == KIND_FILE:
        _check_file(entry, name=name)
    elif entry.extents is not None:
        raise TreeCorrupt(name, check="only files have extents")
    if entry.kind in {KIND_SYMLINK, KIND_FIFO} and (entry.content or entry.levels):
        raise TreeCorrupt(name, check="only files and folders have content")
    if (entry.kind == KIND_SYMLINK) != bool(entry.target) or b"\0" in entry.target:
        raise TreeCorrupt(name, check="a symbolic link's target is not allowed")
    if entry.xattrs:
        _check_attributes(entry, name=name)


def _check_attributes(entry: Entry, *, name: str) -> None:
    if any(first[0] >= second[0] for first, second in pairwise(entry.xattrs)):
        raise TreeCorrupt(name, check="attributes are not sorted, or not unique")
    if any(not key or b"\0" in key for key, _ in entry.xattrs):
        raise TreeCorrupt(name, check="an attribute's name is not allowed")


def _check_file(entry: Entry, *, name: str) -> None:
    data_bytes = entry.size_bytes
    if entry.extents is not None:
        end = data_bytes = 0
        for offset, length in entry.extents:
            if offset < end or length < 1 or offset + length > entry.size_bytes:
                raise TreeCorrupt(name, check="extents overlap or leave the file")
            end, data_bytes = offset + length, data_bytes + length
    if bool(data_bytes) != bool(entry.content):
        raise TreeCorrupt(name, check="a file's content does not match its size")


def _check_nodes(nodes: Sequence[_Node], *, name: str) -> None:
    entries = [entry for node in nodes for entry in node.entries]
    ends = accumulate(len(node.entries) for node in nodes)
    _check_names([entry.name for entry in entries], ends=ends, name=name)
    _check_entries(entries, name=name)


def _check_names(names: Sequence[bytes], *, ends: Iterable[int], name: str) -> None:
    """Check the names of several nodes, one behind the other; at each of `ends` one ends."""
    ascends = list(map(operator.lt, names, names[1:]))
    for end in ends:
        if 0 < end < len(names):
            ascends[end - 1] = True  # what follows is in another node
    if not all(ascends):
        raise TreeCorrupt(name, check="names are not sorted, or not unique")
    joined = b"\0".join(names)
    is_plain = joined.count(b"\0") == max(len(names) - 1, 0) and b"/" not in joined
    if not is_plain or not _NO_NAMES.isdisjoint(names):
        raise TreeCorrupt(name, check="a name is not allowed")


def _check_entries(entries: Iterable[Entry], *, name: str) -> None:
    for entry in entries:
        if not (  # a file as nearly all are, of which nothing would be said
            entry.kind == KIND_FILE
            and len(entry.content) == CHUNK_ID_BYTES
            and entry.size_bytes > 0
            and 0 <= entry.mode <= _MAX_MODE
            and entry.extents is None
            and not (entry.levels or entry.link or entry.target or entry.xattrs)
        ):
            check_entry(entry, name=name)
