"""Lists, checks and restores what Overland backed up, by `docs/format` alone; see README.md."""

import argparse
import base64
import contextlib
import functools
import hashlib
import hmac
import json
import os
import re
import shutil
import sqlite3
import struct
import sys
import unicodedata
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore] # Python 3.14
except ImportError:
    from backports import zstd

MIB, GIB, KEPT_SEGMENTS, CODES = 1 << 20, 1 << 30, 4, [0]  # the codes of all that was complained of
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
CONSTANTS: Final = {n % 256: n for n in range(-32, 128)} | {0xC0: None, 0xC2: False, 0xC3: True}
FIRST: Final = bytes.fromhex("c4c5c6 cccdcecf d0d1d2d3 d9dadb dcdd")  # of a MessagePack value
TYPES: Final[list[type]] = [bytes] * 3 + [int] * 8 + [str] * 3 + [list] * 2
SIZES: Final = [1, 2, 4, 1, 2, 4, 8, -1, -2, -4, -8, 1, 2, 4, 2, 4]  # of the number that follows
UUID_, HEX = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[0-9a-f]{64}"
NAME: Final = re.compile(  # repository-v1 §3
    rf"packs/(..)/(?=\1){HEX}\.pack|index/{HEX}\.index|keychanges/[0-9]{{8}}-{HEX}\.change"
    rf"|points/{UUID_}\.point|keys/(?!0{{8}})[0-9]{{8}}\.keyring|replacements/{UUID_}\.replacement"
)
Entry = namedtuple(  # noqa: PYI024 - its values may be anything until they are checked
    "Entry",
    "name kind mode uid gid user group mtime size ids levels extents target xattrs link changed",
)


def need(holds: object, what: str) -> None:
    """Raise `ValueError` with `what` unless it holds: missing, or not what was written."""
    if not holds:
        raise ValueError(what)


@contextlib.contextmanager
def naming(name: object, *, go_on: bool = False) -> Iterator[None]:
    """Put a name, or a path in ASCII, before what is wrong with it; with `go_on`, complain only."""
    name = ascii(os.fsdecode(b"/" + b"/".join(name))) if isinstance(name, list) else name
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever damaged bytes lead to
        refused, text = isinstance(error, OSError), f"{name}: {str(error) or type(error).__name__}"
        if not go_on:
            raise (OSError if refused else ValueError)(text) from None
        CODES.append(3 if refused else 4)
        sys.stderr.write(f"error: {text}\n")


def derive(key: bytes, label: str, salt: bytes = b"") -> bytes:
    """Return a derived key (keys-v1 §3); the 32 bytes are the first block of HKDF."""
    extracted = hmac.digest(salt or bytes(32), key, "sha256")
    return hmac.digest(extracted, f"overland-v1/{label}\1".encode(), "sha256")


def unseal(key: bytes, number: int, sealed: bytes, data: bytes, what: str) -> bytes:
    """Return the plaintext of a sealed part (keys-v1 §4.2)."""
    try:
        return AESGCM(key).decrypt(struct.pack("<4xQ", number), sealed, data)
    except (InvalidTag, ValueError):
        raise ValueError(f"the seal of {what} does not hold") from None


class Keys:
    """What an opened keyring gives (keys-v1)."""

    def __init__(self, path: Path, kind: str, secret: str, found: dict[str, list[Path]]) -> None:
        ring, at = json.loads(data := path.read_bytes()), int(path.stem)
        same = ring["format"] == 1 and ring.get("generation", 1) == at and len(ring["slots"]) <= 16
        need(same and len(data) <= 64 << 10, "not this keyring of format 1")
        self.repository_id: str = ring["repository_id"]
        master = self._master_key(ring, kind, secret)
        signed = json.dumps(ring | {"mac": "0" * 64}, ensure_ascii=False, separators=(",", ":"))
        mac = hmac.digest(derive(master, "keyring-mac"), signed.encode(), "sha256").hex()
        need(hmac.compare_digest(mac, ring["mac"]), "its MAC does not hold")
        self.masters, wrap = [master], derive(master, "former-wrap")
        for n, each in enumerate(ring.get("former", [])):  # §2.7
            salt, sealed = (bytes.fromhex(each[name]) for name in ("salt", "sealed_master_key"))
            data = f"overland-keyring-v1\0{self.repository_id}\0former-master/{n}".encode()
            self.masters[n:n] = [unseal(derive(wrap, "former-master", salt), 0, sealed, data, "it")]
        self.chunk_id = derive(self.masters[0], "chunk-id")
        self.found, self.signers = found, {ring["signing_public_key"]: ""}
        for n, each in enumerate(ring.get("former_signers", ()), 1):  # §2.9
            self.signers[each["public_key"]] = f"keychanges/{n:08d}-{each['change_sha256']}.change"

    def sub(self, label: str, number: int) -> bytes:
        """Return a subkey of the master key that an object names."""
        need(number < len(self.masters), f"the keyring does not have its master key, {number}")
        return derive(self.masters[number], label)

    def _master_key(self, ring: dict[str, Any], kind: str, secret: str) -> bytes:
        key = self._kit_key([*secret.split("\n", 2), "", ""]) if kind == "recovery-kit" else b""
        number = f"/{len(ring['former'])}" if "former" in ring else ""
        for slot in (slot for slot in ring["slots"] if slot["kind"] == kind):  # §2.2
            salt, cost = bytes.fromhex(slot["salt"]), slot["argon2id"]
            wrapping = derive(key, kind, salt)
            if kind == "passphrase":
                kib, runs, lanes = (cost[n] for n in ("memory_kib", "iterations", "lanes"))
                need(runs <= 16 and lanes <= 4 and kib <= MIB, "a slot's cost is too high")
                kdf = Argon2id(salt=salt, length=32, iterations=runs, lanes=lanes, memory_cost=kib)
                wrapping = kdf.derive(unicodedata.normalize("NFKC", secret).encode())
            data = f"overland-keyring-v1\0{self.repository_id}\0{kind}{number}".encode()
            with contextlib.suppress(ValueError):
                return unseal(wrapping, 0, bytes.fromhex(slot["wrapped_master_key"]), data, "it")
        raise PermissionError(f"the {kind} opens no slot of the keyring")

    def prove(self, data: bytes, signed: bytes, signature: bytes) -> None:
        """Return if a signing key that counts for the file signed it (§6.2)."""
        for key, change in self.signers.items():
            with contextlib.suppress(InvalidSignature):
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, signed)
                counts = not change or hashlib.sha256(data).hexdigest() in self._vouched(change)
                return need(counts, "a signing key that was replaced before signed it")
        raise ValueError("its signature does not hold")

    @functools.cache  # noqa: B019 - there is one of these objects
    def _vouched(self, change: str) -> set[str]:  # key-change-v1 §4
        for data in map(Path.read_bytes, self.found.get(change, ())):
            if hashlib.sha256(data).hexdigest() == change[-71:-7]:
                return {each["sha256"] for each in json.loads(data.split(b"\n")[0])["vouched"]}
        raise ValueError(f"{change}, which tells whether it counts, is missing or damaged")

    def replacement(self, path: Path) -> dict[str, Any]:
        """Return a replacement, verified (replacement-v1 §2)."""
        body, line, _ = (data := path.read_bytes()).split(b"\n")
        signature = bytes.fromhex(json.loads(line)["signature"])
        self.prove(data, b"overland-replacement-v1\0" + body, signature)
        found: dict[str, Any] = json.loads(body)
        same = found["replacement_id"] == path.stem and found["repository_id"] == self.repository_id
        need(same, "it has another's name or repository")
        return found

    def _kit_key(self, lines: list[str]) -> bytes:  # §2.4
        head = ["overland-recovery-kit-v1", self.repository_id]
        letters = re.sub(r"[\s-]", "", lines[2]).upper().translate(str.maketrans("018", "OIB"))
        data = base64.b32decode(letters) if re.fullmatch("[A-Z2-7]{56}", letters) else b""
        check = hashlib.sha256("\0".join([*head, ""]).encode() + data[:32]).digest()[:3]
        if [line.strip().lower() for line in lines[:2]] != head or data[32:] != check:
            raise PermissionError(f"no recovery kit of {head[1]}, or a character was mistyped")
        return data[:32]


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Return the MessagePack value at an offset, and the offset behind it (tree-v1 §2)."""
    first, at = data[at], at + 1
    if first in CONSTANTS:
        return CONSTANTS[first], at
    if first < 0xC0:
        kind: type = list if first < 0xA0 else str
        number = first & (15 if first < 0xA0 else 31)
    else:
        kind, size = TYPES[FIRST.index(first)], SIZES[FIRST.index(first)]
        number = int.from_bytes(data[at : at + abs(size)], "big", signed=size < 0)
        at += abs(size)
    if kind is list:
        items = []
        for _ in range(number):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    if kind is int:
        return number, at
    need(at + number <= len(data), "a value is cut")
    found, at = data[at : at + number], at + number
    return found if kind is bytes else found.decode(), at


def to_entry(values: list[Any]) -> Entry:
    """Return an entry that is safe to restore (tree-v1 §3, §4), but for its name."""
    entry, end = Entry(*values), 0
    need(entry.kind in {"file", "folder", "symlink", "fifo"}, "an entry's kind is unknown")
    need(len(entry.ids) % 32 == 0 and entry.levels <= 4, "a content list is cut")
    for offset, length in entry.extents or ():
        need(offset >= end and length >= 1, "extents overlap or are empty")
        end = offset + length
    need(end <= entry.size, "extents leave the file")
    return entry


def to_entries(data: bytes) -> Iterator[Entry]:
    """Yield the entries of a node, each checked."""
    need(data[:2] == b"\x92\x01", "not a node of version 1")
    size = {0xDC: 2, 0xDD: 4}.get(data[2], 0)
    count = int.from_bytes(data[3 : 3 + size], "big") if size else data[2] - 0x90
    at, last = 3 + size, b""
    for _ in range(count):
        values, at = unpack(data, at)
        entry = to_entry(values)
        allowed = entry.name not in {b".", b".."} and not re.search(rb"[/\0]", entry.name)
        need(allowed and entry.name > last, "a name is not allowed, or there twice")
        last = entry.name
        yield entry
    need(at == len(data), "bytes follow the node")


class Point:
    """A recovery point, verified and opened (point-v1)."""

    def __init__(self, path: Path, keys: Keys) -> None:
        need(path.stat().st_size <= 512 * MIB, "it is too long")
        data = path.read_bytes()
        magic, version, cipher, number, size, sealed = struct.unpack_from("<8sIHHII", data)
        need((magic, version, cipher) == (b"OVLPOIN1", 1, 1), "not a point of version 1")
        keys.prove(data, b"overland-point-v1\0" + data[:-64], data[-64:])
        public, sealed_root = data[32 : 32 + size], data[32 + size :][:sealed]
        self.public = json.loads(public)
        self.id, self.kind, self.base = (self.public[n] for n in ("point_id", "kind", "base"))
        same = self.id == path.stem and self.public["repository_id"] == keys.repository_id
        need(same, "it has another's name or repository")
        self.needs = [each["name"] for each in self.public["objects"]]
        self.needs += [f"points/{self.base}.point"] if self.base else []
        key = derive(keys.sub("point", number), "point-root", bytes.fromhex(self.public["salt"]))
        self.root, _ = unpack(unseal(key, 0, sealed_root, public, "its root"))
        need(self.root[0] == 1, "its root is not of version 1")
        self.roots = [(path, to_entry(values)) for path, values in self.root[1]]

    def needed(self, points: dict[str, "Point"], replacements: list[dict[str, Any]]) -> set[str]:
        """Return the names of the objects that must be there (replacement-v1 §4)."""
        names, gone, rest, at = set[str](), set[str](), dict[Any, Any](points), self.id
        while at := rest.pop(at, None):
            names, at = names | {*at.needs}, at.base
        while hits := [each for each in replacements if not names.isdisjoint(each["replaced"])]:
            replacements = [each for each in replacements if names.isdisjoint(each["replaced"])]
            names |= {new["name"] for each in hits for new in each["objects"]}
            gone.update(*(each["replaced"] for each in hits if self.id not in each["lost"]))
        return names - gone


class Store:
    """Where each chunk lies, in a temporary database; and a few segments, opened."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.packs, self.opened = keys, list[Any](), dict[tuple[int, int], bytes]()
        self.db = sqlite3.connect("")  # on disk, without a name, and gone when it is closed
        self.db.execute("CREATE TABLE chunks (id, pack, segment, at, sealed, raw, codec, start,"
            " length, PRIMARY KEY (id, pack, segment, start)) WITHOUT ROWID")  # fmt: skip

    def add(self, path: Path, *, whole: bool) -> None:
        """Take note of a pack's chunks (pack-v1 §4); with `whole`, check every one of them."""
        with path.open("rb") as file:
            size, head = path.stat().st_size, file.read(64)
            need(size % 512 == 0 and 512 <= size <= GIB, "its size is not allowed")
            number, repository = struct.unpack_from("<H16s", head, 14)
            same = repository.hex() == self.keys.repository_id.replace("-", "")
            need(head[:14] == b"OVLPACK1\1\0\0\0\1\0" and same, "no pack 1 of this repository")
            tail = os.pread(file.fileno(), 64, size - 64)
            magic, at, n, segments, chunks = struct.unpack_from("<8sQIII", tail)
            holds = hashlib.sha256(tail[:32]).digest() == tail[32:] and magic == b"OVLTAIL1"
            need(holds and at + n + 64 == size, "its trailer is damaged")
            key = derive(self.keys.sub("segment", number), "pack", head[32:])
            rows = unseal(key, 2**64 - 1, os.pread(file.fileno(), n, at), head, "its directory")
            need(struct.unpack_from("<II", rows) == (segments, chunks), "its counts differ")
            middle = 8 + 24 * segments
            table = [row[:4] for row in struct.iter_unpack("<QIIB7s", rows[8:middle])]
            need(all(row[2] <= 16 * MIB for row in table), "a segment is too long")
            found = struct.iter_unpack("<32sIII", rows[middle : middle + 44 * chunks])
            row = len(self.packs)
            places = [(chunk, row, of, *table[of], *place) for chunk, of, *place in found]
            self.db.executemany("INSERT INTO chunks VALUES (?,?,?,?,?,?,?,?,?)", places)
            self.packs.append((path, head, key))
        for place in places if whole else ():
            self.open(*place)

    def read(self, ids: bytes) -> Iterator[bytes]:
        """Yield chunks, each from the first of its places that is good."""
        for chunk in (ids[at : at + 32] for at in range(0, len(ids), 32)):
            damage: Exception = ValueError(f"chunk {chunk.hex()} is in no pack given here")
            for place in self.db.execute("SELECT * FROM chunks WHERE id = ?", (chunk,)).fetchall():
                try:
                    yield self.open(*place)
                    break
                except (ValueError, OSError) as problem:
                    damage = problem
            else:
                raise damage

    def open(self, chunk: bytes, pack: int, segment: int, at: int, sealed: int, *row: int) -> bytes:
        """Open a chunk's segment, and return the chunk (pack-v1 §3)."""
        (path, header, key), (raw_bytes, codec, start, length) = self.packs[pack], row
        with naming(path):
            if (pack, segment) not in self.opened:
                with path.open("rb") as file:
                    data = os.pread(file.fileno(), sealed, at)
                raw = unseal(key, segment, data, header, f"segment {segment}")
                if codec:  # one frame, of just the raw length (pack-v1 §6)
                    frame = zstd.ZstdDecompressor()
                    raw = frame.decompress(raw, max_length=raw_bytes + 1)
                    need(frame.eof and not frame.unused_data, "a frame is not exactly one")
                need(len(raw) == raw_bytes, "a segment's length is wrong")
                while len(self.opened) >= KEPT_SEGMENTS:
                    del self.opened[next(iter(self.opened))]
                self.opened[pack, segment] = raw
            data = self.opened[pack, segment][start : start + length]
            same = blake3(data, key=self.keys.chunk_id).digest() == chunk
            need(same, f"chunk {chunk.hex()} is not what its id says")
            return data

    def content(self, entry: Entry) -> Iterator[bytes]:
        """Return the chunks of an entry's content, one by one (tree-v1 §3.1)."""
        ids = entry.ids
        for _ in range(entry.levels):
            ids = b"".join(self.read(ids))
        return self.read(ids)

    def node(self, folder: Entry) -> Iterator[Entry]:
        """Return the entries of a folder, all of them checked before the first."""
        data = b"".join(self.content(folder)) if folder.ids else b"\x92\x01\x90"
        all(to_entries(data))  # no entry is false, so that each is looked at
        return to_entries(data)


class Restorer:
    """Creates below one new folder; names are looked up one by one, and links never followed."""

    def __init__(self, store: Store, target: Path, wanted: list[list[bytes]]) -> None:
        self.store, self.wanted, self.missed, self.created = store, wanted, [*wanted], 0
        target.mkdir(exist_ok=True)
        if any(target.iterdir()):
            raise FileExistsError(f"{target} is not empty; give a new folder")
        self.top = os.open(target, os.O_RDONLY | os.O_DIRECTORY)

    def restore(self, point: Point) -> None:
        """Restore what is wanted of a point."""
        links = f".links-{os.getpid()}"  # one name of each hard link group, to link to
        os.mkdir(links, 0o700, dir_fd=self.top)
        self.links = os.open(links, FOLDER, dir_fd=self.top)
        for path, entry in point.roots:
            parts, fd = [part for part in path.split(b"/") if part], self.top
            with naming(parts, go_on=True):
                need(not {b".", b".."} & {*parts}, "a root's path is not allowed")
                for name in parts[:-1]:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
                    fd = os.open(name, FOLDER, dir_fd=fd)
                self._entry(fd, parts, entry)
        before = os.fstat(self.top)
        shutil.rmtree(links, dir_fd=self.top)
        os.utime(self.top, ns=(before.st_atime_ns, before.st_mtime_ns))
        for parts in self.missed:
            with naming(parts, go_on=True):
                raise FileNotFoundError("not in this point")
        print(f"{self.created} entries of point {point.id} restored")

    def _entry(self, fd: int, path: list[bytes], entry: Entry) -> None:
        if not self.wanted or any(all(map(bytes.__eq__, want, path)) for want in self.wanted):
            self.missed = [want for want in self.missed if want != path[: len(want)]]
            with naming(path, go_on=True):
                self._create(fd, path[-1] if path else b".", path, entry)
                self.created += 1

    def _create(self, fd: int, name: bytes, path: list[bytes], entry: Entry) -> None:
        same = repr((entry.link, entry[8:12])).encode()  # tree-v1 §5: no other content
        group = hashlib.sha256(same).hexdigest() if entry.link else ""
        with contextlib.suppress(FileNotFoundError):
            if group:
                os.link(group, name, src_dir_fd=self.links, dst_dir_fd=fd, follow_symlinks=False)
                return
        if entry.kind == "folder":
            if path:
                os.mkdir(name, 0o700, dir_fd=fd)
            below = os.open(name, FOLDER, dir_fd=fd)
            with naming(path, go_on=True):
                for child in self.store.node(entry):
                    self._entry(below, [*path, child.name], child)
            os.close(below)
        elif entry.kind == "symlink":
            os.symlink(entry.target, name, dir_fd=fd)
        elif entry.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=fd)
        else:
            self._write(fd, name, entry)
        self._settle(fd, name, entry)
        if group:
            os.link(name, group, src_dir_fd=fd, dst_dir_fd=self.links, follow_symlinks=False)

    def _write(self, fd: int, name: bytes, entry: Entry) -> None:
        new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=fd)
        extents, left = iter(entry.extents if entry.extents is not None else [[0, entry.size]]), 0
        try:
            with os.fdopen(new, "wb") as file:
                for data in self.store.content(entry):
                    rest = memoryview(data)
                    while rest:
                        if not left:
                            at, left = next(extents, (0, 0))
                            need(left, "its content is too long")
                            file.seek(at)
                        length = file.write(rest[:left])
                        left, rest = left - length, rest[length:]
                need(not left and not any(size for _, size in extents), "its content is too short")
                file.truncate(entry.size)
        except BaseException:
            os.unlink(name, dir_fd=fd)
            raise

    def _settle(self, fd: int, name: bytes, entry: Entry) -> None:
        here: dict[str, Any] = {"dir_fd": fd, "follow_symlinks": False}
        steps: list[Any] = [(os.chown, (name, entry.uid, entry.gid), here)] * (not os.geteuid())
        path = b"/proc/self/fd/%d/%s" % (fd, name)
        steps += [(os.setxattr, (path, *x), {"follow_symlinks": False}) for x in entry.xattrs]
        steps += [(os.chmod, (name, entry.mode), {"dir_fd": fd})] * (entry.kind != "symlink")
        steps.append((os.utime, (name,), here | {"ns": (entry.mtime, entry.mtime)}))
        for step, given, named in steps:  # in the order in which none undoes another
            with naming([name], go_on=True), naming(step.__name__):
                step(*given, **named)


def find(folders: list[Path]) -> dict[str, list[Path]]:
    """Return where each object lies (repository-v1 §3); files of other names are left alone."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for top in (folder, *sorted(folder.glob(f"seed-{'?' * 36}"))):
            for path in (*top.glob("packs/*/*"), *top.glob("*/*")):
                if NAME.fullmatch(name := path.relative_to(top).as_posix()):
                    found.setdefault(name, []).append(path)
    return found


def run(given: argparse.Namespace) -> None:
    """Do what was asked for."""
    found = find(given.folders)
    need(rings := [n for n in found if n[:5] == "keys/"], "no keys/*.keyring in the folders given")
    kind = "passphrase" if given.passphrase_file else "recovery-kit"
    secret = (given.passphrase_file or given.recovery_kit).read_text("utf-8").rstrip("\r\n")
    with naming(ring := found[max(rings)][0]):
        keys = Keys(ring, kind, secret, found)
    store, points, replacements = Store(keys), dict[str, Point](), list[dict[str, Any]]()
    for name, path in sorted((name, path) for name, paths in found.items() for path in paths):
        with naming(path, go_on=True):
            if name.startswith("points/"):
                points[name[7:-6]] = Point(path, keys)
            elif name.startswith("replacements/"):
                replacements.append(keys.replacement(path))
            elif given.check and not name.startswith("keys/"):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                need(digest == path.stem[-64:], f"its SHA-256 is {digest}, not its name")
            if name.startswith("packs/") and (given.check or given.target):
                store.add(path, whole=given.check)
    ordered = sorted(points.values(), key=lambda point: point.public["created_at"].rstrip("Z"))
    for point in ordered if given.list else ():
        about = point.public["created_at"], point.kind, *map(ascii, point.root[4:6])
        roots = (ascii(os.fsdecode(path)) for path, _ in point.roots)
        print(point.id, *about, point.root[2][0], "files", point.root[2][3], "bytes", *roots)
    if given.check:
        needed = {n: f"point {p.id}" for p in ordered for n in p.needed(points, replacements)}
        needed |= dict.fromkeys(filter(None, keys.signers.values()), "the keyring")
        for name in sorted(needed.keys() - found.keys()):
            with naming(name, go_on=True):
                raise ValueError(f"missing; {needed[name]} needs it")
        print(f"{len(store.packs)} packs and {len(points)} points checked")
    if given.target:
        points |= {"newest": ordered[-1]} if ordered else {}
        need(given.point in points, f"no point {given.point} that is whole in the folders given")
        wanted = [[p for p in os.fsencode(path).split(b"/") if p] for path in given.target[1:]]
        Restorer(store, Path(given.target[0]), wanted).restore(points[given.point])


def main() -> int:
    """Read the command line, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument("--passphrase-file", type=Path, metavar="F")
    secret.add_argument("--recovery-kit", type=Path, metavar="F")
    parser.add_argument("--list", action="store_true", help="list the recovery points")
    parser.add_argument("--check", action="store_true", help="check every byte of every object")
    parser.add_argument("--point", default="newest", metavar="ID", help="or newest")
    parser.add_argument("--target", nargs="+", metavar=("DIR", "PATH"), help="restore to DIR")
    given = parser.parse_args()
    if not (given.list or given.check or given.target):
        parser.error("give --list, --check or --target DIR")
    sys.setrecursionlimit(20_000)
    with naming("overland_reader", go_on=True):
        run(given)
    return max(CODES)


if __name__ == "__main__":
    sys.exit(main())
