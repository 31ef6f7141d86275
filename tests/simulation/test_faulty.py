"""Every port has a wrapper that fails in chosen ways, and each fault really happens."""

import hashlib
import importlib
import os
import pkgutil
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from tests.support import faulty, faulty_ports
from tests.support.faulty import (
    SLOW_S,
    FaultPlan,
    FaultyFileContent,
    FaultyFiles,
    FaultyOpensFiles,
)
from tests.support.faulty_ports import (
    FaultyClock,
    FaultyEngine,
    FaultyHttp,
    FaultyObjects,
    FaultyPrinter,
    FaultyPrograms,
    FaultyProgress,
    FaultyProgressLines,
    FaultySpaces,
    FaultyVolume,
    FaultyVolumes,
)
from tests.support.landed import MemorySpaces
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk
from tests.support.simengine import SimEngine

import overland.ports
from overland.adapters.folderobjects import FolderObjects
from overland.adapters.programs import SystemPrograms
from overland.adapters.volumes import FolderVolumes, create_folder_volume
from overland.errors import NotAuthorised, ObjectCorrupt, OutOfSpace, Unreachable
from overland.ports.http import Reply
from overland.ports.labels import Sheet
from overland.ports.programs import ProgramAbsent

NAME = "a/b"
DATA = bytes(range(200))
SHA256 = hashlib.sha256(DATA).hexdigest()


def plan(*faults: str, seed: int = 0, clock: ManualClock | None = None) -> FaultPlan:
    return FaultPlan(seed, faults=faults, clock=clock)


def filled() -> SimDisk:
    disk = SimDisk()
    disk.write(NAME, DATA)
    return disk


def test_every_port_has_a_wrapper() -> None:
    ports = set()
    for module in pkgutil.iter_modules(overland.ports.__path__):
        for name, value in vars(importlib.import_module(f"overland.ports.{module.name}")).items():
            if isinstance(value, type) and Protocol in value.__bases__:
                ports.add(name)
    wrappers = {*vars(faulty), *vars(faulty_ports)}
    lacking = {name for name in ports if not {f"Faulty{name}", f"_Faulty{name}"} & wrappers}
    assert not lacking


def test_a_plan_replays_and_respects_its_rate_and_its_limit() -> None:
    def trail(seed: int) -> list[str]:
        one = FaultPlan(seed, faults=("error", "flip"), rate=0.3, at_most=20)
        for call in range(200):
            one.draw("read", str(call), among=("error", "flip", "cut"))
        return one.trail

    assert trail(1) == trail(1) != trail(2)
    assert len(trail(1)) == 20
    unlimited = FaultPlan(1, faults=("error",), rate=0.3)
    hits = sum(bool(unlimited.draw("read", "", among=("error",))) for _ in range(2000))
    assert 500 < hits < 700
    assert unlimited.draw("read", "", among=("flip",)) is None


CALLS: list[Callable[[FaultyFiles], object]] = [
    lambda files: files.create(),
    lambda files: files.write("new", DATA),
    lambda files: files.read(NAME),
    lambda files: files.read_range(NAME, offset=1, length=2),
    lambda files: list(files.blocks(NAME)),
    lambda files: files.size_bytes(NAME),
    lambda files: list(files.names()),
    lambda files: files.settle(NAME),
    lambda files: files.delete(NAME),
    lambda files: files.forget(NAME),
    lambda files: files.create().show("new"),
    lambda files: files.sweep(),
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_files_fail_and_are_slow(call: Callable[[FaultyFiles], object]) -> None:
    disk = filled()
    with pytest.raises(OSError, match="simulated failure"):
        call(FaultyFiles(disk, plan=plan("error")))
    assert [(info.name, disk.read(info.name)) for info in disk.names()] == [(NAME, DATA)]
    clock = ManualClock()
    call(FaultyFiles(disk, plan=plan("slow", clock=clock)))
    assert clock.monotonic_s() >= SLOW_S


@pytest.mark.parametrize("fault", ["full", "short"])
def test_writes_find_no_room_or_end_early(fault: str) -> None:
    disk = filled()
    with pytest.raises(OutOfSpace if fault == "full" else OSError):
        FaultyFiles(disk, plan=plan(fault)).write("new", DATA)
    assert [info.name for info in disk.names()] == [NAME]


@pytest.mark.parametrize("fault", ["flip", "cut"])
def test_reads_are_not_what_was_written(fault: str) -> None:
    disk = filled()
    for read in (
        lambda files: files.read(NAME),
        lambda files: files.read_range(NAME, offset=0, length=len(DATA)),
        lambda files: b"".join(map(bytes, files.blocks(NAME))),
    ):
        found = read(FaultyFiles(disk, plan=plan(fault)))
        assert found != DATA
        assert (len(found) < len(DATA)) == (fault == "cut")
    assert disk.read(NAME) == DATA


def test_a_lie_about_flush_shows_after_a_power_cut() -> None:
    outcomes = set()
    for seed in range(30):
        files = FaultyFiles(filled(), plan=plan("lie", seed=seed))
        files.write(NAME, b"new content")
        files.write("other", b"x" * 10)
        assert files.read(NAME) == b"new content"
        lost = files.power_cut()
        outcomes.add(files.read(NAME))
        assert (NAME in lost) == (files.read(NAME) != b"new content")
        assert ("other" in lost) == (
            dict.fromkeys(i.name for i in files.names()) == {NAME: None}
            or files.read("other") != b"x" * 10
        )
    assert outcomes == {DATA, b"new content", b"new c"}


def test_what_was_settled_honestly_stays() -> None:
    files = FaultyFiles(filled(), plan=FaultPlan(0, faults=("lie",), at_most=1))
    files.write(NAME, b"new content")
    files.settle(NAME)
    assert not files.power_cut()
    assert files.read(NAME) == b"new content"


def put(objects: FaultyObjects) -> None:
    objects.put("new", [DATA], size_bytes=len(DATA), sha256=SHA256)


@pytest.mark.parametrize(
    ("fault", "error", "is_stored"),
    [
        ("error", Unreachable, 0),
        ("refuse", NotAuthorised, 0),
        ("full", OutOfSpace, 0),
        ("short", ObjectCorrupt, 0),
        ("lost", Unreachable, 1),
    ],
)
def test_puts_fail(fault: str, error: type[Exception], is_stored: int) -> None:
    inner = FolderObjects(SimDisk())
    with pytest.raises(error):
        put(FaultyObjects(inner, plan(fault)))
    assert [info.name for info in inner.names()] == ["new"] * is_stored


def test_a_store_that_lies_loses_what_it_took() -> None:
    objects = FaultyObjects(FolderObjects(SimDisk()), plan("lie"))
    put(objects)
    assert objects.read("new") == DATA
    assert objects.power_cut() == ["new"]
    assert not list(objects.names())


@pytest.mark.parametrize("fault", ["flip", "cut", "error", "slow"])
def test_reads_of_objects_fail(fault: str) -> None:
    clock = ManualClock()
    for read in (
        lambda objects: objects.read(NAME),
        lambda objects: objects.read_range(NAME, offset=0, length=len(DATA)),
        lambda objects: b"".join(map(bytes, objects.blocks(NAME))),
        lambda objects: objects.head(NAME),
        lambda objects: list(objects.names()),
        lambda objects: objects.delete("absent"),
    ):
        objects = FaultySpaces(MemorySpaces(), plan(fault, clock=clock)).open("s")
        objects._objects.put(NAME, [DATA], size_bytes=len(DATA), sha256=SHA256)
        if fault == "error":
            with pytest.raises(Unreachable):
                read(objects)
            continue
        found = read(objects)
        assert not isinstance(found, bytes) or (found == DATA) == (fault == "slow")
    assert (clock.monotonic_s() > 0) == (fault == "slow")


def test_clocks_jump_and_stand_still_and_time_still_passes() -> None:
    inner = ManualClock()
    assert FaultyClock(inner, plan("forward")).now() > inner.now()
    assert FaultyClock(inner, plan("back")).now() < inner.now()
    still = FaultyClock(inner, plan("still", "back"))
    still.sleep(5)
    still.now()
    assert still.monotonic_s() == 0
    FaultyClock(inner, plan()).sleep(5)
    assert still.monotonic_s() == 5


@pytest.mark.parametrize(
    ("fault", "steps", "state"),
    [("error", 0, "failed"), ("late", 1, "failed"), ("twice", 2, "done"), ("hasty", 1, "running")],
)
def test_engines_fail_and_do_things_twice(fault: str, steps: int, state: str) -> None:
    done: list[str] = []

    def step(argument: str) -> str:
        done.append(argument)
        return "{}"

    engine = FaultyEngine(SimEngine(), plan(fault))
    engine.register("w", plan=lambda _: ["1"], step=step, finish=lambda _: "{}")
    engine.launch()
    engine.start("w", key="k", argument="")
    assert len(done) == steps
    assert engine.wait("k", timeout_s=1).state == state
    found = engine.find("k")
    assert found is not None
    assert found.state == ("done" if fault == "hasty" else state)
    engine.close()


class Echo:
    """A server that counts."""

    def __init__(self) -> None:
        self.served = 0

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        self.served += 1
        return Reply(
            status=200, body={"method": method, "path": path, "json": json}, raw=raw or b""
        )


@pytest.mark.parametrize(
    ("fault", "served"),
    [
        *(("error", 0), ("failing", 0), ("busy", 0), ("lost", 1)),
        *(("twice", 2), ("slow", 1), ("flip", 1), ("cut", 1)),
    ],
)
def test_requests_fail(fault: str, served: int) -> None:
    server, clock = Echo(), ManualClock()
    http = FaultyHttp(server, plan(fault, clock=clock))
    if fault in {"error", "lost"}:
        with pytest.raises(Unreachable):
            http.request("GET", "/", raw=DATA)
    else:
        reply = http.request("GET", "/", raw=DATA)
        assert (reply.status == 200) == (fault not in {"failing", "busy"})
        assert (reply.raw == DATA) == (fault in {"twice", "slow"})
    assert server.served == served
    assert (clock.monotonic_s() > 0) == (fault == "slow")


def test_drives_fail(tmp_path: Path) -> None:
    path = tmp_path / "drive"
    create_folder_volume(path, serial="D1", capacity_bytes=1 << 20)
    with pytest.raises(OSError, match="bus"):
        FaultyVolumes(FolderVolumes(), plan("error")).open(str(path))
    volume = FaultyVolumes(FolderVolumes(), plan("swapped", "flip")).open(str(path))
    assert volume.serial == "D1-ANOTHER"
    volume.files().write(NAME, DATA)
    assert volume.files().read(NAME) != DATA
    broken = FaultyVolume(FolderVolumes().open(str(path)), plan("error"))
    with pytest.raises(OSError, match="drive"):
        broken.content()
    with pytest.raises(OSError, match="drive"):
        broken.erase()
    assert not broken.is_system()
    assert broken.holds(broken.path)
    assert broken.capacity_bytes == 1 << 20
    assert FolderVolumes().open(str(path)).content() == "foreign", "nothing was erased"


@pytest.mark.parametrize("fault", ["killed", "status", "flip", "cut"])
def test_programs_end_badly(fault: str) -> None:
    argv = [sys.executable, "-c", "print('hello')"]
    ended = FaultyPrograms(SystemPrograms(), plan(fault)).run(argv, timeout_s=60)
    assert ended.status == {"killed": -9, "status": 1}.get(fault, 0)
    assert (ended.output == b"hello\n") == (fault == "status")


def test_programs_cannot_be_started_or_end_badly_while_read() -> None:
    argv = [sys.executable, "-c", ""]
    absent = FaultyPrograms(SystemPrograms(), plan("error"))
    with pytest.raises(ProgramAbsent):
        absent.run(argv, timeout_s=9)
    with pytest.raises(ProgramAbsent):
        absent.start(argv)
    running = FaultyPrograms(SystemPrograms(), plan("status")).start(argv)
    try:
        assert running.finish(timeout_s=60) == 1
    finally:
        running.close()


@pytest.mark.parametrize("fault", ["flip", "cut", "early"])
def test_what_a_program_says_while_it_is_read_is_not_what_it_said(fault: str) -> None:
    said = bytes(range(256)) * 1000  # more than a pipe holds
    argv = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"]
    running = FaultyPrograms(SystemPrograms(), plan(fault)).start(argv)
    try:
        with os.fdopen(os.dup(running.fd), "rb") as output:
            found = output.read()
        assert found != said
        assert (len(found) < len(said)) == (fault != "flip")
        assert running.finish(timeout_s=60) == (None if fault == "early" else 0)
    finally:
        running.close()


def test_a_program_falls_silent_and_can_be_ended() -> None:
    argv = [sys.executable, "-c", "print('12345', end='')"]
    running = FaultyPrograms(SystemPrograms(), plan("silent")).start(argv)
    poll = select.poll()
    poll.register(running.fd, select.POLLIN)
    assert poll.poll(60_000)
    assert os.read(running.fd, 100) == b"12"
    assert not poll.poll(50), "nothing comes, and no end"
    running.close()


class Told:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def line(self) -> "Told":
        return self

    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        self.calls.append((phase, total_bytes, total_count))

    def advance(self, bytes: int = 0, count: int = 0) -> None:  # noqa: A002 - as in the port
        self.calls.append((bytes, count))

    def finish(self) -> None:
        self.calls.append("end")


def test_progress_fails_at_every_call_and_is_slow() -> None:
    calls: list[Callable[[FaultyProgress], None]] = [
        lambda progress: progress.start("copying", 1, None),
        lambda progress: progress.advance(1, 2),
        lambda progress: progress.finish(),
    ]
    inner, clock = Told(), ManualClock()
    for call in calls:
        with pytest.raises(OSError, match="terminal"):
            call(FaultyProgressLines(inner, plan("error")).line())
        assert inner.calls == []
    for call in calls:
        call(FaultyProgress(inner, plan("slow", clock=clock)))
    assert clock.monotonic_s() == 3 * SLOW_S
    assert inner.calls == [("copying", 1, None), (1, 2), "end"]


class Typewriter:
    """A printer whose PDF is the title."""

    def pdf(self, sheet: Sheet) -> bytes | None:
        return sheet.title.encode()


@pytest.mark.parametrize("fault", ["error", "absent", "flip", "cut"])
def test_printers_fail(fault: str) -> None:
    sheet = Sheet(title="Packing list", lines=(), code="x")
    printer = FaultyPrinter(Typewriter(), plan(fault))
    if fault == "error":
        with pytest.raises(OSError, match="font"):
            printer.pdf(sheet)
    else:
        made = printer.pdf(sheet)
        assert made != b"Packing list"
        assert (made is None) == (fault == "absent")


class OwnFile:
    """A file of this computer, opened by name and as content."""

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, list[str]()

    @contextmanager
    def opened(self, name: str = "") -> Iterator[int]:
        with (self.path / name).open("rb") as file:
            yield file.fileno()

    def was_read(self, blocks: int) -> None:
        self.told.append(f"{blocks} read")

    def reading_ended(self) -> None:
        self.told.append("ended")

    def __iter__(self) -> Iterator[memoryview]:
        raise AssertionError("the wrapper reads what it may spoil")


@pytest.mark.parametrize("fault", ["error", "slow", "flip", "cut", "forgetful"])
def test_files_that_somebody_else_reads_fail(tmp_path: Path, fault: str) -> None:
    (tmp_path / "a").write_bytes(DATA)
    clock = ManualClock()
    inner = OwnFile(tmp_path / "a")
    content = FaultyFileContent(inner, plan(fault, clock=clock))
    files = FaultyOpensFiles(OwnFile(tmp_path), plan(fault, clock=clock))
    reads: list[Callable[[], bytes]] = [
        lambda: descriptor_content(files.opened("a")),
        lambda: descriptor_content(content.opened()),
        lambda: b"".join(content),
    ]
    for read in reads:
        if fault == "error":
            with pytest.raises(OSError, match="device"):
                read()
            continue
        found = read()
        assert (found == DATA) == (fault not in {"flip", "cut"})
        assert (len(found) < len(DATA)) == (fault == "cut")
    content.was_read(2)
    content.reading_ended()
    assert inner.told == ([] if fault == "forgetful" else ["2 read", "ended"])
    assert (clock.monotonic_s() > 0) == (fault == "slow")
    assert (tmp_path / "a").read_bytes() == DATA


def descriptor_content(opened: AbstractContextManager[int]) -> bytes:
    with opened as descriptor:
        return os.read(descriptor, 1000)
