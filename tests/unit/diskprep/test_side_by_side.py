"""Drives that are filled side by side end as if one had followed the other, and fail alone."""

import dataclasses
import errno
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import staged
from tests.support.faulty import FaultyFiles
from tests.support.importservice import Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives
from typing_extensions import override

from overland.adapters.posix import PosixFiles
from overland.adapters.volumes import FolderVolumes, create_folder_volume
from overland.diskprep import lanes
from overland.diskprep.filling import DriveFailed
from overland.diskprep.prepare import prepare_drives
from overland.diskprep.record import DriveState, Preparation
from overland.diskprep.refusals import DrivesMissing
from overland.errors import OutOfSpace
from overland.seeding.copying import SourceUnreadable
from overland.seeding.placement import SmallestDoesNotFit
from overland.seeding.staging import StagingLocation

PATIENCE_S = 120.0  # against waiting for ever
CONTENT = staged.objects(packs=(300_032, 200_192, 100_352))
SIZES = (320_000, 450_000, 4 << 20)
OnCall = Callable[[str, str], None]


class WatchedDrive(SimDrive):
    """A drive whose every operation is told to a test, which may let it fail."""

    on_call: OnCall

    @override
    def files(self) -> FaultyFiles:
        return FaultyFiles(self.disk, on_call=self.on_call)


def watched(on_call: OnCall | None = None) -> list[WatchedDrive]:
    """Return three drives that hold the seed together."""
    drives = [WatchedDrive(f"D{n}", capacity_bytes=size) for n, size in enumerate(SIZES, start=1)]
    for drive in drives:
        drive.on_call = on_call or (lambda _what, _name: None)
    return drives


def run(
    drives: list[WatchedDrive],
    operator: Operator | None = None,
    *,
    staging: SimDisk | FaultyFiles | None = None,
    local: SimDisk | None = None,
) -> Preparation:
    if staging is None:
        staging = SimDisk()
        staged.stage(staging, CONTENT)
    operator = operator or Operator(*(drive.path for drive in drives), at_once=True)
    work = bench(SimDrives(*drives), operator, local=local)
    seed = staged.location(staging).open(staged.SEED_ID)
    return prepare_drives(seed, work, staging=staged.STAGING)


def on_drive(drive: SimDrive) -> dict[str, bytes]:
    return {info.name: drive.disk.read(info.name) for info in drive.disk.names()}


@given(
    packs=st.lists(st.integers(1, 400).map(lambda n: n * 512), min_size=1, max_size=8),
    capacities=st.lists(st.integers(100_000, 500_000), min_size=1, max_size=4),
)
def test_drives_at_once_are_the_same_bytes_as_one_by_one(
    packs: list[int], capacities: list[int]
) -> None:
    staging = SimDisk()
    staged.stage(staging, staged.objects(packs=packs))
    ends = []
    for at_once in (False, True):
        sizes = [*capacities, 8 << 20]
        drives = [SimDrive(f"D{n}", capacity_bytes=size) for n, size in enumerate(sizes)]
        operator = Operator(*(drive.path for drive in drives), at_once=at_once)
        work = bench(SimDrives(*drives), operator)
        seed = staged.location(staging).open(staged.SEED_ID)
        try:
            done: object = prepare_drives(seed, work, staging=staged.STAGING).sealed()
        except SmallestDoesNotFit as refused:
            done = refused.serial
            drives = []  # what was begun before is finished in one way, and begun in the other
        ends.append((done, [on_drive(drive) for drive in drives], operator.paths))

    assert ends[0] == ends[1]


def test_staging_is_read_once_whatever_the_number_of_drives() -> None:
    reads = Counter[str]()

    def count(what: str, name: str) -> None:
        if what in {"blocks", "read", "read_range"}:
            reads[name] += 1

    staging = FaultyFiles(SimDisk(), on_call=count)
    staged.stage(staging, CONTENT)
    reads.clear()

    run(watched(), staging=staging)

    objects = {name: count for name, count in reads.items() if name.endswith((".pack", ".point"))}
    assert set(objects.values()) == {1}
    assert len(objects) == 4


def test_drives_are_written_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE_S)
    met = set[int]()

    def meet(what: str, _name: str) -> None:
        lane = threading.get_ident()
        if what == "write" and threading.current_thread() is not main and lane not in met:
            met.add(lane)
            meeting.wait()  # passes when three drives are within a write

    main = threading.current_thread()
    drives = watched(meet)

    assert run(drives).is_complete()
    assert len(met) == 3


def test_a_drive_is_verified_while_the_next_one_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "WRITTEN_AT_ONCE", 1)
    next_is_written, verified = threading.Event(), threading.Event()
    first, second, third = drives = watched()
    main = threading.current_thread()

    def on_first(what: str, name: str) -> None:
        if what == "blocks" and name.endswith(".pack"):
            assert next_is_written.wait(PATIENCE_S), "nothing is written while this is verified"
            verified.set()

    def on_other(what: str, _name: str) -> None:
        if what == "write" and threading.current_thread() is not main:
            next_is_written.set()
            assert verified.wait(PATIENCE_S), "nothing is verified while this is written"

    first.on_call, second.on_call, third.on_call = on_first, on_other, on_other

    assert run(drives).is_complete()


def _fail_in_lane(error: Exception, *, what: str, suffix: str = "") -> OnCall:
    main = threading.current_thread()

    def fail(operation: str, name: str) -> None:
        in_lane = threading.current_thread() is not main
        if in_lane and operation == what and name.endswith(suffix):
            raise error

    return fail


@pytest.mark.parametrize(
    ("error", "what", "expected"),
    [
        (OSError(errno.EIO, "Input/output error"), "write", DriveFailed),
        (OSError(errno.EIO, "Input/output error"), "blocks", DriveFailed),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "create", DriveFailed),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "sweep", DriveFailed),
        (OSError(errno.ENODEV, "No such device"), "publish", DriveFailed),
        (OutOfSpace("drive D2", needed_bytes=1, free_bytes=0), "write", OutOfSpace),
    ],
)
def test_a_drive_that_fails_is_named_and_the_others_are_finished(
    error: Exception, what: str, expected: type[Exception]
) -> None:
    local, drives = SimDisk(), watched()
    drives[1].on_call = _fail_in_lane(error, what=what)
    operator = Operator(*(drive.path for drive in drives), at_once=True)

    with pytest.raises(expected, match="D2"):
        run(drives, operator, local=local)

    finished = [drive.serial for drive in drives if "DriveManifest.xml" in on_drive(drive)]
    assert finished == ["D1", "D3"]
    steps = [drives[0].disk.steps, drives[2].disk.steps]
    drives[1].on_call = lambda _what, _name: None
    operator = Operator(drives[1].path, at_once=True)
    assert run(drives, operator, local=local).is_complete(), "connected again, it goes on"
    assert operator.plans == [], "without being erased"
    assert [drives[0].disk.steps, drives[2].disk.steps] == steps


def test_of_two_that_fail_both_are_named() -> None:
    drives = watched()
    for drive in drives[:2]:
        error = OSError(errno.EIO, "Input/output error")
        drive.on_call = _fail_in_lane(error, what="blocks", suffix=".pack")
    operator = Operator(*(drive.path for drive in drives), at_once=True)

    with pytest.raises(DriveFailed) as failed:
        run(drives, operator)

    named = f"{failed.value} {operator.told}"
    assert "drive D1" in named
    assert "drive D2" in named


def test_a_staging_location_that_fails_is_not_held_against_a_drive() -> None:
    staging = FaultyFiles(SimDisk())
    staged.stage(staging, CONTENT)
    victim = next(name for name in CONTENT if name.endswith(".pack"))
    staging.failing.add(f"seed-{staged.SEED_ID}/{victim}")

    with pytest.raises(SourceUnreadable) as failed:
        run(watched(), staging=staging)

    assert failed.value.name == victim


def test_drives_that_are_too_few_are_filled_before_another_is_asked_for() -> None:
    local, drives = SimDisk(), watched()
    operator = Operator(drives[0].path, drives[1].path, at_once=True)
    with pytest.raises(DrivesMissing) as missing:
        run(drives[:2], operator, local=local)
    assert missing.value.finished == 2

    done = run(drives, Operator(drives[2].path), local=local)

    assert done.is_complete()


def test_a_drive_that_is_not_needed_is_not_touched() -> None:
    drives = watched()
    spare = WatchedDrive("D4", capacity_bytes=4 << 20)
    operator = Operator(*(drive.path for drive in [*drives, spare]), at_once=True)

    run([*drives, spare], operator)

    assert operator.paths == [spare.path]
    assert spare.disk.steps == 0


def test_a_drive_named_twice_is_filled_once() -> None:
    drives = watched()
    paths = [drives[0].path, *(drive.path for drive in drives)]
    operator = Operator(*paths, at_once=True)

    done = run(drives, operator)

    assert [drive.state for drive in done.drives] == [DriveState.SEALED] * 3
    assert "drive D1 was named twice" in operator.told


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_size_of_objects(tmp_path: Path) -> None:
    """16 MiB for each of three drives, while each of them writes an object of 48 MiB."""
    for folder in ("staging", "local"):
        (tmp_path / folder).mkdir()
    files = PosixFiles(tmp_path / "staging")
    staged.stage(files, staged.objects(packs=[48 << 20] * 3))
    paths = [tmp_path / f"D{n}" for n in range(3)]
    for path in paths:
        create_folder_volume(path, serial=path.name, capacity_bytes=(48 << 20) + 600_000)
    operator = Operator(*map(str, paths), at_once=True)
    work = dataclasses.replace(bench(SimDrives(), operator), volumes=FolderVolumes())
    location = StagingLocation(str(tmp_path / "staging"), files_of=lambda _path: files)
    seed = location.open(staged.SEED_ID)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status_mib("VmRSS")

    done = prepare_drives(seed, work, staging=str(tmp_path / "staging"))

    assert done.is_complete()
    assert _status_mib("VmHWM") - before < 3 * 16 + 8


@pytest.mark.parametrize("stopped_at", ["write", "publish", "blocks", "sweep"])
def test_an_interrupt_ends_every_lane_and_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    """Ctrl-C comes to the main thread, wherever the lanes are just then."""
    monkeypatch.setattr(lanes, "WRITTEN_AT_ONCE", 2)
    main, reached, go_on = threading.current_thread(), threading.Event(), threading.Event()

    def reach(what: str, _name: str) -> None:
        if what == stopped_at and threading.current_thread() is not main:
            reached.set()
            assert go_on.wait(PATIENCE_S), "nobody told the lanes to stop"

    def interrupted(*_: object, **__: object) -> None:
        assert reached.wait(PATIENCE_S)
        go_on.set()
        raise KeyboardInterrupt

    staging, local, drives = SimDisk(), SimDisk(), watched(reach)
    staged.stage(staging, CONTENT)
    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(drives, staging=staging, local=local)
    assert threading.active_count() == before, "a thread outlived its lanes"

    for drive in drives:
        drive.on_call = lambda _what, _name: None
    assert run(drives, staging=staging, local=local).is_complete()
    plain = watched()
    assert run(plain).is_complete()
    whole = [{name for name in on_drive(drive) if name.endswith(".pack")} for drive in drives]
    assert whole == [{n for n in on_drive(drive) if n.endswith(".pack")} for drive in plain]
