"""A restore that was killed anywhere goes on; what is verified was read back from the medium."""

import itertools
import os
import random
from collections.abc import Iterator

import pytest
from tests.support.backed_up import BackedUp
from tests.support.torture import fast_folder

from overland.agent import processes
from overland.agent.compare import compare_trees
from overland.agent.processes import WorkerLost
from overland.agent.restore import crew
from overland.agent.restore.run import RestoreIncomplete
from overland.agent.restore.target import Access, Folder


@pytest.fixture(params=[0, 2], ids=["threads", "processes"])
def backed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    monkeypatch.setattr(crew, "_FEW_FILES", 0)  # no batch is too small for processes
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.processes = request.param
        (world.source / "folder").mkdir(parents=True)
        (world.source / "folder" / "large").write_bytes(random.Random(1).randbytes(300_000))
        for number in range(4):
            (world.source / f"{number}").write_bytes(b"%d" % number)
        (world.source / "twin").hardlink_to(world.source / "1")
        (world.source / "link").symlink_to("1")
        os.mkfifo(world.source / "pipe")
        world.back_up()
        yield world


def kill_at(backed: BackedUp, step: int) -> bool:
    """Restore in another process that dies at its `step`-th system call that shows."""
    numbers = processes._queue(10_000)  # of steps, whichever process takes them
    child = os.fork()
    if child == 0:
        for name in ("pwrite", "rename", "link", "symlink", "mkfifo", "mkdir", "utime", "chmod"):
            call = getattr(os, name)

            def dying(*args: object, call: object = call, **kwargs: object) -> object:
                if int.from_bytes(os.read(numbers, 4), "little") == step:
                    os._exit(9)
                return call(*args, **kwargs)  # type: ignore[operator]  # the real one

            setattr(os, name, dying)
        status = 1
        try:
            backed.restore(workers=1)
            status = 0
        except WorkerLost as lost:
            status = lost.status
        finally:
            os._exit(status)
    os.close(numbers)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 9}, "nothing else goes wrong"
    return status == 9


@pytest.mark.crash
def test_a_restore_killed_at_any_step_goes_on(backed: BackedUp) -> None:
    for step in itertools.count():
        target = backed.target
        backed.target = target.with_name(f"target {step}")
        was_killed = kill_at(backed, step)
        backed.restore(resume=True)
        found = compare_trees(backed.source, backed.target)
        assert found.differences == [], f"killed at step {step}"
        backed.target = target
        if not was_killed:
            break
    assert step > 20, "there are that many steps"


def test_files_that_are_complete_are_not_read_again(backed: BackedUp) -> None:
    backed.restore()
    report = backed.restore(resume=True)
    assert (report.files, report.symlinks, report.fifos) == (0, 0, 0)
    assert report.already_there == 8
    assert compare_trees(backed.source, backed.target).differences == []


def test_resume_touches_nothing_that_is_not_its_own(backed: BackedUp) -> None:
    backed.restore()
    (backed.target / "2").write_bytes(b"changed since")
    (backed.target / "mine").write_bytes(b"mine")
    with pytest.raises(Exception, match="has these already"):
        backed.restore(resume=True)
    assert (backed.target / "2").read_bytes() == b"changed since"
    backed.restore(resume=True, on_conflict="overwrite")
    assert (backed.target / "2").read_bytes() == b"2"
    assert (backed.target / "mine").read_bytes() == b"mine"


def test_verified_resume_finds_and_replaces_files_with_other_content(backed: BackedUp) -> None:
    backed.restore()
    victim = backed.target / "folder" / "large"
    status = victim.stat()
    with victim.open("r+b") as file:
        file.seek(123_456)
        file.write(b"?")
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = backed.restore(resume=True, verify=True)
    assert report.files == 1
    assert report.verified_bytes >= 300_000
    assert compare_trees(backed.source, backed.target).differences == []


def test_what_the_medium_gives_back_differently_is_found_and_not_left(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Access.publish

    def damaging(
        self: Access, folder: Folder, unfinished: bytes, name: bytes, *, replace: bool
    ) -> None:
        if name == b"large":
            fd = os.open(unfinished, os.O_RDWR, dir_fd=self.fd(folder))
            os.pwrite(fd, b"?", 200_000)
            os.close(fd)
        publish(self, folder, unfinished, name, replace=replace)

    monkeypatch.setattr(Access, "publish", damaging)
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore(verify=True)
    [problem] = incomplete.value.report.problems
    assert problem.path == f"{backed.source}/folder/large".encode()
    assert problem.kind == "corrupt"
    assert not (backed.target / "folder" / "large").exists()


def test_a_verified_restore_counts_every_byte_it_read_back(backed: BackedUp) -> None:
    report = backed.restore(verify=True)
    assert report.verified_bytes == report.size_bytes == 300_000 + 4
