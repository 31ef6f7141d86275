"""The documents suffice: a reader of a few lines, made from them alone, restores the sample.

It uses `cryptography`, `blake3`, Zstandard, `struct` and `json`, and nothing of Overland.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from backports import zstd
from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = Path(__file__).parent / "vectors"
VALUES = json.loads((VECTORS / "values.json").read_text())


def derive(key: bytes, label: str, salt: bytes = b"") -> bytes:  # keys-v1 §3
    info = b"overland-v1/" + label.encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(key)


def nonce(number: int) -> bytes:  # keys-v1 §4.2
    return bytes(4) + number.to_bytes(8, "little")


def master_key() -> bytes:  # keys-v1 §2.2
    ring = json.loads((VECTORS / "keys-v1/good.keyring").read_text())
    slot = next(s for s in ring["slots"] if s["kind"] == "passphrase")
    cost = slot["argon2id"]
    wrapping = Argon2id(
        salt=bytes.fromhex(slot["salt"]),
        length=32,
        iterations=cost["iterations"],
        lanes=cost["lanes"],
        memory_cost=cost["memory_kib"],
    ).derive(VALUES["passphrase"].encode())
    aad = b"overland-keyring-v1\0" + ring["repository_id"].encode() + b"\0passphrase"
    return AESGCM(wrapping).decrypt(bytes(12), bytes.fromhex(slot["wrapped_master_key"]), aad)


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:  # noqa: PLR0911 - one for each type
    """Read one value of the six types in tree-v1 §2."""
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if first in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in NUMBERS:
        form, size = NUMBERS[first]
        return struct.unpack_from(form, data, at)[0], at + size
    if 0x90 <= first < 0xA0:
        return unpack_array(data, at, first & 15)
    if 0xA0 <= first < 0xC0:
        return data[at : at + (first & 31)].decode(), at + (first & 31)
    form, size = LENGTHS[first]
    length = struct.unpack_from(form, data, at)[0]
    at += size
    if first in {0xDC, 0xDD}:
        return unpack_array(data, at, length)
    found = data[at : at + length]
    return (found if first in {0xC4, 0xC5, 0xC6} else found.decode()), at + length


NUMBERS = {0xCC: (">B", 1), 0xCD: (">H", 2), 0xCE: (">I", 4), 0xCF: (">Q", 8)}
NUMBERS |= {0xD0: (">b", 1), 0xD1: (">h", 2), 0xD2: (">i", 4), 0xD3: (">q", 8)}
LENGTHS = {0xC4: (">B", 1), 0xC5: (">H", 2), 0xC6: (">I", 4), 0xDC: (">H", 2), 0xDD: (">I", 4)}
LENGTHS |= {0xD9: (">B", 1), 0xDA: (">H", 2), 0xDB: (">I", 4)}


def unpack_array(data: bytes, at: int, length: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(length):
        value, at = unpack(data, at)
        found.append(value)
    return found, at


def chunks_of(pack: bytes, master: bytes) -> dict[bytes, bytes]:  # pack-v1
    header, trailer = pack[:64], pack[-64:]
    magic, version, cipher, _, salt = struct.unpack("<8sII16s32s", header)
    assert (magic, version, cipher) == (b"OVLPACK1", 1, 1)
    assert hashlib.sha256(trailer[:32]).digest() == trailer[32:]
    _, offset, sealed, *counts = struct.unpack("<8sQIII", trailer[:28])
    aead = AESGCM(derive(derive(master, "segment"), "pack", salt))
    directory = aead.decrypt(nonce(2**64 - 1), pack[offset : offset + sealed], header)
    assert list(struct.unpack_from("<II", directory)) == counts
    raw = []
    for number in range(counts[0]):
        at, length, raw_bytes, codec = struct.unpack_from("<QIIB", directory, 8 + 24 * number)
        plain = aead.decrypt(nonce(number), pack[at : at + length], header)
        raw.append(zstd.decompress(plain) if codec == 1 else plain)
        assert len(raw[-1]) == raw_bytes
    rows = (8 + 24 * counts[0] + 44 * i for i in range(counts[1]))
    found = (struct.unpack_from("<32sIII", directory, row) for row in rows)
    return {id_: raw[segment][at : at + length] for id_, segment, at, length in found}


def test_the_chunks_come_out_of_the_pack() -> None:
    master = master_key()
    chunks = chunks_of((VECTORS / "pack-v1/good-two-segments.pack").read_bytes(), master)
    assert [data.hex() for data in chunks.values()] == VALUES["pack_chunks"]
    key = derive(master, "chunk-id")
    assert all(blake3(data, key=key).digest() == id_ for id_, data in chunks.items())


def test_the_point_opens_and_its_root_is_read() -> None:
    data = (VECTORS / "point-v1/good-seed.point").read_bytes()
    magic, version, cipher, public_bytes, sealed = struct.unpack_from("<8sIIII", data)
    assert (magic, version, cipher) == (b"OVLPOIN1", 1, 1)
    signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(VALUES["signing_public_key"]))
    signer.verify(data[-64:], b"overland-point-v1\0" + data[:-64])
    public = data[32 : 32 + public_bytes]
    salt = bytes.fromhex(json.loads(public)["salt"])
    key = derive(derive(master_key(), "point"), "point-root", salt)
    end = 32 + public_bytes + sealed
    root = AESGCM(key).decrypt(bytes(12), data[32 + public_bytes : end], public)
    values, length = unpack(root)
    assert length == len(root)
    assert values[4] == VALUES["host"]
    assert values[1][0][0] == b"/srv/harbour"


def test_the_key_change_leads_from_one_key_to_the_next() -> None:
    ring = json.loads((VECTORS / "keys-v1/good-second-signer.keyring").read_text())
    data = (VECTORS / "key-change-v1/good.change").read_bytes()
    body, first, second, end = data.split(b"\n")
    change, [former] = json.loads(body), ring["former_signers"]
    assert (end, former["change_sha256"]) == (b"", hashlib.sha256(data).hexdigest())
    old, new = change["old_public_key"], change["new_public_key"]
    assert (former["public_key"], ring["signing_public_key"]) == (old, new)
    for key, line, purpose, signed in (
        (old, first, b"overland-key-change-v1", body),
        (new, second, b"overland-key-change-new-v1", body + b"\n" + first + b"\n"),
    ):
        signature = bytes.fromhex(json.loads(line)["signature"])
        signer = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        signer.verify(signature, purpose + b"\0" + signed)
    point = hashlib.sha256((VECTORS / "point-v1/good-seed.point").read_bytes()).hexdigest()
    assert point in [each["sha256"] for each in change["vouched"]]


def test_every_entry_of_a_node_is_read() -> None:
    data = (VECTORS / "tree-v1/good-every-kind.node").read_bytes()
    (version, entries), length = unpack(data)
    assert (version, length) == (1, len(data))
    assert [len(entry) for entry in entries] == [16] * 6
    assert entries[4][7] == -1
