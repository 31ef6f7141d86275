"""The power fails at every step of a backup; what is there afterwards is whole, and is used."""

import os
from pathlib import Path

import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import PowerCut, SimDisk

from overland.errors import ObjectAbsent
from overland.values import is_object_name

pytestmark = pytest.mark.crash


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(6):
        folder = tmp_path / f"folder-{number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(30_000))
    (tmp_path / "large").write_bytes(os.urandom(5 << 20))
    return tmp_path


def back_up(source: Path, out: SimDisk, state: SimDisk, *, number: int = 1) -> None:
    run(
        make_plan(source, number=number, pack_bytes=4 << 20),
        repository=make_repository(state),
        out=out,
        stored=[out],
    )


def whole_points(out: SimDisk, source: Path) -> int:
    """Return how many points are visible, each of which is whole."""
    found = 0
    for number in (1, 2):
        try:
            tree = Tree(out, make_repository(SimDisk()), point_id(number))
        except ObjectAbsent:
            continue
        found += 1
        for path, data in tree.contents.items():
            assert data == Path(os.fsdecode(path)).read_bytes()
        assert len(tree.contents) == sum(len(files) for _, _, files in os.walk(source))
    return found


def steps_of_a_whole_run(source: Path, *, of: str) -> int:
    out, state = SimDisk(), SimDisk()
    back_up(source, out, state)
    return out.steps if of == "out" else state.steps


def test_a_cut_at_every_step_of_the_staging_location(source: Path) -> None:
    """Every pack that is visible afterwards is whole; the next run uses it and finishes."""
    for step in range(steps_of_a_whole_run(source, of="out") + 1):
        out, state = SimDisk(cut_at=step, seed=step), SimDisk()
        try:
            back_up(source, out, state)
        except PowerCut:
            after = out.restart(seed=step)
            for info in after.names():
                assert is_object_name(info.name)
            whole_points(after, source)
            kept = {info.name for info in after.names("packs/")}
            back_up(source, after, state)
            assert whole_points(after, source) == 1, f"after a cut at {out.trail[-1:]}"
            assert kept <= {info.name for info in after.names("packs/")}
            packs_bytes = sum(info.size_bytes for info in after.names("packs/"))
            assert packs_bytes < 6_200_000, "nothing is stored twice"


def test_a_cut_at_every_step_of_the_hints(source: Path) -> None:
    """Hints never claim what is not stored: the next point is whole whatever they have become."""
    for step in range(steps_of_a_whole_run(source, of="state") + 1):
        out, state = SimDisk(), SimDisk(cut_at=step, seed=step)
        try:
            back_up(source, out, state)
        except PowerCut:
            after = state.restart(seed=step)
            if whole_points(out, source):
                back_up(source, out, after, number=2)
                assert whole_points(out, source) == 2
            else:
                back_up(source, out, after)
                assert whole_points(out, source) == 1


@pytest.mark.parametrize("seed", range(24))
def test_a_cut_after_a_run_that_nobody_took_note_of_costs_no_chunk(source: Path, seed: int) -> None:
    """The hints have their names, for which nobody waited; the next run builds on the old point.

    What the lost point brought is nobody's, and goes before the next run.  Whichever of the hints
    survived, none is believed that knows it.
    """
    out, state = SimDisk(), SimDisk(seed=seed)
    back_up(source, out, state)
    state.catch_up()
    before = {info.name for info in out.names()}
    for name in ("new", "folder-0/f0", "folder-1/f1"):
        (source / name).write_bytes(os.urandom(50_000))
    back_up(source, out, state, number=2)
    for name in {info.name for info in out.names()} - before:
        out.delete(name)
    back_up(source, out, state.restart(), number=2)
    tree = Tree(out, make_repository(SimDisk()), point_id(2))
    assert len(tree.contents) == 8
    assert all(Path(os.fsdecode(path)).read_bytes() == data for path, data in tree.contents.items())


def test_an_unchanged_run_writes_the_head_of_the_index_alone(source: Path) -> None:
    out, state = SimDisk(), SimDisk()
    back_up(source, out, state)
    back_up(source, out, state, number=2)
    before = len(state.trail)
    back_up(source, out, state, number=3)
    renames = [step for step in state.trail[before:] if step.startswith(("rename", "unlink"))]
    (head,) = [info.name for info in state.names("chunks/") if "." not in info.name]
    assert renames == [f"rename to {head}"]


def test_a_cut_in_an_incremental_harms_neither_point(source: Path) -> None:
    base_out, base_state = SimDisk(), SimDisk()
    back_up(source, base_out, base_state)
    (source / "new").write_bytes(os.urandom(50_000))
    (source / "folder-0" / "f0").write_bytes(b"changed")
    for step in range(60):
        out = base_out.restart(cut_at=step, seed=step)
        state = base_state.restart(seed=step)
        try:
            back_up(source, out, state, number=2)
        except PowerCut:
            after = out.restart(seed=step)
            back_up(source, after, state.restart(seed=step), number=2)
            tree = Tree(after, make_repository(SimDisk()), point_id(2))
            assert tree.contents[os.fsencode(source / "folder-0/f0")] == b"changed"
            assert len(tree.contents) == 8
            assert len(Tree(after, make_repository(SimDisk()), point_id(1)).contents) == 7
        else:
            break
    else:
        pytest.fail("the run has more steps than were cut")
