"""Makes the golden vectors of a format version, once.  Never replaces one.

Run as `python -m tests.format.make_vectors` with `src` and the checkout on the path.  A vector
is named `good-<what>` or `bad-<check>`; the damaged ones are well sealed and signed wherever the
damage is inside, so that the check in their name is the one that finds it.
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from tests.support import format_samples as sample
from tests.support import key_change_samples
from tests.support.format_texts import drive_xml_vectors, keyring_vectors, log_vectors

from overland.crypto.keyring import encode_keyring, former_of
from overland.crypto.keyringproof import proven
from overland.crypto.keys import Purpose
from overland.crypto.sign import public_key, sign
from overland.format import point, replacement, seed_manifest, signed, tree
from overland.format.pack import encode_directory

VECTORS = Path(__file__).parent / "vectors"

OF_ROTATION = {Purpose.FORMER_WRAP, Purpose.KEYRING_SUCCESSOR}

Vector = tuple[str, bytes]


def slug(check: str) -> str:
    """Return a check as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", check.lower()).strip("-")


def bad(check: str, suffix: str, data: bytes) -> Vector:
    """Return a vector that must be refused by `check`."""
    return f"bad-{slug(check)}.{suffix}", data


def values() -> bytes:
    """Return what a reader needs to open the vectors, and what it then must find."""
    _, master, kit = sample.keys()
    found = {
        "passphrase": sample.PASSPHRASE,
        "recovery_kit": kit,
        "master_key": master.secret.reveal().hex(),
        "subkeys": {
            str(p): master.subkey(p).reveal().hex() for p in Purpose if p not in OF_ROTATION
        },
        "signing_key": sample.signer().reveal().hex(),
        "signing_public_key": public_key(sample.signer()).hex(),
        "pack_chunks": [part.hex() for parts in sample.PLAIN for part in parts],
        "host": sample.root().host,
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def second_values() -> bytes:
    """Return what a reader needs to open what was sealed after a rotation of the master key."""
    _, master, kit = sample.rotated()
    found = {
        "passphrase": sample.NEW_PASSPHRASE,
        "recovery_kit": kit,
        "master_key": master.secret.reveal().hex(),
        "former_master_keys": [each.reveal().hex() for each in master.former],
        "subkeys": {str(p): master.subkey(p).reveal().hex() for p in Purpose},
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def second_keyrings() -> Iterator[Vector]:
    """Yield a keyring with a former master key, and ways to be damaged that only it has."""
    document, master, _ = sample.rotated()
    good = encode_keyring(document)
    yield "good-second-master.keyring", good
    at = good.index(b'"salt":"') + 8
    changed = good[:at] + (b"1" if good[at : at + 1] == b"0" else b"0") + good[at + 1 :]
    yield bad("its checksum does not hold", "keyring", changed)
    [former] = former_of(document)
    moved = msgspec.structs.replace(former, salt="5a" * 32)
    forged = proven(msgspec.structs.replace(document, former=[moved]), master)
    yield bad("former master key 0 does not open", "keyring", encode_keyring(forged))


def key_changes() -> Iterator[Vector]:
    """Yield the vectors of `key-change-v1.md`."""
    yield "good.change", key_change_samples.change_file()
    for check, data in key_change_samples.damaged_changes():
        yield bad(check, "change", data)


def signer_keyrings() -> Iterator[Vector]:
    """Yield a keyring with a former signing key, and ways to be damaged that only it has."""
    yield "good-second-signer.keyring", encode_keyring(key_change_samples.next_keyring()[0])
    for check, document in key_change_samples.damaged_keyrings():
        yield bad(check, "keyring", encode_keyring(document))


def packs() -> Iterator[Vector]:
    """Yield the vectors of `pack-v1.md`."""
    good, _ = sample.sample_pack()
    yield "good-two-segments.pack", good
    second, _ = sample.sample_pack(sample.rotated()[1])
    yield "good-second-master.pack", second
    yield bad("master key 2 is unknown", "pack", good[:14] + b"\2\0" + good[16:])
    yield bad("the magic is wrong", "pack", b"OVLPACK9" + good[8:])
    yield bad("the version is unknown", "pack", good[:8] + b"\2\0\0\0" + good[12:])
    yield bad("the cipher is unknown", "pack", good[:12] + b"\2\0\0\0" + good[16:])
    yield bad("the trailer's checksum is wrong", "pack", good[:-1] + bytes([good[-1] ^ 1]))
    for check, at in (
        ("the trailer's magic is wrong", -57),
        ("a reserved byte of the trailer", -33),
    ):
        tail = bytearray(good[-64:])
        tail[at] ^= 1
        tail[32:] = hashlib.sha256(tail[:32]).digest()
        yield bad(check, "pack", good[:-64] + tail)
    yield bad("the pack's size is not allowed", "pack", good[:64] + good[63:])
    yield bad("the directory is not before the trailer", "pack", good[:64] + bytes(512) + good[64:])
    yield bad("seal of segment 0", "pack", good[:70] + bytes([good[70] ^ 1]) + good[71:])
    yield bad("seal of the directory", "pack", good[:-70] + bytes([good[-70] ^ 1]) + good[-69:])
    yield from resealed_packs()


def resealed_packs() -> Iterator[Vector]:
    """Yield packs whose directory is wrong and well sealed."""
    _, master, _ = sample.keys()
    directory, packed = sample.segments_and_chunks(sample.PLAIN, master)
    plain = encode_directory(directory)

    def made(table: str, row: int, field: str, value: object) -> bytes:
        tables = {"segments": directory.segments.copy(), "chunks": directory.chunks.copy()}
        tables[table][field][row] = value
        head = np.array([2, 3], "<u4").tobytes()
        body = head + tables["segments"].tobytes() + tables["chunks"].tobytes()
        body += bytes(len(plain) - len(body))
        return sample.seal_pack(master, packed, body, counts=(2, 3))

    yield bad("a segment's codec is unknown", "pack", made("segments", 0, "codec", 2))
    yield bad("a reserved byte is not zero", "pack", made("segments", 0, "reserved", 1))
    yield bad("a segment's length is not allowed", "pack", made("segments", 0, "raw_bytes", 0))
    yield bad(
        "a segment's sealed length does not match its codec",
        "pack",
        made("segments", 1, "raw_bytes", 33),
    )
    yield bad("segments are not back to back", "pack", made("segments", 1, "offset", 65))
    yield bad("a chunk lies in no segment", "pack", made("chunks", 2, "segment", 2))
    yield bad(
        "chunks are not in the order of their segments", "pack", made("chunks", 0, "segment", 1)
    )
    yield bad("a chunk's length is not allowed", "pack", made("chunks", 2, "length", 0))
    yield bad("chunks are not back to back", "pack", made("chunks", 1, "offset", 1079))
    yield bad("chunks do not fill their segment", "pack", made("chunks", 2, "length", 31))
    yield bad(
        "the directory's padding is not zero",
        "pack",
        sample.seal_pack(master, packed, plain[:-1] + b"\1", counts=(2, 3)),
    )
    yield bad(
        "the directory's length does not match its counts",
        "pack",
        sample.seal_pack(master, packed, b"\xff" + plain[1:], counts=(2, 3)),
    )
    yield bad(
        "the trailer's counts are not the directory's",
        "pack",
        sample.seal_pack(master, packed, plain, counts=(2, 4)),
    )
    yield bad("a pack has no segment, or too many chunks", "pack", no_segments())
    yield bad("segments and directory do not fill the pack", "pack", gap_before_directory())


def no_segments() -> bytes:
    """Return a pack that holds nothing."""
    _, master, _ = sample.keys()
    return sample.seal_pack(master, [], bytes(512 - 64 - 64 - 16), counts=(0, 0))


def gap_before_directory() -> bytes:
    """Return a pack with a segment that its directory does not name."""
    _, master, _ = sample.keys()
    directory, packed = sample.segments_and_chunks(sample.PLAIN, master)
    plain = encode_directory(directory)

    stray = bytes(512 - 16)
    return sample.seal_pack(master, [*packed, stray], plain, counts=(2, 3))


def indexes() -> Iterator[Vector]:
    """Yield the vectors of `index-v1.md`."""
    plain = sample.index_plain()
    good = sample.seal_index(plain)
    yield "good-two-packs.index", good
    yield "good-second-master.index", sample.seal_index(plain, sample.rotated()[1])
    yield bad("the magic is wrong", "index", b"OVLPACK1" + good[8:])
    yield bad("another repository", "index", good[:16] + b"\1" + good[17:])
    at = 64
    for number, part in enumerate(plain):
        at += len(part) + 16
        yield bad(f"seal of part {number}", "index", good[: at - 1] + b"\xaa" + good[at:])
    head, fan_out, packs, segments, chunks = plain
    last = len(chunks) - 44
    remade = {
        "a reserved byte of the head is not zero": (0, 12, b"\1"),
        "the counts are not allowed": (0, 0, bytes(4)),
        "the index's length is not allowed": (0, 8, b"\0\0\0\1"),
        "the index's length does not match its counts": (0, 8, b"\xff"),
        "the index's padding is not zero": (1, len(fan_out) - 1, b"\1"),
        "a block does not begin as the fan-out says": (1, 0, bytes(8)),
        "the packs' counts do not add up": (2, 44, b"\1"),
        "a pack's size does not match its directory": (2, 33, b"\4"),
        "segments are not back to back": (3, 24, b"\x41"),
        "chunks are not sorted by id": (4, last, bytes(32)),
        "a chunk lies in no segment": (4, last + 32, b"\4"),
        "chunks are not in the order of their segments": (4, 3 * 44 + 32, b"\2"),
        "chunks are not back to back": (4, 36, b"\1"),
    }
    for check, (number, start, new) in remade.items():
        parts = [head, fan_out, packs, segments, chunks]
        old = parts[number]
        parts[number] = old[:start] + new + old[start + len(new) :]
        assert parts[number] != old, check
        assert len(parts[number]) == len(old), check
        yield bad(check, "index", sample.seal_index(parts))


def trees() -> Iterator[Vector]:
    """Yield the vectors of `tree-v1.md`."""
    entries = sample.entries()
    good = tree.encode_node(entries)
    yield "good-every-kind.node", good
    yield "good-empty.node", tree.encode_node([])

    def made(place: int, **changes: object) -> bytes:
        changed = list(entries)
        changed[place] = msgspec.structs.replace(entries[place], **changes)
        return msgspec.msgpack.encode((1, changed))

    yield bad("not a node of version 1", "node", b"\x92\x02\x90")
    yield bad("names are not sorted, or not unique", "node", made(0, name=b"zz"))
    yield bad("a name is not allowed", "node", made(0, name=b".."))
    yield bad("a content list is cut", "node", made(0, content=bytes(33)))
    yield bad("a list of lists is empty", "node", made(5, levels=1))
    yield bad("a hard link's group is not allowed", "node", made(0, link=b"short"))
    yield bad("only files have extents", "node", made(3, extents=()))
    yield bad("only files and folders have content", "node", made(4, content=bytes(32)))
    yield bad("a symbolic link's target is not allowed", "node", made(2, target=b""))
    yield bad(
        "attributes are not sorted, or not unique",
        "node",
        made(3, xattrs=((b"b", b""), (b"a", b""))),
    )
    yield bad("an attribute's name is not allowed", "node", made(3, xattrs=((b"", b""),)))
    yield bad("extents overlap or leave the file", "node", made(0, extents=((0, 9), (8, 1))))
    yield bad("a file's content does not match its size", "node", made(0, content=b""))
    yield bad("the node is not in canonical form", "node", b"\x92\x01\xdc\x00\x00")


def points() -> Iterator[Vector]:
    """Yield the vectors of `point-v1.md`."""
    good = sample.sample_point()
    yield "good-seed.point", good
    yield "good-second-master.point", sample.sample_point(sample.rotated()[1])
    yield bad("the file's length is not allowed", "point", good[:64])
    yield bad("the file's length is not a multiple of 512", "point", good[:-1])
    yield bad("not a recovery point of version 1", "point", b"OVLPOIN2" + good[8:])
    yield bad("a reserved byte is not zero", "point", good[:24] + b"\1" + good[25:])
    yield bad("the parts do not fill the file", "point", good[:18] + b"\1" + good[19:])
    padding = len(good) - point.SIGNATURE_BYTES - 1
    yield bad("the padding is not zero", "point", good[:padding] + b"\1" + good[padding + 1 :])
    yield bad("signature", "point", good[:-1] + bytes([good[-1] ^ 1]))
    public = good[32:]
    swaps = {
        "not a public part of version 1": (b'"kind":"seed"', b'"kind":"sead"'),
        "an id is not a canonical uuid": (b'"point_id":"c', b'"point_id":"C'),
        "an instant is not in utc": (b".535897Z", b".5+01:00"),
        "the public part is not in canonical form": (b"T15:09", b"t15:09"),
        "an object's name is not allowed, or there twice": (b'"packs/', b'"backs/'),
        "an object's name or size is not its own": (b'"size_bytes":512', b'"size_bytes":513'),
    }
    for check, (old, new) in swaps.items():
        damaged = public.replace(old, new, 1)
        assert damaged != public, check
        yield bad(check, "point", good[:32] + damaged)


def roots() -> Iterator[Vector]:
    """Yield roots of recovery points, opened."""
    good = point.encode_root(sample.root())
    yield "good-root.root", good
    yield bad("not a root of version 1", "root", good[:1] + b"\2" + good[2:])
    yield bad("the root is not in canonical form", "root", b"\xdc\x00\x0b" + good[1:])
    entry = msgspec.structs.replace(sample.entries()[0], content=b"odd")
    yield bad(
        "a content list is cut",
        "root",
        point.encode_root(msgspec.structs.replace(sample.root(), roots=[point.Root(b"/x", entry)])),
    )


def seed_manifests() -> Iterator[Vector]:
    """Yield the vectors of `seed-manifest-v1.md`."""
    body = seed_manifest.encode_seed_manifest(sample.manifest())
    good = signed_body(body)
    yield "good-seed.json", good
    yield (
        "good-drive.json",
        signed_body(
            seed_manifest.encode_drive_manifest(sample.drive_manifest(good)),
            purpose=seed_manifest.DRIVE_MANIFEST_PURPOSE,
        ),
    )
    yield bad("signature", "json", good.replace(b'"job_name":"h', b'"job_name":"H'))
    yield bad("it has no signature line", "json", body)
    yield bad("its signature line", "json", good.replace(b'"ed25519"', b'"ed25510"'))
    yield bad(
        "its signature line is not in canonical form", "json", good.replace(b'{"alg', b'{ "alg')
    )
    yield bad("it is not signed for", "json", signed_body(body, purpose="overland-point-v1"))
    swaps = {
        "not a manifest of version 1": (b'"format_version":1', b'"format_version":2'),
        "it is not in canonical form": (b'"parity":[]', b'"parity":[ ]'),
        "an id is not a canonical uuid": (b'"seed_id":"5', b'"seed_id":"{'),
        "an instant is not in utc": (b'26.535897Z","created', b'26+01:00","created'),
        "an object's name is not allowed": (b'"name":"packs/', b'"name":"/acks/'),
        "objects are not sorted by name, or not unique": (b'"name":"keys/', b'"name":"points/'),
        "an object's size is not a multiple of 512": (b'"size_bytes":512', b'"size_bytes":513'),
        "an object's name is not its sha 256": (b'"sha256":"', b'"sha256":"0'),
        "it does not hold its own recovery point, and only that": (
            b'"point_id":"c',
            b'"point_id":"d',
        ),
    }
    for check, (old, new) in swaps.items():
        damaged = body.replace(old, new, 1)
        if check == "an object's name is not its sha 256":
            damaged = re.sub(rb'"sha256":"..', b'"sha256":"zz', body, count=1).replace(b"zz", b"00")
        if check == "objects are not sorted by name, or not unique":
            first, second = re.findall(rb'\{"name".*?\}', body)[:2]
            damaged = body.replace(first + b"," + second, second + b"," + first)
        assert damaged != body, check
        yield bad(check, "json", signed_body(damaged))


def replacements() -> Iterator[Vector]:
    """Yield the vectors of `replacement-v1.md`."""
    body = replacement.encode_replacement(sample.replacement())
    purpose = replacement.REPLACEMENT_PURPOSE
    good = signed_body(body, purpose=purpose)
    yield "good-repair.replacement", good
    yield bad("signature", "replacement", good.replace(b'"reason":"repair"', b'"reason":"repack"'))
    yield bad("it is not signed for", "replacement", signed_body(body))
    kept = sample.POINT.encode()
    (lost,) = (point_id.encode() for point_id in sample.replacement().lost)
    index_file, pack_file = (name.encode() for name in sample.replacement().replaced)
    coming = sample.replacement().objects[0].name.encode()
    other = replacement_id_of(b"8")
    swaps = {
        "not a replacement of version 1": (b'"reason":"repair"', b'"reason":"repeat"'),
        "it is not in canonical form": (b'"keeps":[', b'"keeps":[ '),
        "an id is not a canonical uuid": (b'"repository_id":"0', b'"repository_id":"{'),
        "its id is not that of its name": (sample.REPLACEMENT.encode(), other),
        "an instant is not in utc": (b"26.535897Z", b"26+01:00"),
        "points are not sorted or not unique": (kept, kept + b'","' + kept),
        "it names no point": (
            b'"keeps":["' + kept + b'"],"lost":["' + lost + b'"]',
            b'"keeps":[],"lost":[]',
        ),
        "a point is both kept and lost": (lost, kept),
        "a repack loses nothing": (b'"reason":"repair"', b'"reason":"repack"'),
        "an object's name is not allowed": (b'"index/', b'"keys_/'),
        "objects are not sorted by name or not unique": (
            index_file + b'","' + pack_file,
            pack_file + b'","' + index_file,
        ),
        "an object both comes and goes": (pack_file, coming),
        "an object's name or size is not its own": (b'"size_bytes":1048576', b'"size_bytes":1025'),
    }
    for check, (old, new) in swaps.items():
        damaged = body.replace(old, new, 1)
        assert damaged != body, check
        yield bad(check, "replacement", signed_body(damaged, purpose=purpose))


def replacement_id_of(first: bytes) -> bytes:
    """Return the sample's replacement id with another first digit."""
    return first + sample.REPLACEMENT.encode()[1:]


def signed_body(body: bytes, *, purpose: str = seed_manifest.SEED_MANIFEST_PURPOSE) -> bytes:
    """Return a signed document with the sample's key."""
    private = sample.signer()
    return signed.encode_signed(
        purpose,
        body,
        public_key=public_key(private),
        sign=lambda data: sign(private, purpose, data),
    )


def vectors() -> Iterator[Vector]:
    """Yield every vector with its path."""
    kinds = {
        "keys-v1": [
            *keyring_vectors(encode_keyring(sample.keys()[0])),
            *second_keyrings(),
            *signer_keyrings(),
        ],
        "pack-v1": packs(),
        "index-v1": indexes(),
        "tree-v1": trees(),
        "point-v1": [*points(), *roots()],
        "seed-manifest-v1": seed_manifests(),
        "replacement-v1": replacements(),
        "key-change-v1": key_changes(),
        "drive-manifest-v1": [*drive_xml_vectors(), *log_vectors()],
    }
    yield "values.json", values()
    yield "values-second-master.json", second_values()
    for folder, made in kinds.items():
        for name, data in made:
            yield f"{folder}/{name}", data


def write_vectors(folder: Path) -> None:
    """Write the vectors that do not exist yet; exit if one exists with other bytes."""
    for name, data in vectors():
        path = folder / name
        if path.exists():
            if path.read_bytes() != data:
                sys.exit(f"{name} exists with other bytes; a golden vector never changes")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        sys.stdout.write(f"{digest} {name}\n")


if __name__ == "__main__":
    write_vectors(VECTORS)
