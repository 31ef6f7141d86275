"""Targets: the repository's own files, as a stranger may have changed them."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Final

from tests.fuzz.oracle import Target
from tests.support import format_samples as sample
from tests.support.documentdrives import make_drive
from tests.support.format_texts import Written, worked_example
from tests.support.landed import VAULT, MemorySpaces

from overland.cloud.grants import is_safe_name, is_space
from overland.crypto.keyring import decode_keyring, encode_keyring
from overland.crypto.keys import open_with_recovery_kit
from overland.crypto.recovery_kit import format_kit, parse_kit
from overland.crypto.sign import public_key, sign, verify
from overland.format import pack, point, tree
from overland.format.blob_description import (
    BlobDescription,
    decode_description,
    encode_description,
    is_reserved,
)
from overland.format.blob_list import BlobSelection, read_blob_list, write_blob_list
from overland.format.drive_xml import (
    Blob,
    BlobList,
    ManifestXmlInvalid,
    file_path_problem,
    read_manifest,
    write_manifest,
)
from overland.format.nodestream import entry_batches
from overland.format.seed_manifest import (
    decode_drive_manifest,
    decode_seed_manifest,
    encode_drive_manifest,
    encode_seed_manifest,
)
from overland.format.side_xml import read_metadata, write_metadata
from overland.seeding.manifest import (
    read_drive_manifest,
    read_seed_manifest,
    signed_drive_manifest,
    signed_seed_manifest,
)
from overland.station.items import pack_blob, unpack_blob
from overland.station.placing import target_problem
from overland.vault.owner import Owner, open_manifest

__all__ = ["FORMATS"]


_NO_LISTS: Final = MemorySpaces().open(VAULT)


@cache
def _owner() -> Owner:
    return Owner(
        source_computer_id="fuzz",
        repository_id=sample.REPOSITORY,
        public_key=public_key(sample.signer()),
    )


@cache
def _seed_document() -> bytes:
    signer = sample.signer()
    return bytes(
        signed_seed_manifest(
            sample.manifest(),
            public_key=public_key(signer),
            sign=lambda purpose, body: sign(signer, purpose, body),
        )
    )


@cache
def _drive_document() -> bytes:
    signer = sample.signer()
    return signed_drive_manifest(
        sample.drive_manifest(_seed_document()),
        public_key=public_key(signer),
        sign=lambda purpose, body: sign(signer, purpose, body),
    )


# Packs.


def _pack(data: bytes) -> bool:
    sample.open_pack(data, name="pack")
    return True


@cache
def _pack_bytes() -> int:
    return len(sample.sample_pack()[0])


def _directory(data: bytes) -> bool:
    found = pack.decode_directory(data, name="pack", pack_bytes=_pack_bytes())
    assert pack.encode_directory(found) == data, "a directory has one encoding"
    return True


def _trailer(data: bytes) -> bool:
    # The checksum is no secret: whoever changes a trailer writes a fitting one.
    body = data[: pack.TRAILER_BYTES - 32]
    whole = body + hashlib.sha256(body).digest()
    found = pack.decode_trailer(whole, name="pack", pack_bytes=_pack_bytes())
    assert pack.encode_trailer(found) == whole, "a trailer has one encoding"
    return True


# Points and trees.


def _point(data: bytes) -> bool:
    parsed = point.parse(data, name="point")
    verify(_owner().public_key, point.SIGNATURE_PURPOSE, parsed.signed_bytes, parsed.signature)
    return True


def _point_layout(data: bytes) -> bool:
    parsed = point.parse(data, name="point")
    whole = point.assemble(
        parsed.public,
        parsed.sealed_root,
        master_number=parsed.master_number,
        sign=lambda _: parsed.signature,
    )
    assert whole == data, "a point has one encoding"
    return True


def _point_root(data: bytes) -> bool:
    assert point.encode_root(point.decode_root(data, name="root")) == data, "one encoding"
    return True


def _node(data: bytes) -> bool:
    entries = tree.decode_node(data, name="node")
    assert tree.encode_node(entries) == data, "a node has one encoding"
    assert all(b"/" not in e.name and e.name not in {b"", b".", b".."} for e in entries)
    return True


def _node_in_pieces(data: bytes) -> bool:
    """What reads a node in pieces agrees with what reads it whole."""
    try:
        found = [entry for batch in entry_batches(_in_pieces(data), name="node") for entry in batch]
    except tree.TreeCorrupt:
        with suppress(tree.TreeCorrupt):
            tree.decode_node(data, name="node")
            raise AssertionError("it is in order as a whole") from None
        return False
    assert tree.decode_node(data, name="node") == found, "the same entries"
    return True


# Keys.


def _keyring(data: bytes) -> bool:
    document = decode_keyring(data, name="keyring")
    assert encode_keyring(document) == data, "a keyring has one encoding"
    _, _, kit = sample.keys()
    open_with_recovery_kit(document, kit)
    return True


def _kit(data: bytes) -> bool:
    repository_id, key = parse_kit(data.decode("utf-8", "replace"))
    again, same = parse_kit(format_kit(repository_id, key))
    assert (again, same.reveal()) == (repository_id, key.reveal()), "a kit says what it is"
    return True


# Manifests.


def _seed_manifest(data: bytes) -> bool:
    open_manifest(data, owner=_owner(), seed_id=sample.SEED, store=_NO_LISTS)
    return True


def _any_signer(data: bytes) -> bool:
    """A manifest that brings its own key: whole, but of anybody."""
    read_seed_manifest(data)
    return True


def _seed_body(data: bytes) -> bool:
    found = decode_seed_manifest(data, name="manifest")
    assert encode_seed_manifest(found) == data, "a manifest has one encoding"
    return True


def _drive_manifest(data: bytes) -> bool:
    read_drive_manifest(data)
    return True


def _drive_body(data: bytes) -> bool:
    found = decode_drive_manifest(data, name="manifest")
    assert encode_drive_manifest(found) == data, "a manifest has one encoding"
    return True


def _drive_xml(data: bytes) -> bool:
    found = read_manifest(_in_pieces(data))
    blobs = list(found.blobs)
    for blob in blobs:
        parts = blob.file_name.split("/")
        assert not {"", ".", ".."} & set(parts), "a path stays on the drive"
        assert not set("\\:\0") & set(blob.file_name), "a path has one reading"
    _rewritten(found.drive_id, blobs)
    return True


def _other_drive(data: bytes) -> bool:
    """A drive of another tool: paths that are used stay on the drive and in the container."""
    used = 0
    for blob in read_manifest(_in_pieces(data), check_names=False).blobs:
        if file_path_problem(blob.file_path) is None:
            below = f"/drive/{blob.file_name}"
            assert os.path.normpath(below) == below, "a path stays on the drive"
        if target_problem(blob.blob_path) is None:
            container, _, name = blob.blob_path.partition("/")
            assert is_space(f"accounts/harbour/{container}"), "it goes to a container"
            assert is_safe_name(name), "and to a name in it"
            assert not is_reserved(name), "which is not ours"
        packed = pack_blob(blob)
        again = unpack_blob(packed, size_bytes=blob.length)
        shared = BlobList(metadata=blob.blob_list.metadata, properties=blob.blob_list.properties)
        assert again == replace(blob, blob_list=shared), "a blob is kept as it was read"
        used += 1
    return used > 0


def _side_file(data: bytes) -> bool:
    metadata = read_metadata(data)
    assert read_metadata(write_metadata(metadata)) == metadata, "metadata is written as read"
    return True


def _blob_list(data: bytes) -> bool:
    found = read_blob_list(data)
    plain = replace(found, snapshots=())
    if plain.paths or plain.prefixes:
        printable = all(path.isprintable() for path in (*plain.paths, *plain.prefixes))
        again = read_blob_list(write_blob_list(plain))
        assert again == plain or not printable, "a list is written as read"
    return True


def _description(data: bytes) -> bool:
    found = decode_description(data, name="description")
    again = decode_description(encode_description(found), name="description")
    assert again == found, "a description is written as read"
    return True


@cache
def _described() -> bytes:
    return encode_description(
        BlobDescription(
            name="charts/tide.png",
            blob_type="PageBlob",
            sha256="ab" * 32,
            properties={"Content-Type": "image/png"},
            metadata={"Project": "Lantern"},
        )
    )


def _rewritten(drive_id: str, blobs: list[Blob]) -> None:
    out = Written()
    try:
        write_manifest(out, drive_id, blobs)
    except ManifestXmlInvalid:
        return  # a serial or an id that we read from others, and do not write ourselves
    again = list(read_manifest(bytes(out)).blobs)
    for one, other in zip(again, blobs, strict=True):
        assert (one.file_path, one.parts) == (other.file_path, other.parts), "written as read"


def _in_pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 100] for at in range(0, len(data), 100))


_JSON: Final = (b'{"', b'":', b"null", b"1e999", b"-0", b"\\u0000", b"\\ud800", b'"Z"')
_XML: Final = (
    b"<!--",
    b"<![CDATA[",
    b"]]>",
    b"&#0;",
    b"&#x10FFFF;",
    b"&amp;",
    b"<?php ?>",
    b"xmlns:a='b'",
    b"2014-11-01",
    b"\xef\xbb\xbf",
)

FORMATS: Final = (
    Target(
        name="pack",
        kind="binary",
        make_seeds=lambda: [sample.sample_pack()[0]],
        attempt=_pack,
        is_sealed=True,
    ),
    Target(
        name="pack-directory",
        kind="binary",
        make_seeds=lambda: [pack.encode_directory(sample.sample_pack()[1])],
        attempt=_directory,
    ),
    Target(
        name="pack-trailer",
        kind="binary",
        make_seeds=lambda: [sample.sample_pack()[0][-pack.TRAILER_BYTES :]],
        attempt=_trailer,
    ),
    Target(
        name="tree-node",
        kind="binary",
        make_seeds=lambda: [tree.encode_node(sample.entries()), tree.encode_node([])],
        attempt=_node,
        tokens=(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91"),
        bytes_per_byte=256,
    ),
    Target(
        name="tree-node-in-pieces",
        kind="binary",
        make_seeds=lambda: [tree.encode_node(sample.entries()), tree.encode_node([])],
        attempt=_node_in_pieces,
        tokens=(b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91"),
        bytes_per_byte=512,
    ),
    Target(
        name="point",
        kind="binary",
        make_seeds=lambda: [sample.sample_point()],
        attempt=_point,
        is_sealed=True,
    ),
    Target(
        name="point-layout",
        kind="binary",
        make_seeds=lambda: [sample.sample_point()],
        attempt=_point_layout,
        tokens=_JSON,
    ),
    Target(
        name="point-root",
        kind="binary",
        make_seeds=lambda: [point.encode_root(sample.root())],
        attempt=_point_root,
        tokens=(b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"/../x", b"\x9a"),
        bytes_per_byte=256,
    ),
    Target(
        name="keyring",
        kind="json",
        make_seeds=lambda: [encode_keyring(sample.keys()[0])],
        attempt=_keyring,
        tokens=_JSON,
        is_sealed=True,
    ),
    Target(
        name="recovery-kit",
        kind="text",
        make_seeds=lambda: [sample.keys()[2].encode()],
        attempt=_kit,
        tokens=(b"0", b"8", b"-", b" ", "\N{LATIN SMALL LETTER DOTLESS I}".encode(), b"\xff"),
    ),
    Target(
        name="seed-manifest",
        kind="json",
        make_seeds=lambda: [_seed_document()],
        attempt=_seed_manifest,
        tokens=_JSON,
        is_sealed=True,
    ),
    Target(
        name="seed-manifest-any-signer",
        kind="json",
        make_seeds=lambda: [_seed_document()],
        attempt=_any_signer,
        tokens=_JSON,
        is_sealed=True,
    ),
    Target(
        name="seed-manifest-body",
        kind="json",
        make_seeds=lambda: [encode_seed_manifest(sample.manifest())],
        attempt=_seed_body,
        tokens=_JSON,
    ),
    Target(
        name="drive-manifest",
        kind="json",
        make_seeds=lambda: [_drive_document()],
        attempt=_drive_manifest,
        tokens=_JSON,
        is_sealed=True,
    ),
    Target(
        name="drive-manifest-body",
        kind="json",
        make_seeds=lambda: [encode_drive_manifest(sample.drive_manifest(_seed_document()))],
        attempt=_drive_body,
        tokens=_JSON,
    ),
    Target(
        name="drive-xml",
        kind="xml",
        make_seeds=lambda: [worked_example()],
        attempt=_drive_xml,
        tokens=_XML,
        bytes_per_byte=256,
    ),
    Target(
        name="other-drive-xml",
        kind="xml",
        make_seeds=lambda: [worked_example(), *(make_drive(n).manifest for n in range(3))],
        attempt=_other_drive,
        tokens=(*_XML, b"\\..\\", b"../", b"$root/", b"seed-", b".overland-blobs/"),
        bytes_per_byte=256,
    ),
    Target(
        name="side-xml",
        kind="xml",
        make_seeds=lambda: [write_metadata({"Project": "Lantern", "Year": "2027"})],
        attempt=_side_file,
        tokens=_XML,
        bytes_per_byte=256,
    ),
    Target(
        name="blob-list",
        kind="xml",
        make_seeds=lambda: [
            write_blob_list(BlobSelection(paths=("charts/a.png",), prefixes=("/music/love",)))
        ],
        attempt=_blob_list,
        tokens=(*_XML, b"SnapshotTime", b"IncludeSnapshots"),
        bytes_per_byte=256,
    ),
    Target(
        name="blob-description",
        kind="json",
        make_seeds=lambda: [_described()],
        attempt=_description,
        tokens=_JSON,
    ),
)
"""The format targets."""
