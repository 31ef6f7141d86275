"""A run of a policy with snapshots, by the real commands, on a real btrfs on a loop device."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.registered import registered, typed

from overland.cli.outcome import Exit


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    image, place = tmp_path / "btrfs.img", tmp_path / "volume"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount btrfs here: {done.stderr}")
    try:
        yield place
    finally:
        # Lazily: the commands ran in this process, which keeps the hints mapped until it ends.
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None, reason="needs root and btrfs-progs"
)
def test_the_agents_own_folder_is_not_read_in_the_snapshot_of_its_volume(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(volume / "home"))
    (volume / "file").write_text("x")
    with registered(tmp_path):
        for words in (
            ("policy", "create", "all", "--source", volume, "--snapshot", "btrfs"),
            ("backup", "now", "all"),
        ):
            done = typed(*words)
            assert done.exit_code == Exit.OK, done.output
        listed = typed("points", "ls", "newest", volume, "-r").output
        assert str(volume / "file") in listed
        home = volume / "home" / "agent"
        assert home.is_dir()
        assert str(home) not in listed, "its keys have no business in the point"
        assert sorted(path.name for path in volume.iterdir()) == ["file", "home"]
