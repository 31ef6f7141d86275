"""Builds a tree with everything in it that a backup program may meet, in every odd form."""

import contextlib
import os
import random
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = [
    "BORDERS",
    "MODES",
    "TIMES_NS",
    "acl",
    "build_torture",
    "fast_folder",
    "open_deep",
    "remove_tree",
]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

BORDERS: Final = tuple(
    size + step
    for size in (512, 4096, 64 << 10, 256 << 10, 1 << 20, 4 << 20)
    for step in (-1, 0, 1)
)
"""Lengths beside the borders of sectors, pages, chunks and segments."""

ODD_NAMES: Final = (
    b"\xff\xfe not UTF-8",
    b"two\nlines",
    b"-rf",
    b"--delete",
    b"back\\slash",
    b"bell\x07 and escape\x1b[31m",
    b" leading and trailing ",
    b"...",
    b"caf\xc3\xa9",  # NFC
    b"cafe\xcc\x81",  # NFD: another name
    b"\xe2\x80\xaegnp.exe",  # right-to-left override
    b"* ? [a] {b} $HOME `id` \"'",
    b"CON",
    b"n" * 255,
    b"\xf0\x9f\x9a\x9a" * 63,
)

TIMES_NS: Final = (
    0,
    1,
    -1,
    -1_000_000_000_123_456_789,  # 1938
    1_700_000_000_123_456_789,
    4_102_444_800_987_654_321,  # 2100
    2**31 * 10**9,  # 2038
    15_000_000_000_000_000_001 // 2,  # 2207
)

MODES: Final = (0o000, 0o400, 0o600, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777)


def build_torture(top: Path, seed: int = 0) -> None:
    """Fill the new folder `top` with every kind of entry, in every odd form known here."""
    rng = random.Random(seed)
    top.mkdir(parents=True)
    for part in (_names, _files, _sparse, _links, _symlinks, _special, _modes, _times, _attributes):
        folder = top / part.__name__.removeprefix("_")
        folder.mkdir()
        part(folder, rng)
    _deep(top, rng)
    (top / "hard link from another folder").hardlink_to(top / "links" / "first")
    os.utime(top, ns=(TIMES_NS[4], TIMES_NS[4]))


def _names(folder: Path, rng: random.Random) -> None:
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(rng.randbytes(rng.randrange(300)))
    inside = folder / os.fsdecode(b"folder \xfd\n\t")
    inside.mkdir()
    for name in ODD_NAMES:
        (inside / os.fsdecode(name)).mkdir()


def _files(folder: Path, rng: random.Random) -> None:
    (folder / "empty").write_bytes(b"")
    (folder / "empty folder").mkdir()
    for size in BORDERS:
        (folder / f"random {size}").write_bytes(rng.randbytes(size))
    for size in (4096, 256 << 10, 3 << 20):
        (folder / f"zeros {size}").write_bytes(bytes(size))
    text = b"the same line again and again\n" * 40_000
    (folder / "text").write_bytes(text)
    (folder / "text again").write_bytes(text)
    (folder / "text, one byte inserted").write_bytes(text[:500_000] + b"!" + text[500_000:])
    many = folder / "many small"
    many.mkdir()
    for number in range(300):
        (many / f"{number:03}").write_bytes(b"%d\n" % number * rng.randrange(200))


def _sparse(folder: Path, rng: random.Random) -> None:
    layouts = {
        "hole at the start": [(1 << 20, 5000)],
        "hole in the middle": [(0, 70_000), (9 << 20, 70_000)],
        "hole at the end": [(0, 12_345)],
        "only a hole": [],
        "many holes": [(at << 16, 4096) for at in range(0, 160, 3)],
        "odd borders": [(4095, 2), (1_000_001, 333_333)],
    }
    for name, data in layouts.items():
        with (folder / name).open("wb") as file:
            file.truncate(10 << 20)
            for at, length in data:
                file.seek(at)
                file.write(rng.randbytes(length))
    with (folder / "huge and empty").open("wb") as file:
        file.truncate(1 << 40)
    with (folder / "huge with one byte").open("wb") as file:
        file.truncate(1 << 38)
        file.seek((1 << 37) + 5)
        file.write(b"x")


def _links(folder: Path, rng: random.Random) -> None:
    (folder / "first").write_bytes(rng.randbytes(100_000))
    (folder / "elsewhere").mkdir()
    (folder / "second").hardlink_to(folder / "first")
    (folder / "elsewhere" / "third").hardlink_to(folder / "first")
    (folder / "empty one").write_bytes(b"")
    (folder / "empty two").hardlink_to(folder / "empty one")
    (folder / "same content, no link").write_bytes((folder / "first").read_bytes())
    outside = folder / "one name only in this folder"
    outside.write_bytes(b"linked twice")
    (folder / "elsewhere" / "its other name").hardlink_to(outside)


def _symlinks(folder: Path, rng: random.Random) -> None:
    targets = (
        b"target",
        b"/etc/passwd",
        b"nowhere",
        b"..",
        b"self",
        b"\xff\xfe",
        b"a\nb",
        b"/" * 9,
    )
    for number, target in enumerate(targets):
        (folder / f"link {number}").symlink_to(os.fsdecode(target))
    (folder / "self").symlink_to("self")
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    (folder / "long").symlink_to("x/" * 2000 + "end")
    (folder / "to a folder").symlink_to("../files")
    (folder / "target").write_bytes(rng.randbytes(10))
    os.utime(folder / "a", ns=(TIMES_NS[5], TIMES_NS[5]), follow_symlinks=False)


def _special(folder: Path, _rng: random.Random) -> None:
    os.mkfifo(folder / "pipe")
    os.utime(folder / "pipe", ns=(TIMES_NS[3], TIMES_NS[3]))
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)


def _modes(folder: Path, rng: random.Random) -> None:
    for mode in MODES:
        file, inside = folder / f"file {mode:04o}", folder / f"folder {mode:04o}"
        file.write_bytes(rng.randbytes(50))
        inside.mkdir()
        if os.geteuid() == 0:
            (inside / "inside").write_bytes(b"reached")
            os.chown(file, rng.randrange(70_000), rng.randrange(70_000))
            os.chown(inside, 12_345, 2**31)
        if os.geteuid() == 0 or mode & 0o600 == 0o600:
            file.chmod(mode)
            inside.chmod(mode)


def _times(folder: Path, _rng: random.Random) -> None:
    for number, time_ns in enumerate(TIMES_NS):
        (folder / f"file {number}").write_bytes(b"when?")
        (folder / f"folder {number}").mkdir()
        (folder / f"symlink {number}").symlink_to("when?")
        for kind in ("file", "folder", "symlink"):
            name = folder / f"{kind} {number}"
            os.utime(name, ns=(time_ns, time_ns), follow_symlinks=False)


def _attributes(folder: Path, rng: random.Random) -> None:
    for number in range(3):
        (folder / f"file {number}").write_bytes(rng.randbytes(10))
    (folder / "folder").mkdir()
    for name in ("file 0", "folder"):
        os.setxattr(folder / name, "user.text", b"plain")
        os.setxattr(folder / name, "user.binary", bytes(range(256)))
        os.setxattr(folder / name, "user.empty", b"")
        os.setxattr(folder / name, b"user.\xff\xfe", b"a name that is not text")
    os.setxattr(folder / "file 1", "user.large", rng.randbytes(2000))
    os.setxattr(folder / "file 2", "system.posix_acl_access", acl(1000, 0o6))
    os.setxattr(folder / "folder", "system.posix_acl_access", acl(1001, 0o7))
    os.setxattr(folder / "folder", "system.posix_acl_default", acl(1002, 0o5))


def acl(user: int, permissions: int) -> bytes:
    """Return a POSIX ACL as the kernel takes it, with one named user (acl(5))."""
    anybody = 0xFFFFFFFF
    entries = [
        (0x01, 7, anybody),  # the owner
        (0x02, permissions, user),
        (0x04, 5, anybody),  # the group
        (0x10, 7, anybody),  # the mask
        (0x20, 0, anybody),  # all others
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _deep(top: Path, rng: random.Random) -> None:
    """A path of more than 4,096 bytes, which no system call takes in one piece."""
    with open_deep(top, [b"deep"], make=True) as fd:
        for level in range(18):
            below = (b"%02d" % level) * 120
            os.mkdir(below, dir_fd=fd)
            here = os.open(below, _FOLDER, dir_fd=fd)
            os.dup2(here, fd)
            os.close(here)
        file = os.open("file at the bottom", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd)
        os.write(file, rng.randbytes(1000))
        os.close(file)
        os.symlink("up", "link at the bottom", dir_fd=fd)


@contextlib.contextmanager
def fast_folder() -> Iterator[Path]:
    """Yield a new folder, in memory where that keeps attributes and holes, and remove it."""
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() and _keeps_attributes(shared) else None
    folder = Path(tempfile.mkdtemp(prefix="overland-test-", dir=place))
    try:
        yield folder
    finally:
        remove_tree(folder)


def _keeps_attributes(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            os.setxattr(probe.name, "user.probe", b"kept")
        except OSError:
            return False
    return True


@contextlib.contextmanager
def open_deep(top: Path, parts: list[bytes], *, make: bool = False) -> Iterator[int]:
    """Open the folder `parts` below `top`, step by step."""
    fd = os.open(top, _FOLDER)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
            below = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def remove_tree(top: Path) -> None:
    """Remove a tree of any depth, whatever its modes."""
    with contextlib.suppress(FileNotFoundError), open_deep(top, []) as fd:
        _empty(fd)
        top.rmdir()


def _empty(fd: int) -> None:
    os.fchmod(fd, 0o700)
    for name in os.listdir(fd):
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=fd)
            continue
        os.chmod(name, 0o700, dir_fd=fd)
        below = os.open(name, _FOLDER, dir_fd=fd)
        try:
            _empty(below)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=fd)
