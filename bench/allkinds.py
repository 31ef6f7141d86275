"""All that the agent keeps of a file, at a million files: does it hold, and what does it cost?

`python -m bench.allkinds [--files 1000000] [--work FOLDER]`, with the folder in tmpfs.  The tree
has hard links, extended attributes, ACLs, holes, symbolic links, FIFOs, odd names and names that
the policy leaves out, mixed in every folder.  It is backed up, listed, checked with keys and
without, one file is restored, and one folder with all kinds is restored and compared; each by a
process of its own, with the real commands.  Prints a table; ends with 1 where a limit is passed or
something is not as it was.
"""

import argparse
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

from bench.measure import Command, run

from overland.adapters.clock import SystemClock
from overland.adapters.posix import PosixFiles
from overland.agent.backup.plan import BackupPlan
from overland.agent.backup.run import back_up
from overland.agent.compare import Rules, compare_trees
from overland.agent.repository import Repository
from overland.crypto.keyring import encode_keyring
from overland.crypto.keys import new_keyring, signing_key
from overland.ports.progress import NullProgress
from overland.values import PointId, RepositoryId, keyring_name

PASSPHRASE: Final = "a passphrase for measuring"
LIMIT_S: Final = 2.0
LIMIT_MIB: Final = 16.0
PEAK_MIB: Final = 512.0
_PER_FOLDER: Final = 100
_HOLE: Final = 1 << 20
# acl_xattr.h of Linux: owner rw, user 1000 r, group r, mask r, others nothing
_ACL: Final = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, who)
    for tag, permissions, who in (
        (1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF),
        (32, 0, 0xFFFFFFFF),
    )
)  # fmt: skip


def main() -> int:
    """Measure; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _back_up(given.child)
        return 0
    work = Path(tempfile.mkdtemp(prefix="overland-allkinds-", dir=given.work))
    try:
        return _measure(work, given.files)
    finally:
        shutil.rmtree(work)


def _measure(work: Path, count: int) -> int:
    began = time.monotonic()
    folders = _make_tree(work / "tree", count)
    print(f"{count:,} names in {folders:,} folders, made in {time.monotonic() - began:.0f} s")
    ours = [sys.executable, "-m", "bench.allkinds", "--child", str(work)]
    failed = _step(work, "back up", ours)
    failed |= _step(work, "unchanged", ours)
    program = [sys.executable, "-m", "overland"]
    place = ["--from", str(work / "repository"), "--passphrase-file", str(work / "passphrase")]
    tree, newest = str(work / "tree"), "newest"
    failed |= _step(work, "list all", [*program, "points", "ls", newest, "-r", *place])
    listed = sum(1 for line in (work / "said").open("rb") if line[:1] in b"-dlp")
    failed |= _step(work, "check", [*program, "check", *place])
    alone = ["--from", str(work / "repository")]
    failed |= _step(work, "check, no keys", [*program, "check", "--keyless", *alone])
    folder = f"{tree}/{folders // 200:05d}/{folders // 2 % 100:02d}"
    plain = f"{folder}/plain-{folders // 2 * _PER_FOLDER + 1:08d}"
    restore = [*program, "restore", newest, "--json", "--target"]
    failed |= _step(work, "restore one file", [*restore, str(work / "one"), plain, *place])
    served = json.loads(_json(work / "said"))["served_bytes"]
    mib = sum(served.values()) / (1 << 20)
    failed |= _step(work, "restore a folder", [*restore, str(work / "part"), folder, *place])
    expected = work / "expected"
    shutil.move(folder, expected)
    for name in os.listdir(os.fsencode(expected)):  # noqa: PTH208 - names as bytes
        if name.endswith(b".tmp"):
            os.unlink(os.fsencode(expected) + b"/" + name)  # noqa: PTH108 - as above
    # Of the folder itself the time is another now, and its name.
    found = compare_trees(expected, f"{work / 'part'}{folder}", Rules(root=False))
    print(f"{listed:,} entries listed; one file read {mib:.2f} MiB; {found.entries} compared")
    print(*found.differences[:10], sep="\n")
    return int(failed or not found.equal or mib > LIMIT_MIB)


def _step(work: Path, name: str, arguments: list[str]) -> bool:
    """Run a command, print what it cost, and return whether it passed a limit."""
    environment = {"OVERLAND_HOME": str(work / "home")}
    command = Command(arguments=arguments, folder=Path.cwd(), environment=environment)
    cost = run(command, log=work / "said")
    print(
        f"{name:<18} {cost.wall_s:8.2f} s wall {cost.cpu_s:8.2f} s CPU {cost.peak_mib:6.0f} MiB",
        flush=True,
    )
    too_slow = name == "restore one file" and cost.cpu_s > LIMIT_S
    return too_slow or cost.peak_mib > PEAK_MIB


def _json(path: Path) -> str:
    text = path.read_text()
    return text[text.index("{") :]


def _make_tree(tree: Path, count: int) -> int:
    folders = -(-count // _PER_FOLDER)
    for number in range(folders):
        folder = tree / f"{number // 100:05d}" / f"{number % 100:02d}"
        folder.mkdir(parents=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for each in range(number * _PER_FOLDER, min((number + 1) * _PER_FOLDER, count)):
            _make_entry(fd, each)
        os.close(fd)
    return folders


def _make_entry(folder: int, each: int) -> None:
    """Make entry number `each`; every kind comes in each hundred."""
    kind = each % 20
    name = f"plain-{each:08d}".encode()
    plain = b"plain-%08d" % (each - kind + 1)
    if kind in {3, 13}:
        os.link(plain, b"link-%08d" % each, src_dir_fd=folder, dst_dir_fd=folder)
        return
    if kind == 5:
        os.symlink(plain, b"symlink-%08d" % each, dir_fd=folder)
        return
    if each % 100 == 7:
        os.mkfifo(b"fifo-%08d" % each, dir_fd=folder)
        return
    odd = {8: b"-r \n\t'%08d", 9: b"\xff\xfe\x80-%08d", 10: b"%08d" + b"x" * 247, 11: b"*%08d?[a]"}
    if kind in odd:
        name = odd[kind] % each
    elif kind == 12:
        name = b"left-out-%08d.tmp" % each
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=folder)
    if each % 100 == 14:
        os.pwrite(fd, b"%040d" % each, _HOLE // 2)
        os.truncate(fd, _HOLE)
    else:
        os.write(fd, b"%040d" % each)
    if kind in {15, 16}:
        os.setxattr(fd, "user.note", b"kept %d" % each)
    if kind in {16, 17}:
        os.setxattr(fd, "system.posix_acl_access", _ACL)
    os.close(fd)


def _back_up(work: Path) -> None:
    """Back up the tree, the first time or again; in a process of its own."""
    state, out = work / "state", PosixFiles(_made(work / "repository"))
    is_first = not state.exists()
    _made(state)
    repository_id = RepositoryId(str(UUID(int=1)))
    numbers = _numbers()
    document, master, _ = new_keyring(
        PASSPHRASE, repository_id=repository_id, random=lambda size: next(numbers)[:size]
    )
    if is_first:
        out.write(keyring_name(1), encode_keyring(document))
        (work / "passphrase").write_text(PASSPHRASE)
        (work / "passphrase").chmod(0o600)
    points = [PointId(str(UUID(int=number))) for number in (1, 2)]
    back_up(
        BackupPlan(
            point_id=points[0 if is_first else 1],
            kind="full" if is_first else "incremental",
            seed_id=None,
            base=None if is_first else points[0],
            roots=(work / "tree",),
            include=(),
            exclude=("*.tmp",),
            one_file_system=True,
            never_enter=(),
            policy="bench",
            host="bench",
        ),
        repository=Repository(
            repository_id=repository_id,
            master_key=master,
            signing_key=signing_key(document, master),
            state=PosixFiles(state),
            state_folder=state,
        ),
        out=out,
        clock=SystemClock(),
        progress=NullProgress(),
        stored=[out],
    )


def _numbers() -> Iterator[bytes]:
    """The same keys in both backups, which are two processes."""
    number = 0
    while True:
        number += 1
        yield number.to_bytes(64, "big")[::-1]


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
