"""What becomes of the work when who only looks at it, or is read by it, fails."""

import sys
from collections.abc import Callable, Iterator

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.backups import FixedClock, Tree, make_plan, make_repository, point_id
from tests.support.faulty import FaultPlan
from tests.support.faulty_ports import FaultyPrograms, FaultyProgress
from tests.support.simdisk import SimDisk
from tests.support.torture import fast_folder

from overland.adapters.programs import SystemPrograms
from overland.agent.backup.run import back_up
from overland.agent.check.run import check
from overland.agent.compare import compare_trees
from overland.agent.points.reading import open_keys
from overland.agent.restore.run import RestoreOptions, restore
from overland.ports.progress import NullProgress
from overland.source.streams import StreamSource

SAID = bytes(range(256)) * 1000


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        made = BackedUp(folder)
        made.source.mkdir()
        for number in range(60):
            (made.source / f"file {number}").write_bytes(bytes([number]) * 50_000)
        yield made


@pytest.mark.parametrize("seed", range(12))
def test_a_backup_whose_display_fails_harms_nothing_and_stores_nothing_twice(
    backed: BackedUp, seed: int
) -> None:
    """Whichever call of it fails, in whichever thread, the run ends with that very error."""
    out, state = SimDisk(), SimDisk()
    fails = FaultPlan(seed, faults=("error",), rate=0.04, at_most=4)
    ends = [
        ended(
            lambda: back_up(
                make_plan(backed.source, pack_bytes=1 << 16, workers=2),
                repository=make_repository(state),
                out=out,
                clock=FixedClock(),
                progress=FaultyProgress(NullProgress(), fails),
            )
        )
        for _ in range(5)
    ]
    assert {"whole"} <= set(ends) <= {"whole", "simulated end of the terminal"}
    tree = Tree(out, make_repository(SimDisk()), point_id(1))
    assert sorted(map(len, tree.contents.values())) == [50_000] * 60
    listed = {ref.name for ref in tree.parsed.public.objects}
    assert {info.name for info in out.names("packs/")} <= listed, "nothing is left over"


@pytest.mark.parametrize("seed", range(8))
def test_a_restore_and_a_check_whose_display_fails_can_be_run_again(
    backed: BackedUp, seed: int
) -> None:
    backed.back_up()
    fails = FaultPlan(seed, faults=("error",), rate=0.2, at_most=3)
    progress = FaultyProgress(NullProgress(), fails)
    point, store = backed.open()
    options = RestoreOptions(
        strip=str(backed.source).encode(), sync=False, resume=True, processes=0
    )
    target = str(backed.target).encode()
    ends = [
        ended(
            lambda: restore(point, store=store, target=target, progress=progress, options=options)
        )
        for _ in range(4)
    ]
    assert {"whole"} <= set(ends) <= {"whole", "simulated end of the terminal"}
    assert compare_trees(backed.source, backed.target).differences == []
    assert list(backed.target.rglob(".overland-*")) == []

    fails = FaultPlan(seed, faults=("error",), at_most=1)
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    with pytest.raises(OSError, match="end of the terminal"):
        check(backed.place(0), progress=FaultyProgress(NullProgress(), fails), keys=keys)
    report = check(backed.place(0), progress=FaultyProgress(NullProgress(), fails), keys=keys)
    assert report.is_whole


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("error", "cannot be run"),
        ("status", "ended with exit status 1"),
        ("killed", "killed by SIGKILL"),
        ("early", "did not end within"),
        ("silent", "gave nothing for"),
    ],
)
def test_a_program_that_fails_in_any_way_is_not_in_the_point_and_the_rest_is(
    backed: BackedUp, fault: str, reason: str
) -> None:
    backed.back_up()
    timeout_s = 2.0 if fault == "silent" else 60.0  # the others end by themselves
    result = backed.back_up(streams=(said_by(fault, timeout_s=timeout_s),))
    assert [failed.path for failed in result.failed] == [b"/dump"]
    assert reason in result.failed[0].reason
    assert backed.restore().problem_count == 0
    assert compare_trees(backed.source, backed.target).differences == []


@pytest.mark.parametrize("fault", ["slow", "flip", "cut"])
def test_what_came_of_a_program_that_ended_well_is_what_comes_back(
    backed: BackedUp, fault: str
) -> None:
    """Of what a program meant to say, its good end is the only proof there is."""
    backed.back_up()
    result = backed.back_up(streams=(said_by(fault, timeout_s=60.0),))
    assert result.failed == ()
    backed.restore(strip=b"/")
    content = (backed.target / "dump").read_bytes()
    assert (content == SAID) == (fault == "slow")
    assert (len(content) == len(SAID)) == (fault != "cut")
    expected = result.statistics.source_bytes - 60 * 50_000
    assert len(content) == expected, "and it is counted as it came"


def ended(act: Callable[[], object]) -> str | None:
    """Return how something ended."""
    try:
        act()
    except OSError as error:
        return error.strerror
    return "whole"


def said_by(fault: str, *, timeout_s: float) -> StreamSource:
    programs = FaultyPrograms(SystemPrograms(), FaultPlan(1, faults=(fault,)))
    argv = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"]
    return StreamSource(path="/dump", timeout_s=timeout_s, open=lambda: programs.start(argv))
