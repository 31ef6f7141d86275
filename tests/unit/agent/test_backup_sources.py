"""Sources that are no folder, or lie in one another: in the point, and back from it."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.backups import make_plan

from overland.adapters.programs import SystemPrograms
from overland.agent.backup import singles
from overland.agent.backup.estimate import selected_bytes
from overland.agent.backup.plan import RootUnreadable, SourceFailed
from overland.agent.compare import compare_trees
from overland.format.tree import Entry
from overland.ports.programs import Running
from overland.source.chunker import IMAGE_SIZES
from overland.source.marks import Marks
from overland.source.streams import StreamSource, given_source

KIB64 = 64 << 10
PATIENCE_S = 60.0  # against waiting for ever
CACHE_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n"


@pytest.fixture
def backed(tmp_path: Path) -> BackedUp:
    made = BackedUp(tmp_path)
    made.source.mkdir()
    return made


def write(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def command(path: str, argv: Sequence[str], *, timeout_s: float = 30.0) -> StreamSource:
    def start() -> Running:
        return SystemPrograms().start(argv)

    return StreamSource(path=path, timeout_s=timeout_s, open=start)


def python(code: str, *, timeout_s: float = 30.0) -> StreamSource:
    return command("/dump.sql", [sys.executable, "-c", code], timeout_s=timeout_s)


def shell(script: str, begun: Path, *, timeout_s: float) -> StreamSource:
    """A script that writes to `begun`, its `$1`; its time runs from then, however late that is."""

    def start() -> Running:
        running = SystemPrograms().start(["sh", "-c", script, "sh", str(begun)])
        until(lambda: begun.exists() and begun.stat().st_size > 0, "it does not begin")
        return running

    return StreamSource(path="/dump.sql", timeout_s=timeout_s, open=start)


def until(is_so: Callable[[], bool], else_: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, else_
        time.sleep(0.01)


def restored(backed: BackedUp, number: int = -1) -> Path:
    """Restore a point, and return the folder that has its full paths."""
    target = backed.target / str(number % len(backed.results))
    backed.restore(number, target=target, strip=b"/")
    return target


def at(target: Path, path: Path | str) -> Path:
    return target / str(path).lstrip("/")


def roots(backed: BackedUp) -> dict[str, Entry]:
    point, _ = backed.open()
    return {os.fsdecode(root.path): root.entry for root in point.root.roots}


def paths(backed: BackedUp) -> list[str]:
    """Return what a restored point has below the source."""
    base = at(restored(backed), backed.source)
    return sorted(str(path.relative_to(base)) for path in base.rglob("*") if not path.is_dir())


# -- what is left out --------------------------------------------------------------------------


def test_a_cache_keeps_its_tag_and_nothing_else(backed: BackedUp) -> None:
    for name in ("cache", "fake"):
        write(backed.source / name / "below" / "file")
        write(backed.source / name / "file")
    (backed.source / "cache" / "CACHEDIR.TAG").write_text(CACHE_TAG)
    (backed.source / "fake" / "CACHEDIR.TAG").write_text("Signature: something else")
    backed.back_up(marks=Marks(caches=True))
    assert paths(backed) == ["cache/CACHEDIR.TAG", "fake/CACHEDIR.TAG", "fake/below/file",
                             "fake/file"]  # fmt: skip


def test_a_folder_with_a_mark_keeps_the_mark_and_nothing_else(backed: BackedUp) -> None:
    write(backed.source / "a" / ".nobackup")
    write(backed.source / "a" / "b" / "file")
    write(backed.source / "c" / "file")
    backed.back_up(marks=Marks(names=frozenset({b".nobackup"})))
    assert paths(backed) == ["a/.nobackup", "c/file"]
    (backed.source / "a" / ".nobackup").unlink()
    backed.back_up(marks=Marks(names=frozenset({b".nobackup"})))
    assert paths(backed) == ["a/b/file", "c/file"], "the mark counted though it is gone"


def test_large_files_are_left_out_and_not_counted(backed: BackedUp) -> None:
    write(backed.source / "small", b"x" * 4096)
    write(backed.source / "large", b"x" * 4097)
    marks = Marks(larger_than_bytes=4096)
    backed.back_up(marks=marks)
    assert paths(backed) == ["small"]
    assert selected_bytes(make_plan(backed.source, marks=marks)).size_bytes == 4096


# -- sources in sources ------------------------------------------------------------------------


def test_a_source_in_another_keeps_what_the_others_anchored_rules_drop(backed: BackedUp) -> None:
    inner = backed.source / "b"
    write(inner / "c" / "kept")  # `/b/c` is anchored to the outer source, and says nothing here
    write(inner / "b" / "c" / "dropped")
    write(backed.source / "top")
    backed.back_up(backed.source, inner, exclude=("/b/c",))
    assert paths(backed) == ["b/c/kept", "top"]
    assert list(roots(backed)) == [str(backed.source)], "one tree holds both"
    backed.back_up(backed.source, inner, exclude=("/b/c",))
    assert paths(backed) == ["b/c/kept", "top"], "unchanged, and from the cache"


@pytest.mark.parametrize("rule", ["/b", "b", "/a", "a/b"])
def test_a_source_that_another_one_excludes_is_backed_up(backed: BackedUp, rule: str) -> None:
    inner = backed.source / "a" / "b"
    write(inner / "file")
    write(backed.source / "a" / "beside")
    backed.back_up(backed.source, inner, exclude=(rule,))
    assert "a/b/file" in paths(backed)


def test_a_file_that_a_rule_excludes_is_kept_if_it_is_a_source(backed: BackedUp) -> None:
    named = write(backed.source / "named.tmp", b"named")
    write(backed.source / "other.tmp")
    backed.back_up(backed.source, named, exclude=("*.tmp",))
    assert paths(backed) == ["named.tmp"]


def test_a_source_reached_through_a_link_is_a_source_of_its_own(
    backed: BackedUp, tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere" / "file")
    link = backed.source / "link"
    link.symlink_to(tmp_path / "elsewhere")
    backed.back_up(backed.source, link)
    assert paths(backed) == ["link/file"]


def test_sources_in_one_another_are_estimated_once(backed: BackedUp) -> None:
    inner = backed.source / "b"
    write(inner / "file", b"x" * 4096)
    plan = make_plan([backed.source, inner, inner / "file"])
    assert selected_bytes(plan).size_bytes == 4096


# -- single files ------------------------------------------------------------------------------


def test_a_single_file_comes_back_with_all_it_had(backed: BackedUp, tmp_path: Path) -> None:
    file = write(tmp_path / "etc" / "one.conf", os.urandom(100_000))
    file.chmod(0o640)
    os.setxattr(file, "user.note", b"kept")
    os.utime(file, ns=(1, 1_600_000_000_123_456_789))
    write(backed.source / "f")
    backed.back_up(file, backed.source)
    assert list(roots(backed)) == [str(file), str(backed.source)]
    same = compare_trees(file.parent, at(restored(backed), file.parent))
    assert [it for it in same.differences if "one.conf" in it] == []
    assert same.entries == 2


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    backed: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "one", b"first")
    backed.back_up(file)
    with monkeypatch.context() as patch:
        patch.setattr(singles, "pieces", None)  # whoever reads it now fails
        assert backed.back_up(file).statistics.source_bytes == 5
    file.write_bytes(b"later")
    backed.back_up(file)
    for number, content in enumerate([b"first", b"first", b"later"]):
        assert at(restored(backed, number), file).read_bytes() == content


def test_a_link_to_a_file_is_followed_under_its_own_name(backed: BackedUp, tmp_path: Path) -> None:
    write(tmp_path / "real", b"content")
    link = tmp_path / "link"
    link.symlink_to("real")
    backed.back_up(link)
    found = at(restored(backed), link)
    assert found.read_bytes() == b"content"
    assert not found.is_symlink()


# -- images ------------------------------------------------------------------------------------


def test_a_sparse_image_keeps_its_holes_and_small_chunks(backed: BackedUp, tmp_path: Path) -> None:
    image = tmp_path / "vm.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
        for place in (0, 5 << 20, 40 << 20):
            file.seek(place)
            file.write(os.urandom(3 * KIB64))
    backed.back_up(backed.source, images=(image,), image_sizes=IMAGE_SIZES)
    back = at(restored(backed), image)
    assert back.read_bytes() == image.read_bytes()
    assert back.stat().st_blocks <= image.stat().st_blocks + 16
    entry = roots(backed)[str(image)]
    assert sum(length for _, length in entry.extents or ()) < 1 << 20


def test_an_image_in_a_source_is_in_its_tree(backed: BackedUp) -> None:
    image = write(backed.source / "vm.img", os.urandom(5 << 20))
    backed.back_up(images=(image,), image_sizes=IMAGE_SIZES)
    as_image = backed.results[-1].statistics.chunks
    assert paths(backed) == ["vm.img"]
    assert list(roots(backed)) == [str(backed.source)]
    fresh = BackedUp(backed.source.parent / "plain")
    fresh.source.mkdir()
    write(fresh.source / "vm.img", image.read_bytes())
    assert fresh.back_up().statistics.chunks > 4 * as_image, "the rest of the policy: 4 KiB"


def test_an_image_is_a_file_or_a_device(backed: BackedUp) -> None:
    with pytest.raises(RootUnreadable, match="an image is"):
        backed.back_up(images=(backed.source,))


@pytest.mark.parametrize("call", ["preadv", "lseek", "listxattr", "fstat"])
@pytest.mark.parametrize("field", ["images", "roots"])
def test_a_source_whose_disk_fails_is_not_in_the_point_and_the_rest_is(
    backed: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, field: str
) -> None:
    image = tmp_path / "vm.img"
    with image.open("wb") as file:
        file.truncate(40 << 20)
        file.write(os.urandom(20 << 20))
    write(backed.source / "f")
    backed.back_up()
    inode, real, calls = image.stat().st_ino, getattr(os, call), list[int]()

    def failing(target: int | str, *rest: object) -> object:
        if isinstance(target, int) and stat(target).st_ino == inode:
            calls.append(target)
            if len(calls) > 1 or call in {"listxattr", "lseek"}:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(target, *rest)

    stat = os.fstat
    roots_now = [backed.source] if field == "images" else [backed.source, image]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        result = backed.back_up(*roots_now, images=(image,) if field == "images" else ())
    assert calls, "the fault was met"
    assert [failed.path for failed in result.failed] == [os.fsencode(image)]
    assert "Input/output error" in result.failed[0].reason
    assert list(roots(backed)) == [str(backed.source)]
    assert paths(backed) == ["f"]
    backed.back_up(*roots_now, images=(image,) if field == "images" else ())
    assert at(restored(backed), image).read_bytes() == image.read_bytes()


@pytest.mark.parametrize("change", ["cut", "grown"])
def test_an_image_that_changes_its_length_while_it_is_read_says_so(
    backed: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    image = write(tmp_path / "vm.img", os.urandom(20 << 20))
    lengths = iter([12 << 20, 11 << 20, 10 << 20] if change == "cut" else range(21 << 20, 99 << 20))
    inode, real = image.stat().st_ino, os.preadv

    def changing(fd: int, *rest: object) -> int:
        got: int = real(fd, *rest)  # type: ignore[arg-type]  # as they come
        if os.fstat(fd).st_ino == inode:
            os.truncate(image, next(lengths, 10 << 20))
        return got

    backed.back_up()
    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", changing)
        result = backed.back_up(backed.source, images=(image,))
    assert result.changed == (os.fsencode(image),)
    assert roots(backed)[str(image)].changed
    back = at(restored(backed), image).read_bytes()
    assert image.read_bytes().startswith(back[: 10 << 20])
    assert backed.back_up(backed.source, images=(image,)).changed == ()
    assert at(restored(backed), image).read_bytes() == image.read_bytes(), "it is read again"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a loop device")
def test_a_block_device_is_stored_without_its_zeros(backed: BackedUp, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    content = bytearray(8 << 20)
    content[KIB64 : 2 * KIB64] = os.urandom(KIB64)
    content[6 << 20 : (6 << 20) + 512] = os.urandom(512)
    disk.write_bytes(content)
    made = subprocess.run(
        ["losetup", "--find", "--show", disk], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr}")
    device = Path(made.stdout.strip())
    try:
        assert selected_bytes(make_plan([], images=(device,))).size_bytes == 8 << 20
        with pytest.raises(RootUnreadable, match="--image"):
            backed.back_up(device)
        backed.back_up(backed.source, images=(device,), image_sizes=IMAGE_SIZES)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    entry = roots(backed)[str(device)]
    assert entry.extents == ((KIB64, KIB64), (6 << 20, KIB64))
    assert not entry.changed
    back = at(restored(backed), device)
    assert back.read_bytes() == content
    assert back.stat().st_blocks * 512 < 1 << 20


# -- streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", b""),
        ("print('x', end='')", b"x"),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)) * 81920)",
         bytes(range(256)) * 81920),
        ("import time\nfor n in range(5): print(n, flush=True); time.sleep(0.1)",
         b"0\n1\n2\n3\n4\n"),
    ],
    ids=["empty", "tiny", "20 MiB", "slow"],
)  # fmt: skip
def test_what_a_command_prints_comes_back_as_one_file(
    backed: BackedUp, code: str, expected: bytes
) -> None:
    write(backed.source / "f")
    result = backed.back_up(streams=(python(code, timeout_s=PATIENCE_S),))
    assert result.failed == ()
    assert result.statistics.source_bytes == len(expected) + 7
    file = at(restored(backed), "/dump.sql")
    assert file.read_bytes() == expected
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("script", "timeout_s", "reason"),
    [
        ("echo half a dump; echo $$ > $1; exit 1", 60, "ended with exit status 1"),
        ("echo half; echo $$ > $1; kill -9 $$", 60, "killed by SIGKILL"),
        ("echo half; echo $$ > $1; exec sleep 60", 1, "gave nothing for 1 s"),
        ("exec >&-; echo $$ > $1; exec sleep 60", 1, "did not end within 1 s"),
    ],
    ids=["status", "killed", "silent", "lingering"],
)
def test_a_command_that_fails_is_not_in_the_point_and_the_rest_is(
    backed: BackedUp, tmp_path: Path, script: str, timeout_s: float, reason: str
) -> None:
    write(backed.source / "f")
    backed.back_up()
    failing = shell(script, tmp_path / "begun", timeout_s=timeout_s)
    result = backed.back_up(streams=(failing,))
    assert [failed.path for failed in result.failed] == [b"/dump.sql"]
    assert reason in result.failed[0].reason
    assert result.skipped == result.failed
    assert list(roots(backed)) == [str(backed.source)]
    assert paths(backed) == ["f"]


def test_a_command_that_leaves_somebody_holding_its_output_is_not_in_the_point(
    backed: BackedUp, tmp_path: Path
) -> None:
    """Whether more was to come nobody can tell; who held it is ended, and no thread waits on."""
    held = tmp_path / "held"
    backed.back_up()
    script = "sleep 61 & echo whole; echo $! > $1"
    result = backed.back_up(streams=(shell(script, held, timeout_s=1),))
    assert "gave nothing for 1 s" in result.failed[0].reason
    assert list(roots(backed)) == [str(backed.source)]
    pid = int(held.read_text())
    until(lambda: not is_alive(pid), "it still runs")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended while it was read
        return False


def test_what_a_command_says_on_standard_error_is_neither_kept_nor_in_the_way(
    backed: BackedUp, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys\nfor _ in range(400): print('e' * 10_000, file=sys.stderr)\nprint('out')"
    backed.back_up(streams=(python(code),))
    assert at(restored(backed), "/dump.sql").read_text() == "out\n"
    assert len(capfd.readouterr().err) >= 4_000_000, "it went where ours goes"


def test_a_first_copy_by_drive_is_not_finished_without_a_command(backed: BackedUp) -> None:
    write(backed.source / "f", os.urandom(100_000))
    with pytest.raises(SourceFailed, match="exit status 1"):
        backed.back_up(streams=(python("raise SystemExit(1)"),))
    assert list(backed.folder(0).glob("points/*")) == []
    backed.back_up(streams=(python("print('whole')"),))
    assert at(restored(backed), "/dump.sql").read_text() == "whole\n"


def test_a_program_that_is_not_there_fails_as_one_that_ends_badly(backed: BackedUp) -> None:
    backed.back_up()
    result = backed.back_up(streams=(command("/x", ["no-such-program"]),))
    assert "no-such-program" in result.failed[0].reason


def test_the_same_dump_again_stores_nothing(backed: BackedUp) -> None:
    code = "import random; print(random.Random(1).randbytes(300_000))"
    backed.back_up(streams=(python(code),))
    assert backed.back_up(streams=(python(code),)).statistics.new_bytes < 2000


def test_standard_input_becomes_a_file(backed: BackedUp) -> None:
    out, into = os.pipe()
    os.write(into, b"piped")
    os.close(into)
    given = given_source("/a/b.txt", timeout_s=5, fd=lambda: out)
    backed.back_up(streams=(given,))
    assert at(restored(backed), "/a/b.txt").read_bytes() == b"piped"
    # A point that the cloud does not take is made again, with the same plan.
    again = backed.back_up(streams=(given,))
    os.close(out)
    assert "run the whole pipe again" in again.failed[0].reason
    assert list(roots(backed)) == [str(backed.source)], "no empty file, that looks like a dump"


def test_the_estimate_says_what_it_cannot_know(backed: BackedUp) -> None:
    write(backed.source / "f", b"x" * 4096)
    found = selected_bytes(make_plan(backed.source, streams=(python("pass"),)))
    assert found == (4096, ("/dump.sql",))


def test_a_run_that_dies_leaves_no_program_behind(backed: BackedUp, tmp_path: Path) -> None:
    """Whatever ends the run, closing the stream ends the command."""
    begun = tmp_path / "begun"
    backed.back_up()
    backed.back_up(streams=(shell("echo $$ > $1; exec sleep 60", begun, timeout_s=1),))
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), signal.SIGTERM)


# -- files, a database and an image in one point -----------------------------------------------


def test_a_real_dump_an_image_and_files_travel_in_one_seed(
    backed: BackedUp, tmp_path: Path
) -> None:
    database = tmp_path / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table goods (name text, price integer)")
        connection.executemany(
            "insert into goods values (?, ?)", [(f"thing {n}", n) for n in range(5000)]
        )
    connection.close()
    dump = (
        f"import sqlite3; c = sqlite3.connect({str(database)!r})\n"
        "for line in c.iterdump(): print(line)"
    )
    write(backed.source / "f")
    image = write(tmp_path / "vm.img", os.urandom(1 << 20))
    backed.back_up(backed.source, images=(image,), streams=(python(dump),))
    target = restored(backed)
    again = sqlite3.connect(":memory:")
    again.executescript(at(target, "/dump.sql").read_text())
    assert again.execute("select count(*), sum(price) from goods").fetchone() == (5000, 12497500)
    again.close()
    assert at(target, image).read_bytes() == image.read_bytes()
    assert list(roots(backed)) == [str(backed.source), str(image), "/dump.sql"]


def test_the_stand_alone_reader_restores_them_too(backed: BackedUp, tmp_path: Path) -> None:
    write(backed.source / "f")
    one = write(tmp_path / "one.conf", b"one")
    image = tmp_path / "vm.img"
    with image.open("wb") as file:
        file.truncate(1 << 20)
        file.write(b"the disk")
    backed.back_up(backed.source, one, images=(image,), streams=(python("print('dump')"),))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    target = tmp_path / "again"
    reader = Path(__file__).parents[3] / "reader" / "overland_reader.py"
    words: list[str | Path] = [
        backed.staging,
        "--passphrase-file",
        tmp_path / "passphrase",
        "--target",
        target,
    ]
    done = subprocess.run(
        [sys.executable, "-I", reader, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert at(target, "/dump.sql").read_text() == "dump\n"
    for each in (one, image, backed.source / "f"):
        assert at(target, each).read_bytes() == each.read_bytes()
