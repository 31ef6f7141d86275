"""Golden vectors: every good one is read as it was written, every damaged one is refused."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support import format_samples as sample
from tests.support import key_change_samples
from tests.support.format_texts import SERIAL, TIDE, worked_example

from overland.crypto.aead import POINT_ROOT, SealBroken, open_once
from overland.crypto.keyring import decode_keyring, encode_keyring, former_of
from overland.crypto.keys import (
    MasterKey,
    Purpose,
    open_with_passphrase,
    open_with_recovery_kit,
    signing_key,
)
from overland.crypto.masterkey import MasterKeyUnknown
from overland.crypto.secrets import Secret
from overland.crypto.sign import verify
from overland.crypto.signers import Signers
from overland.errors import IntegrityError, SignatureInvalid
from overland.format import (
    index,
    key_change,
    pack,
    point,
    replacement,
    seed_manifest,
    signed,
    tree,
)
from overland.format.drive_xml import read_manifest
from overland.sealing import indexfile
from overland.values import replacement_name

VECTORS = Path(__file__).parent / "vectors"
VALUES = msgspec.json.decode((VECTORS / "values.json").read_bytes())
MASTER = MasterKey(Secret(bytes.fromhex(VALUES["master_key"])))
SECOND = msgspec.json.decode((VECTORS / "values-second-master.json").read_bytes())
NEWEST = MasterKey(Secret(bytes.fromhex(SECOND["master_key"])), (MASTER.secret,))
SIGNER = bytes.fromhex(VALUES["signing_public_key"])


def damaged(folder: str, suffix: str) -> pytest.MarkDecorator:
    found = sorted((VECTORS / folder).glob(f"bad-*.{suffix}"))
    assert found, "a format without damaged vectors is not tested"
    return pytest.mark.parametrize("path", found, ids=lambda p: p.stem)


def check_of(error: IntegrityError) -> str:
    """What the error says failed, as in a vector's name."""
    if isinstance(error, SealBroken):
        return f"seal-of-{slug(error.part)}"
    if isinstance(error, SignatureInvalid):
        return "signature"
    if isinstance(error, MasterKeyUnknown):
        return f"master-key-{error.number}-is-unknown"
    check = getattr(error, "check")  # noqa: B009 - every other leaf of the formats has it
    assert isinstance(check, str)
    return slug(check)


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def refuses(path: Path, read: Callable[[bytes], object]) -> None:
    with pytest.raises(IntegrityError) as refused:
        read(path.read_bytes())
    expected = path.stem.removeprefix("bad-")
    assert check_of(refused.value).startswith(expected)


def open_index(data: bytes, master: MasterKey = MASTER) -> list[index.PackDirectory]:
    subkeys = master.subkeys(Purpose.INDEX)
    return indexfile.open_index(subkeys, data, repository_id=sample.REPOSITORY, name="i")


def open_point(data: bytes, master: MasterKey = MASTER) -> point.PointRoot:
    found = point.parse(data, name="p")
    verify(SIGNER, point.SIGNATURE_PURPOSE, found.signed_bytes, found.signature)
    plain = open_once(
        master.subkeys(Purpose.POINT).of(found.master_number, name="p"),
        POINT_ROOT,
        salt=found.salt,
        sealed=found.sealed_root,
        aad=found.public_bytes,
        name="p",
    )
    return point.decode_root(plain, name="p")


def open_manifest(data: bytes) -> seed_manifest.SeedManifest:
    found = signed.decode_signed(data, seed_manifest.SEED_MANIFEST_PURPOSE, name="m")
    assert found.public_key == SIGNER
    verify(SIGNER, found.purpose, found.body, found.signature)
    return seed_manifest.decode_seed_manifest(found.body, name="m")


def test_a_keyring_opens_both_ways() -> None:
    data = (VECTORS / "keys-v1/good.keyring").read_bytes()
    document = decode_keyring(data, name="k")
    masters = (
        open_with_passphrase(document, VALUES["passphrase"]),
        open_with_recovery_kit(document, VALUES["recovery_kit"]),
    )
    assert {m.secret.reveal() for m in masters} == {MASTER.secret.reveal()}
    assert signing_key(document, MASTER).reveal().hex() == VALUES["signing_key"]
    assert encode_keyring(document) == data
    for purpose in VALUES["subkeys"]:
        assert MASTER.subkey(Purpose(purpose)).reveal().hex() == VALUES["subkeys"][purpose]


def test_a_keyring_with_a_former_master_key_opens_both_ways() -> None:
    data = (VECTORS / "keys-v1/good-second-master.keyring").read_bytes()
    document = decode_keyring(data, name="k")
    for master in (
        open_with_passphrase(document, SECOND["passphrase"]),
        open_with_recovery_kit(document, SECOND["recovery_kit"]),
    ):
        assert master.secret.reveal().hex() == SECOND["master_key"]
        assert [key.reveal().hex() for key in master.former] == SECOND["former_master_keys"]
        assert signing_key(document, master).reveal().hex() == VALUES["signing_key"]
        for purpose in Purpose:
            assert master.subkey(purpose).reveal().hex() == SECOND["subkeys"][purpose]
    assert encode_keyring(document) == data
    for same in (Purpose.CHUNK_ID, Purpose.CHUNKER):
        assert SECOND["subkeys"][same] == VALUES["subkeys"][same]


def open_keyring(data: bytes) -> MasterKey:
    document = decode_keyring(data, name="k")
    passphrase = SECOND["passphrase"] if former_of(document) else VALUES["passphrase"]
    return open_with_passphrase(document, passphrase)


@damaged("keys-v1", "keyring")
def test_every_damaged_keyring_is_refused(path: Path) -> None:
    refuses(path, open_keyring)


def test_what_a_second_master_key_sealed_is_read_with_it_alone() -> None:
    made = (VECTORS / "pack-v1/good-second-master.pack").read_bytes()
    directory = sample.open_pack(made, name="p")
    assert directory.chunks["length"].tolist() == [1080, 500, 32]
    listed = (VECTORS / "index-v1/good-second-master.index").read_bytes()
    assert len(open_index(listed, NEWEST)) == 2
    kept = (VECTORS / "point-v1/good-second-master.point").read_bytes()
    assert open_point(kept, NEWEST) == sample.root()
    for read, data in ((open_index, listed), (open_point, kept)):
        with pytest.raises(MasterKeyUnknown):
            read(data)
        relabelled = data[:14] + bytes(2) + data[16:]
        with pytest.raises((SealBroken, SignatureInvalid)):
            read(relabelled, NEWEST)


def test_a_pack_is_read_as_it_was_written() -> None:
    data = (VECTORS / "pack-v1/good-two-segments.pack").read_bytes()
    directory = sample.open_pack(data, name="p")
    assert len(data) % pack.ALIGNMENT == 0
    assert directory.segments["codec"].tolist() == [1, 0]
    assert directory.chunks["length"].tolist() == [1080, 500, 32]


@damaged("pack-v1", "pack")
def test_every_damaged_pack_is_refused(path: Path) -> None:
    refuses(path, lambda data: sample.open_pack(data, name=path.name))


def test_an_index_is_read_as_it_was_written() -> None:
    first, second = open_index((VECTORS / "index-v1/good-two-packs.index").read_bytes())
    pack_bytes = (VECTORS / "pack-v1/good-two-segments.pack").read_bytes()
    assert first.pack_id == hashlib.sha256(pack_bytes).hexdigest() != second.pack_id
    assert first.pack_bytes == len(pack_bytes)
    assert (first.directory.chunks == second.directory.chunks).all()


@damaged("index-v1", "index")
def test_every_damaged_index_is_refused(path: Path) -> None:
    refuses(path, open_index)


def test_a_node_is_read_as_it_was_written() -> None:
    data = (VECTORS / "tree-v1/good-every-kind.node").read_bytes()
    assert tree.decode_node(data, name="n") == sample.entries()
    empty = (VECTORS / "tree-v1/good-empty.node").read_bytes()
    assert tree.decode_node(empty, name="n") == []


@damaged("tree-v1", "node")
def test_every_damaged_node_is_refused(path: Path) -> None:
    refuses(path, lambda data: tree.decode_node(data, name="n"))


def test_a_point_is_read_as_it_was_written() -> None:
    assert open_point((VECTORS / "point-v1/good-seed.point").read_bytes()) == sample.root()


@damaged("point-v1", "point")
def test_every_damaged_point_is_refused(path: Path) -> None:
    refuses(path, open_point)


@damaged("point-v1", "root")
def test_every_damaged_root_is_refused(path: Path) -> None:
    refuses(path, lambda data: point.decode_root(data, name="r"))


def test_the_manifests_are_read_as_they_were_written() -> None:
    data = (VECTORS / "seed-manifest-v1/good-seed.json").read_bytes()
    seed = open_manifest(data)
    drive = signed.decode_signed(
        (VECTORS / "seed-manifest-v1/good-drive.json").read_bytes(),
        seed_manifest.DRIVE_MANIFEST_PURPOSE,
        name="d",
    )
    listed = seed_manifest.decode_drive_manifest(drive.body, name="d")
    assert listed.objects == seed.objects[:2]
    assert listed.seed_manifest_sha256 == hashlib.sha256(data).hexdigest()


@damaged("seed-manifest-v1", "json")
def test_every_damaged_manifest_is_refused(path: Path) -> None:
    refuses(path, open_manifest)


def open_replacement(data: bytes) -> replacement.Replacement:
    found = signed.decode_signed(data, replacement.REPLACEMENT_PURPOSE, name="r")
    verify(SIGNER, found.purpose, found.body, found.signature)
    return replacement.decode_replacement(found.body, name=replacement_name(sample.REPLACEMENT))


def test_a_replacement_is_read_as_it_was_written() -> None:
    data = (VECTORS / "replacement-v1/good-repair.replacement").read_bytes()
    assert open_replacement(data) == sample.replacement()


@damaged("replacement-v1", "replacement")
def test_every_damaged_replacement_is_refused(path: Path) -> None:
    refuses(path, open_replacement)


def open_change(data: bytes) -> key_change.KeyChange:
    return key_change.verify_key_change(data, name=key_change.name_of(data, 1), verify=verify)


def test_a_key_change_is_read_as_it_was_written() -> None:
    data = (VECTORS / "key-change-v1/good.change").read_bytes()
    assert open_change(data) == key_change_samples.change()
    keyring = (VECTORS / "keys-v1/good-second-signer.keyring").read_bytes()
    signers = Signers.of(decode_keyring(keyring, name="k"))
    assert signers.change_name(1) == key_change.name_of(data, 1)
    assert (signers.former[0].public_key, signers.successor(1)) == (SIGNER.hex(), signers.newest)


@damaged("key-change-v1", "change")
def test_every_damaged_key_change_is_refused(path: Path) -> None:
    refuses(path, open_change)


def test_the_worked_example_is_written_byte_for_byte() -> None:
    example = worked_example()
    assert len(example) == 1341
    assert hashlib.md5(example).hexdigest().upper() == "3148218129D7A878553B49D5CA314EAB"
    assert hashlib.sha256(example).hexdigest().upper() == (
        "6D39D40341FE1931F2D5DB4D6E73A88EF2619598D1AA246504CA01219EC44F04"
    )


@pytest.mark.parametrize("variant", ["good-worked-example.xml", "good-older.xml"])
def test_documented_variants_of_the_xml_are_read_alike(variant: str) -> None:
    found = read_manifest((VECTORS / "drive-manifest-v1" / variant).read_bytes())
    blobs = list(found.blobs)
    assert found.drive_id == SERIAL
    assert blobs[0] == TIDE
    assert [blob.file_name for blob in blobs] == ["harbour/tide.bin", "disks/boot.img"]


@damaged("drive-manifest-v1", "xml")
def test_every_damaged_xml_is_refused(path: Path) -> None:
    refuses(path, lambda data: list(read_manifest(data).blobs))
