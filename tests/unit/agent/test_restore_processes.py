"""Processes restore what threads would; whatever kills one, nothing runs on and nothing is lost."""

import contextlib
import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp
from tests.support.torture import build_torture, fast_folder

from overland.agent import processes
from overland.agent.compare import compare_trees
from overland.agent.points.chunks import Job
from overland.agent.processes import Team, WorkerLost, carried, original
from overland.agent.restore import crew, work, writing
from overland.agent.restore.batch import Prepared
from overland.agent.restore.metadata import Describer
from overland.agent.restore.run import RestoreIncomplete
from overland.agent.restore.settle import Batches
from overland.agent.restore.target import Access, sync_file_system
from overland.agent.restore.work import WrittenOtherwise
from overland.agent.sources import SeedFolderObjects
from overland.errors import ObjectCorrupt, OutOfSpace, Unreachable
from overland.packing.reader import ChunkAbsent

FOLDERS, FILES = 12, 40


@pytest.fixture
def backed(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    monkeypatch.setattr(crew, "_FEW_FILES", 0)
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.processes = 2
        for number in range(FOLDERS):
            (world.source / f"{number:02}").mkdir(parents=True)
            for file in range(FILES):
                content = random.Random(number * FILES + file).randbytes(3000)
                (world.source / f"{number:02}" / f"{file}").write_bytes(content)
        (world.source / "large").write_bytes(random.Random(7).randbytes(3 << 20))
        world.back_up()
        yield world


def children() -> set[int]:
    """Return the processes that this one started and has not awaited, whoever did it."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            parent = path.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    before = children()  # servers of other tests may run all the time
    yield
    assert children() <= before


def equal(backed: BackedUp) -> bool:
    return compare_trees(backed.source, backed.target).differences == []


def leftovers(backed: BackedUp) -> list[Path]:
    return list(backed.target.rglob(".overland-*"))


class Pids:
    """Who created files, known to all processes: a name for each in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        create = Access.create

        def noting(access: Access, *given: object, **named: object) -> int:
            (folder / f"{os.getpid()}").touch()
            return create(access, *given, **named)  # type: ignore[arg-type]  # the real one's

        monkeypatch.setattr(Access, "create", noting)

    def known(self) -> set[int]:
        return {int(path.name) for path in self._folder.iterdir()}


def in_one_process(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]
) -> None:
    """Have one of the processes of a restore, and not this one, act at its tenth file."""
    create, parent, seen = Access.create, os.getpid(), list[int]()
    mark = backed.staging.with_name("acted")

    def acting(access: Access, *given: object, **named: object) -> int:
        if os.getpid() != parent:
            seen.append(1)
            if len(seen) == 10 and not mark.exists():
                with contextlib.suppress(FileExistsError):
                    mark.touch(exist_ok=False)
                    act()
        return create(access, *given, **named)  # type: ignore[arg-type]  # the real one's

    monkeypatch.setattr(Access, "create", acting)


# -- who does the work --------------------------------------------------------------------------


def test_processes_create_the_files_and_the_report_is_that_of_threads(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_threads = backed.restore(processes=0, target=backed.target.with_name("other"))
    pids = Pids(tmp_path / "pids", monkeypatch)
    report = backed.restore()
    assert equal(backed)
    assert pids.known()
    assert os.getpid() not in pids.known(), "no file of this point is empty"
    by_threads.served, served = {}, report.served
    assert sum(place.size_bytes for place in served.values()) > 3 << 20
    report.served = {}
    assert report == by_threads


@pytest.mark.parametrize("verified", ["written", "verified"])
def test_the_smallest_batches_of_odd_entries_restore_the_same(
    verified: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_FEW_FILES", 0)
    monkeypatch.setattr("overland.agent.restore.batch._MAX_CHUNKS", 50)
    monkeypatch.setattr("overland.agent.restore.batch._MAX_FILES", 20)
    monkeypatch.setattr("overland.agent.restore.batch._SHARED_FILES", 20)
    monkeypatch.setattr("overland.agent.points.tree._PIECE_IDS", 5)
    with fast_folder() as folder:
        backed = BackedUp(folder)
        build_torture(backed.source / "tree")
        (backed.source / "many chunks").write_bytes(random.Random(2).randbytes(2 << 20))
        backed.back_up()
        report = backed.restore(processes=3, verify=verified == "verified")
        assert equal(backed)
        assert (report.verified_bytes > 2 << 20) == (verified == "verified")


@pytest.mark.parametrize("first", ["here", "processes"])
def test_a_file_of_many_batches_is_whole_whoever_writes_which(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_SHARED_WORTH_BYTES", 4096)
    monkeypatch.setattr("overland.agent.restore.batch._MAX_CHUNKS", 9)
    monkeypatch.setattr("overland.agent.points.tree._PIECE_IDS", 5)
    start, turns = crew.Crew.start, list[bool]()

    def alternating(self: crew.Crew, prepared: Prepared) -> crew.Work:
        turns.append(not turns[-1] if turns else first == "here")
        monkeypatch.setattr(crew, "_FEW_FILES", len(prepared.pieces) + 1 if turns[-1] else 0)
        return start(self, prepared)

    monkeypatch.setattr(crew.Crew, "start", alternating)
    with fast_folder() as folder:
        backed = BackedUp(folder)
        backed.source.mkdir(parents=True, exist_ok=True)
        (backed.source / "large").write_bytes(random.Random(3).randbytes((6 << 20) + 77))
        with (backed.source / "sparse").open("wb") as sparse:
            for number in range(3):
                sparse.seek((2 * number + 1) << 20)
                sparse.write(random.Random(number).randbytes((1 << 20) - 5))
        backed.back_up()
        backed.restore(processes=2)
        assert equal(backed)
        assert len(turns) > 3, "both had parts of a file"


def test_few_files_start_no_process(backed: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was started"))
    backed.restore(processes=None)
    assert equal(backed)


def test_connections_are_not_shared_with_processes(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SeedFolderObjects, "is_local", False)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was started"))
    backed.restore()
    assert equal(backed)


def test_where_the_system_allows_no_process_this_one_does_the_work(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise OSError(errno.EAGAIN, "resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    report = backed.restore(verify=True)
    assert report.verified_bytes == report.size_bytes
    assert equal(backed)


# -- what follows a batch while the next one is written -------------------------------------------


@pytest.fixture
def small_batches(backed: BackedUp, monkeypatch: pytest.MonkeyPatch) -> BackedUp:
    """A point that is restored in many batches, with two names of one file in the first."""
    monkeypatch.setattr("overland.agent.restore.batch._FIRST_FILES", 20)
    monkeypatch.setattr("overland.agent.restore.batch._SHARED_FILES", 50)
    (backed.source / " linked 1").write_bytes(random.Random(5).randbytes(70_000))
    (backed.source / " linked 2").hardlink_to(backed.source / " linked 1")
    backed.back_up()
    return backed


def test_a_second_name_is_restored_alone_when_nobody_else_writes(
    small_batches: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first name could not be had, which shows while the next batch is written."""
    publish, start, sizes = Access.publish, crew.Crew.start, list[int]()

    def refusing(access: Access, *given: object, **named: object) -> None:
        if b" linked 1" in given:
            raise PermissionError(errno.EACCES, "permission denied")
        publish(access, *given, **named)  # type: ignore[arg-type]  # the real one's

    def noting(self: crew.Crew, prepared: Prepared) -> crew.Work:
        assert children() == started, "processes of two batches run at once"
        sizes.append(len(prepared.pieces))
        return start(self, prepared)

    started = children()
    monkeypatch.setattr(Access, "publish", refusing)
    monkeypatch.setattr(crew.Crew, "start", noting)
    with pytest.raises(RestoreIncomplete) as incomplete:
        small_batches.restore()
    assert sizes[:4] == [20, 50, 1, 50], "it came while the second batch was written"
    report, content = incomplete.value.report, (small_batches.source / " linked 1").read_bytes()
    assert (report.problem_count, report.files) == (1, FOLDERS * FILES + 2)
    assert (small_batches.target / " linked 2").read_bytes() == content
    assert leftovers(small_batches) == []


def test_a_device_that_fails_under_a_folder_ends_the_next_batch_too(
    small_batches: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that its processes began is left, whatever they had come to."""
    create, parent = Access.create, os.getpid()

    def failing(_self: Batches, *_given: object) -> None:
        deadline = time.monotonic() + 20
        while not leftovers(small_batches):
            assert time.monotonic() < deadline, "no process has begun with the next batch"
            time.sleep(0.001)
        raise OSError(errno.EIO, "input/output error")

    def slow(access: Access, *given: object, **named: object) -> int:
        fd = create(access, *given, **named)  # type: ignore[arg-type]  # the real one's
        if os.getpid() != parent:
            time.sleep(0.01)
        return fd

    with monkeypatch.context() as patched:
        patched.setattr(Batches, "_finish_folder", failing)
        patched.setattr(Access, "create", slow)
        with pytest.raises(OSError, match="input/output error"):
            small_batches.restore()
    assert leftovers(small_batches) == []
    small_batches.restore(resume=True)
    assert equal(small_batches)


# -- what is written out early ------------------------------------------------------------------


@pytest.fixture
def many_jobs(backed: BackedUp, monkeypatch: pytest.MonkeyPatch) -> BackedUp:
    """A point of files that lie in many segments, each of which is a job."""
    for number in range(80):
        content = random.Random(1000 + number).randbytes(100_000)
        (backed.source / f"more {number}").write_bytes(content)
    backed.back_up()
    monkeypatch.setattr("overland.agent.points.chunks._READ_BYTES", 64 << 10)
    return backed


def finished_at_each_write_out(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, failure: OSError | None = None
) -> list[int]:
    """Note how many files had their names whenever this process had them written out.

    Each process waits with its sixth job until that has happened: a job may hold a part of a file
    only, and several of them hold whole ones.
    """
    parent, noted, jobs = os.getpid(), list[int](), list[object]()
    mark = backed.staging.with_name("written out")
    write = work.Writers.write

    def noting(fd: int) -> None:
        assert os.getpid() == parent, "a process that creates files waits for no disk"
        noted.append(sum(path.is_file() for path in backed.target.rglob("more*")))
        mark.touch()
        if failure is not None:
            raise failure
        sync_file_system(fd)

    def waiting(writers: work.Writers, job: Job, prepared: Prepared) -> tuple[int, int]:
        deadline = time.monotonic() + 20
        while len(jobs) > 4 and not mark.exists():
            assert time.monotonic() < deadline, "nothing is written out"
            time.sleep(0.01)
        jobs.append(job)
        return write(writers, job, prepared)

    monkeypatch.setattr(work, "sync_file_system", noting)
    monkeypatch.setattr(work.Writers, "write", waiting)
    monkeypatch.setattr(crew, "_WRITTEN_OUT_FILES", 1)
    return noted


def test_many_files_are_written_out_while_others_are_created(
    many_jobs: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = finished_at_each_write_out(many_jobs, monkeypatch)
    many_jobs.restore(sync=True)
    assert equal(many_jobs)
    assert noted[0] < 80, "the last sync was the only one"
    assert noted[-1] == 80, "the last sync comes when all is there"


def test_who_does_not_wait_for_the_disk_has_nothing_written_out(
    many_jobs: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = finished_at_each_write_out(many_jobs, monkeypatch)
    many_jobs.staging.with_name("written out").touch()
    many_jobs.restore(sync=False)
    assert equal(many_jobs)
    assert noted == []


def test_a_device_that_fails_while_files_are_written_out_ends_the_restore(
    many_jobs: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of lost bytes once, so that the last sync would not."""
    failure = OSError(errno.EIO, "input/output error")
    with monkeypatch.context() as patched:
        noted = finished_at_each_write_out(many_jobs, patched, failure)
        with pytest.raises(OSError, match="input/output error"):
            many_jobs.restore(sync=True)
    assert len(noted) == 1
    assert leftovers(many_jobs) == []
    many_jobs.restore(resume=True)
    assert equal(many_jobs)


# -- what goes wrong in one ---------------------------------------------------------------------


def test_what_a_process_could_not_put_back_is_reported(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = Describer.describe

    def lacking(self: Describer, place: int, entry: object, path: bytes, **made: object) -> None:
        describe(self, place, entry, path, **made)  # type: ignore[arg-type]  # the real one's
        self._lacking("colour", path, "not supported")

    monkeypatch.setattr(Describer, "describe", lacking)
    report = backed.restore()
    assert report.shortfall_count == len(report.shortfalls) == FOLDERS * FILES + FOLDERS + 2
    assert len({one.path for one in report.shortfalls}) == report.shortfall_count


def test_the_error_of_one_file_stays_that_files(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Access.publish

    def refusing(self: Access, *given: object, **named: object) -> None:
        if given[2] in {b"7", b"large"}:
            raise PermissionError(errno.EACCES, "permission denied")
        publish(self, *given, **named)  # type: ignore[arg-type]  # the real one's

    monkeypatch.setattr(Access, "publish", refusing)
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    report = incomplete.value.report
    assert report.problem_count == FOLDERS + 1
    assert {problem.reason for problem in report.problems} == {"permission denied"}
    assert report.files == FOLDERS * (FILES - 1)
    assert leftovers(backed) == []


def test_a_full_target_ends_all_and_leaves_nothing_unfinished(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        in_one_process(backed, patched, full)
        with pytest.raises(OutOfSpace, match="bytes free"):
            backed.restore()
    assert leftovers(backed) == []
    backed.restore(resume=True)
    assert equal(backed)


@pytest.mark.crash
def test_when_a_process_is_killed_the_restore_says_so_and_goes_on_later(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        in_one_process(backed, patched, lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(WorkerLost, match="signal 9"):
            backed.restore()
    assert leftovers(backed) == []
    backed.restore(resume=True)
    assert equal(backed)


@pytest.mark.crash
def test_when_the_restore_itself_is_killed_its_processes_end(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = Pids(tmp_path / "pids", monkeypatch)
    child = os.fork()
    if child == 0:
        in_one_process(backed, monkeypatch, lambda: os.kill(os.getppid(), signal.SIGKILL))
        backed.restore()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.undo()
    monkeypatch.setattr(crew, "_FEW_FILES", 0)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() and is_alive(pid) for pid in pids.known()):
        assert time.monotonic() < deadline, "a process outlives the restore"
        time.sleep(0.01)
    backed.restore(resume=True)
    assert equal(backed)
    assert leftovers(backed) == []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.crash
def test_an_interrupt_ends_all_processes_silently(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # as a terminal does: it goes to all
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)  # killed long before

    # In a process without other threads, as a restore's is where processes are started: elsewhere
    # the interrupt comes out anywhere, also where the standard library has just taken a lock.
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            in_one_process(backed, monkeypatch, interrupt)
            with contextlib.suppress(KeyboardInterrupt):
                status = 2
                backed.restore()
                status = 3
            status = 0 if status == 2 else status
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert capfd.readouterr() == ("", "")
    assert leftovers(backed) == []
    backed.restore(resume=True)
    assert equal(backed)


def test_an_interrupt_just_before_a_process_starts_leaves_no_signal_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sigmask = signal.pthread_sigmask
    before = sigmask(signal.SIG_BLOCK, ())

    def interrupted(how: int, mask: set[int]) -> set[int]:
        found = sigmask(how, mask)
        if how == signal.SIG_BLOCK and mask:  # it blocks, and then looks at what came before
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(signal, "pthread_sigmask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Team(3, processes=2, work=str, take=print).start()
    assert sigmask(signal.SIG_BLOCK, ()) == before


def test_interrupts_that_another_thread_takes_leave_no_signal_blocked() -> None:
    """What is blocked in one thread reaches its process by another one, at any moment."""
    child = os.fork()  # what is interrupted so often leaves processes that nobody awaits
    if child == 0:
        status = 70
        try:
            status = start_under_interrupts()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def start_under_interrupts() -> int:
    """Return 0, or 1 if signals stay blocked, or 2 if there were too few interrupts to tell."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    is_starting, interrupted, taken = threading.Event(), 0, list[str]()
    threading.Thread(target=interrupt_for_ever, args=(is_starting,), daemon=True).start()
    for _ in range(60):
        with contextlib.suppress(KeyboardInterrupt):
            is_starting.set()
            Team(3, processes=3, work=str, take=taken.append).start()
            is_starting.clear()
            interrupted -= 1
        interrupted += 1
        until_it_works(is_starting.clear)
        until_it_works(lambda: time.sleep(0.01))  # the last one has come
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != before:
            return 1
    return 0 if interrupted > 10 else 2


def interrupt_for_ever(while_set: threading.Event) -> None:
    chosen = random.Random(1)
    while while_set.wait():
        time.sleep(chosen.random() * 0.004)
        if while_set.is_set():
            os.kill(os.getpid(), signal.SIGINT)


def until_it_works(call: Callable[[], None]) -> None:
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            return call()


# -- the team itself ----------------------------------------------------------------------------


def test_each_job_is_done_once_and_by_several() -> None:
    taken: list[tuple[int, int]] = []

    def work(number: int) -> tuple[int, int]:
        time.sleep(0.001)
        return number, os.getpid()

    team = Team(300, processes=3, work=work, take=taken.append)
    team.start()
    team.wait()
    assert sorted(number for number, _ in taken) == list(range(300))
    assert len({pid for _, pid in taken}) == 3


def test_processes_that_ask_at_the_same_time_get_different_jobs() -> None:
    taken: list[int] = []
    team = Team(20_000, processes=3, work=lambda number: number, take=taken.append)
    team.start()
    team.wait()
    assert sorted(taken) == list(range(20_000))


def test_a_parent_that_takes_no_reports_for_long_stops_no_process() -> None:
    taken: list[bytes] = []
    team = Team(64, processes=2, work=lambda number: bytes([number]) * 50_000, take=taken.append)
    team.start()
    time.sleep(0.3)
    team.poll()
    team.wait()
    assert sorted(taken) == [bytes([number]) * 50_000 for number in range(64)]


@pytest.mark.parametrize(
    "error",
    [
        ObjectCorrupt("packs/00/name.pack", check="its seal does not hold"),
        ChunkAbsent(b"\x01" * 32, count=3),
        OutOfSpace("/target", needed_bytes=1, free_bytes=2),
        WrittenOtherwise(),
        Unreachable("the drive does not answer"),
        PermissionError(errno.EACCES, "permission denied", b"name"),
        OSError(errno.EIO, "input/output error"),
        ValueError("of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_crosses_over_as_it_is(error: Exception) -> None:
    def work(_: int) -> None:
        raise error

    team = Team(1, processes=1, work=work, take=lambda _: None)
    team.start()
    with pytest.raises(type(error)) as raised:
        team.wait()
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)
    if isinstance(error, OSError):
        assert isinstance(raised.value, OSError)
        assert raised.value.errno == error.errno


def test_an_error_that_cannot_cross_over_comes_as_its_message() -> None:
    class Local(Exception):
        pass

    assert str(original(carried(Local("what happened")))) == "what happened"


def test_with_another_thread_nobody_forks_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([Path("1"), Path("2")]))
    assert not processes.can_fork()
