"""What a restore that has returned leaves survives a power cut."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp

from overland.agent.compare import Rules, compare_trees
from overland.agent.restore.target import sync_file_system

RULES = Rules(owners=os.geteuid() == 0)


class Syncs:
    """Notes what of a restore was there whenever something was synced."""

    def __init__(self, backed: BackedUp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.target: list[list[str]] = []
        self.devices: list[int] = []

        def differences() -> list[str]:
            return [
                str(each) for each in compare_trees(backed.source, backed.target, RULES).differences
            ]

        def sync_target(fd: int) -> None:
            self.target.append(differences())
            self.devices.append(os.fstat(fd).st_dev)
            sync_file_system(fd)

        monkeypatch.setattr("overland.agent.restore.work.sync_file_system", sync_target)
        monkeypatch.setattr(os, "sync", lambda: pytest.fail("it reports no write that failed"))


@pytest.fixture
def backed(tmp_path: Path) -> BackedUp:
    made = BackedUp(tmp_path)
    (made.source / "folder").mkdir(parents=True)
    (made.source / "folder" / "small").write_bytes(b"a few bytes")
    (made.source / "folder" / "large").write_bytes(os.urandom(2_000_000))
    (made.source / "folder" / "name").hardlink_to(made.source / "folder" / "small")
    (made.source / "link").symlink_to("folder")
    made.back_up()
    return made


@pytest.fixture
def mounted(backed: BackedUp) -> Iterator[Path]:
    """Another file system in the place of a folder in the target."""
    folder = backed.target / "folder"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_the_targets_file_system_is_synced_when_all_is_there(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(backed, monkeypatch)
    backed.restore(sync=True)
    assert syncs.target == [[]], "once, and nothing lacked any more"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_file_systems_that_are_mounted_in_the_target_are_synced_too(
    backed: BackedUp, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(backed, monkeypatch)
    backed.restore(sync=True, on_conflict="overwrite")
    assert (mounted / "large").exists()
    devices = [folder.stat().st_dev for folder in (mounted, backed.target)]
    assert syncs.devices == devices, "each once"
    assert syncs.target == [[], []], "and nothing lacked any more"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_file_system_in_the_target_that_failed_to_write_fails_the_restore(
    backed: BackedUp, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(fd: int) -> None:
        if os.fstat(fd).st_dev == mounted.stat().st_dev:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("overland.agent.restore.work.sync_file_system", failing)
    with pytest.raises(OSError, match="Input/output error"):
        backed.restore(sync=True, on_conflict="overwrite")
