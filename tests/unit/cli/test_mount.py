"""Recovery points as folders: a real mount, looked at with ordinary tools."""

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.torture import build_torture, fast_folder

from overland.agent.compare import Rules, compare_trees

NEEDED = "mounting needs fusermount3 (package fuse3), /dev/fuse, and leave to mount"
WAIT_S = 300  # against waiting for ever


@pytest.fixture(autouse=True)
def can_mount() -> None:
    there = shutil.which("fusermount3") and os.access("/dev/fuse", os.R_OK | os.W_OK)
    if not there and os.environ.get("CI"):
        pytest.fail(NEEDED)
    if not there:
        pytest.skip(NEEDED)


def overland(*words: str) -> list[str]:
    return [sys.executable, "-m", "overland", *words]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "OVERLAND_HOME": str(folder / "home")}


def mount_words(world: BackedUp, top: Path) -> list[str]:
    folder = world.staging.parent
    (folder / "passphrase").write_text(PASSPHRASE)
    place = ["--from", str(world.staging), "--passphrase-file", str(folder / "passphrase")]
    return ["mount", str(top), *place]


@contextmanager
def mounted(world: BackedUp) -> Iterator[Path]:
    """The mount's top folder; its log is in `mount.err` beside the staging folder."""
    folder = world.staging.parent
    top = folder / "mount"
    top.mkdir(exist_ok=True)
    with (folder / "mount.err").open("wb") as log:
        program = subprocess.Popen(
            overland(*mount_words(world, top), "--foreground"),
            env=environment(folder),
            stderr=log,
        )
    try:
        wait_for(top, program)
        yield top
    finally:
        subprocess.run(["fusermount3", "-u", str(top)], check=False, capture_output=True)
        program.wait(WAIT_S)
    assert program.returncode == 0
    assert not os.path.ismount(top)


def wait_for(top: Path, program: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + WAIT_S
    while not os.path.ismount(top):
        assert program.poll() is None, "the program ended"
        assert time.monotonic() < until, "nothing was mounted"
        time.sleep(0.05)


def log_of(world: BackedUp) -> str:
    return (world.staging.parent / "mount.err").read_text()


@pytest.fixture(scope="module")
def torture() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.source.mkdir()
        build_torture(world.source / "tree")
        for path in (world.source / "tree").glob("*/*"):
            if path.is_file() and path.stat().st_size > 1 << 30:
                path.unlink()  # nobody can skip the holes of a mount, and comparing takes hours
        world.back_up()
        yield world


def inside(top: Path, world: BackedUp) -> Path:
    return Path(f"{top}/latest{world.source}")


@pytest.mark.slow
def test_the_mount_is_the_source_in_every_odd_form(torture: BackedUp) -> None:
    with mounted(torture) as top:
        found = compare_trees(
            torture.source,
            inside(top, torture),
            Rules(holes=False, owners=os.geteuid() == 0),
        )
    assert found.differences == []
    assert found.entries > 200
    assert "mount.read_failed" not in log_of(torture)


@pytest.mark.slow
def test_diff_tar_and_find_see_what_they_see_in_the_source(backed: BackedUp) -> None:
    with mounted(backed) as top:
        copy = inside(top, backed)
        assert run("diff", "-r", "--no-dereference", str(backed.source), str(copy)) == b""
        find = ("find", ".", "!", "-type", "d", "-printf", "%P %y %s %m %T@ %l\\n")
        for words in (find, ("tar", "--sort=name", "--numeric-owner", "-cf", "-", ".")):
            kept = (sorted(run(*words, cwd=place).splitlines()) for place in (backed.source, copy))
            first, second = kept
            assert first == second
        same = [(copy / name).stat().st_ino for name in ("one", "two", "other")]
        assert same[0] == same[1] != same[2], "two names of one file have one inode"
        sparse = (copy / "sparse").stat()
        assert sparse.st_size == 3 << 20
        assert sparse.st_blocks * 512 < 200_000, "holes count for nothing"


def run(*words: str, cwd: Path | None = None) -> bytes:
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True).stdout


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.source.mkdir()
        for number in range(6):
            (world.source / f"file {number}").write_bytes(random.Random(number).randbytes(700_000))
        (world.source / "one").write_bytes(b"two names")
        (world.source / "two").hardlink_to(world.source / "one")
        (world.source / "other").write_bytes(b"one name")
        (world.source / "link").symlink_to("one")
        with (world.source / "sparse").open("wb") as file:
            file.seek(1 << 20)
            file.write(os.urandom(100_000))
            file.truncate(3 << 20)
        world.back_up()
        yield world


@pytest.mark.slow
def test_any_bytes_of_any_file_are_right_for_several_readers_at_once(backed: BackedUp) -> None:
    def reader(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(60):
            name = chosen.choice(["sparse", *(f"file {number}" for number in range(6))])
            content = (backed.source / name).read_bytes()
            offset, size = chosen.randrange(len(content) + 10), chosen.randrange(1, 300_000)
            with (copy / name).open("rb", buffering=0) as file:
                assert os.pread(file.fileno(), size, offset) == content[offset : offset + size]

    with mounted(backed) as top, ThreadPoolExecutor(4) as pool:
        copy = inside(top, backed)
        list(pool.map(reader, range(4)))


@pytest.mark.slow
def test_a_damaged_pack_costs_the_files_in_it_alone(backed: BackedUp) -> None:
    wanted = {path.name: digest(path) for path in backed.source.iterdir()}
    [pack, *_] = sorted(backed.packs(), key=lambda path: path.stat().st_size, reverse=True)
    content = bytearray(pack.read_bytes())
    content[5000] ^= 1
    pack.write_bytes(content)
    with mounted(backed) as top:
        copy = inside(top, backed)
        found = {name: digest_or_errno(copy / name) for name in wanted}
    lost = {name for name in wanted if found[name] == errno.EIO}
    assert {name: found[name] for name in wanted if name not in lost} == {
        name: before for name, before in wanted.items() if name not in lost
    }
    assert 1 <= len(lost) <= 3, "a segment of 1 MiB holds parts of three such files at most"
    assert "mount.read_failed" in log_of(backed)
    assert pack.stem in log_of(backed)
    assert not any(name in log_of(backed) for name in lost), "names are secrets"


def digest_or_errno(path: Path) -> str | int | None:
    try:
        return digest(path)
    except OSError as error:
        return error.errno


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_each_point_has_its_folder_and_nothing_can_be_changed(backed: BackedUp) -> None:
    (backed.source / "other").write_bytes(b"changed")
    time.sleep(1.1)  # points of one second would share the name's first part
    backed.back_up()
    with mounted(backed) as top:
        *points, latest = sorted(path.name for path in top.iterdir())
        assert latest == "latest"
        assert len(points) == 2
        assert str((top / "latest").readlink()) == points[1]
        texts = [Path(f"{top}/{point}{backed.source}/other").read_bytes() for point in points]
        assert texts == [b"one name", b"changed"]
        other = inside(top, backed) / "other"
        for change in (other.touch, other.unlink, (top / "new").mkdir):
            with pytest.raises(OSError, match="Read-only") as refused:
                change()
            assert refused.value.errno == errno.EROFS
        with pytest.raises(FileNotFoundError):
            (inside(top, backed) / "nothing").stat()
        assert os.listxattr(top / "latest", follow_symlinks=False) == []


@pytest.mark.slow
def test_a_new_point_shows_up_where_the_points_are_listed(backed: BackedUp) -> None:
    with mounted(backed) as top:
        assert len(list(top.iterdir())) == 2
        held = (inside(top, backed) / "other").open("rb")
        (backed.source / "other").write_bytes(b"changed meanwhile")
        time.sleep(1.1)  # points of one second would share the name's first part
        backed.back_up()
        until = time.monotonic() + WAIT_S
        while len(list(top.iterdir())) < 3:
            assert time.monotonic() < until, "the new point never showed"
            time.sleep(0.5)
        assert (inside(top, backed) / "other").read_bytes() == b"changed meanwhile"
        with held:
            assert held.read() == b"one name", "what is open stays what it was"


@pytest.mark.slow
def test_ctrl_c_unmounts(backed: BackedUp) -> None:
    folder = backed.staging.parent
    top = folder / "mount"
    top.mkdir()
    words = overland(*mount_words(backed, top), "--foreground")
    program = subprocess.Popen(words, env=environment(folder))
    wait_for(top, program)
    program.send_signal(signal.SIGINT)
    assert program.wait(WAIT_S) == 0
    assert not os.path.ismount(top)


@pytest.mark.slow
def test_the_background_mount_outlives_the_command_until_unmount(backed: BackedUp) -> None:
    folder = backed.staging.parent
    top = folder / "mount"
    top.mkdir()
    words = [
        os.path.relpath(w) if w == str(backed.staging) else w for w in mount_words(backed, top)
    ]
    done = subprocess.run(
        overland(*words), env=environment(folder), check=True, capture_output=True, text=True
    )
    assert f"overland unmount {top}" in done.stderr
    assert (inside(top, backed) / "other").read_bytes() == b"one name"
    refused = subprocess.run(
        overland(*words), env=environment(folder), check=False, capture_output=True
    )
    assert refused.returncode == 3
    assert b"not empty" in refused.stderr
    subprocess.run(overland("unmount", str(top)), check=True)
    assert not os.path.ismount(top)
    again = subprocess.run(overland("unmount", str(top)), check=False, capture_output=True)
    assert again.returncode == 3
    assert (folder / "home" / "agent" / "mount.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_mount_whose_program_died_says_so_and_is_unmounted(backed: BackedUp) -> None:
    folder = backed.staging.parent
    top = folder / "mount"
    top.mkdir()
    words = overland(*mount_words(backed, top), "--foreground")
    program = subprocess.Popen(words, env=environment(folder))
    wait_for(top, program)
    program.kill()
    program.wait(WAIT_S)
    refused = subprocess.run(words, env=environment(folder), check=False, capture_output=True)
    assert refused.returncode == 3
    assert b"has died; run `overland unmount`" in refused.stderr
    subprocess.run(overland("unmount", str(top)), check=True)
    with mounted(backed):
        assert (inside(top, backed) / "other").read_bytes() == b"one name"


@pytest.mark.slow
def test_a_stored_program_or_device_gets_no_power_from_a_mount(backed: BackedUp) -> None:
    program = backed.source / "program"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o6755)
    backed.back_up()
    with mounted(backed) as top:
        assert (inside(top, backed) / "program").stat().st_mode & 0o7777 == 0o6755
        lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        options = next(fields[3].split(",") for fields in lines if fields[1] == str(top))
        assert {"ro", "nosuid", "nodev"} <= set(options)
