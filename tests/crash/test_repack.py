"""A power cut at any step of repack or repair: points stay, and the next run finishes it."""

import shutil
from pathlib import Path

import pytest
from tests.support.simdisk import PowerCut
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write


def worn(folder: Path) -> Vaulted:
    vaulted = Vaulted(folder)
    for number in range(4):
        write(vaulted.source, f"file{number}", number, 20_000)
    first = vaulted.back_up()
    for number in range(3):
        (vaulted.source / f"file{number}").unlink()
    vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    return vaulted


@pytest.mark.parametrize("disk", ["disk", "state", "spool"])
@pytest.mark.parametrize("offset", range(3))
def test_power_cut_at_every_step(tmp_path: Path, disk: str, offset: int) -> None:
    step = offset
    finished = False
    while not finished:
        folder = tmp_path / str(step)
        folder.mkdir()
        vaulted = worn(folder)
        setattr(vaulted, disk, getattr(vaulted, disk).restart(cut_at=step, seed=step))
        vaulted.restart()
        try:
            vaulted.repack()
        except PowerCut:
            pass
        else:
            finished = True
        for name in ("disk", "state", "spool"):
            setattr(vaulted, name, getattr(vaulted, name).restart(seed=step))
        vaulted.restart()
        vaulted.assert_all_restorable()
        write(vaulted.source, "later", 77, 5_000)
        if step % 2:
            vaulted.back_up()
        vaulted.repack()
        vaulted.keeper.reclaim()
        vaulted.assert_all_restorable()
        assert vaulted.check().is_whole
        shutil.rmtree(folder)
        step += 3


@pytest.mark.parametrize("disk", ["disk", "state", "spool"])
@pytest.mark.parametrize("offset", range(2))
def test_power_cut_at_every_step_of_a_repair(tmp_path: Path, disk: str, offset: int) -> None:
    step = offset
    finished = False
    while not finished:
        folder = tmp_path / str(step)
        folder.mkdir()
        vaulted = Vaulted(folder)
        for number in range(4):
            write(vaulted.source, f"file{number}", number, 20_000)
        vaulted.back_up()
        vaulted.state.catch_up()  # without the saved index repair could not tell what is lost
        vaulted.disk.delete(max(vaulted.packs(), key=vaulted.disk.size_bytes))
        for info in list(vaulted.disk.names("index/")):
            vaulted.disk.delete(info.name)
        setattr(vaulted, disk, getattr(vaulted, disk).restart(cut_at=step, seed=step))
        vaulted.restart()
        try:
            vaulted.repair()
        except PowerCut:
            pass
        else:
            finished = True
        for name in ("disk", "state", "spool"):
            setattr(vaulted, name, getattr(vaulted, name).restart(seed=step))
        vaulted.restart()
        assert vaulted.repair().is_whole
        vaulted.assert_all_restorable()
        vaulted.keeper.reclaim()
        vaulted.assert_all_restorable()
        assert vaulted.check().is_whole
        shutil.rmtree(folder)
        step += 2
