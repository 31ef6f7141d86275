"""Runs of a policy with snapshots, by the real commands, on real file systems; in the machine."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machine.guestdisk import LVM_DISK, ZFS_DISK, run
from tests.support.registered import registered, typed

from overland.cli.outcome import Exit

NAME = "overlandtest"
CHANGE = "import sys; open(sys.argv[1], 'w').write('after'); print('dumped')"


@pytest.fixture(params=["zfs", "lvm"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def volume(mode: str, tmp_path: Path) -> Iterator[Path]:
    """A ZFS dataset, or ext4 on a logical volume, mounted."""
    place = tmp_path / "volume"
    if mode == "zfs":
        run("zpool", "create", "-f", "-m", place, NAME, ZFS_DISK)
        yield place
        run("zpool", "destroy", "-f", NAME)
        return
    place.mkdir()
    run("vgcreate", "--yes", NAME, LVM_DISK)
    run("lvcreate", "--yes", "--size", "400m", "--name", "data", NAME)
    run("mkfs.ext4", "-q", f"/dev/{NAME}/data")
    run("mount", f"/dev/{NAME}/data", place)
    yield place
    run("umount", place)
    run("vgremove", "--yes", NAME)


def left(mode: str) -> list[str]:
    """The snapshots that are there."""
    if mode == "zfs":
        return run("zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", NAME).split()
    names = run("lvs", "--noheadings", "--options", "lv_name", NAME).split()
    return [name for name in names if name != "data"]


def test_a_policy_with_snapshots_is_backed_up_and_restored_as_of_their_instant(
    mode: str, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("OVERLAND_HOME", str(home))
    file = volume / "documents" / "file"
    file.parent.mkdir()
    file.write_text("before")
    create = ["policy", "create", "all", "--source", volume, "--snapshot", mode]
    create += ["--command", "dump", "--", sys.executable, "-c", CHANGE, file]
    target = tmp_path / "restored"
    with registered(tmp_path):
        for words in (create, ["backup", "now", "all"], ["restore", "newest", "--target", target]):
            done = typed(*words)
            print(done.output)  # noqa: T201 - it is read on the console
            assert done.exit_code == Exit.OK, done.output
    assert file.read_text() == "after", "commands begin after the snapshots"
    assert (target / "dump").read_text() == "dumped\n"
    assert Path(f"{target}{file}").read_text() == "before"
    assert left(mode) == []
