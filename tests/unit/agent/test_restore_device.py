"""An image goes back onto a block device whole, and onto nothing that somebody uses.

The devices are loop devices.
"""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.backed_up import PASSPHRASE, BackedUp

from overland.agent.restore.device import (
    DeviceDiffers,
    DeviceReport,
    DeviceUnusable,
    TargetDevice,
    image_entry,
    restore_to_device,
)
from overland.cli.main import overland
from overland.errors import ObjectAbsent
from overland.ports.progress import NullProgress

MIB = 1 << 20
DEVICE_BYTES = 12 * MIB
OLD = bytes(range(1, 256)) * (DEVICE_BYTES // 255 + 1)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("losetup") is None, reason="needs root and losetup"
    ),
]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The file behind the device, full of old data."""
    path = tmp_path / "disk.img"
    path.write_bytes(OLD[:DEVICE_BYTES])
    return path


@pytest.fixture
def device(disk: Path) -> Iterator[str]:
    made = subprocess.run(
        ["losetup", "--find", "--show", disk], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr}")
    try:
        yield made.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def sparse(path: Path, size_bytes: int, *extents: tuple[int, int], seed: int = 1) -> None:
    """Write a file with random data in these ranges, and holes between them."""
    numbers = random.Random(seed)
    with path.open("wb") as file:
        for offset, length in extents:
            file.seek(offset)
            file.write(numbers.randbytes(length))
        file.truncate(size_bytes)


def backed_up(folder: Path, size_bytes: int, *extents: tuple[int, int]) -> tuple[BackedUp, Path]:
    backed = BackedUp(folder / "backup")
    image = folder / "image.raw"
    sparse(image, size_bytes, *extents)
    backed.back_up(images=(image,), roots=())
    return backed, image


def put_back(backed: BackedUp, image: Path, device: str, *, verify: bool = False) -> DeviceReport:
    point, store = backed.open()
    tree, entry = image_entry(point, os.fsencode(image), store)
    with closing(TargetDevice(device)) as target:
        return restore_to_device(
            tree, entry, store=store, device=target, progress=NullProgress(), verify=verify
        )


SHAPES = {
    "data alone": (5 * MIB, [(0, 5 * MIB)]),
    "an odd size": (3 * MIB + 777, [(0, 3 * MIB + 777)]),
    "holes everywhere": (9 * MIB, [(64 << 10, 4096), (MIB - 4096, 8192), (7 * MIB, MIB)]),
    "a hole at the end": (9 * MIB, [(0, 100_000)]),
    "no data at all": (4 * MIB, []),
    "nothing": (0, []),
    "smaller than the head": (10_000, [(0, 10_000)]),
    "as large as the device": (DEVICE_BYTES, [(0, MIB), (DEVICE_BYTES - 5000, 5000)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_device_holds_the_image_and_zeros_and_nothing_old(
    shape: str, tmp_path: Path, device: str, disk: Path
) -> None:
    size_bytes, extents = SHAPES[shape]
    backed, image = backed_up(tmp_path, size_bytes, *extents)
    report = put_back(backed, image, device, verify=True)
    assert disk.read_bytes() == image.read_bytes().ljust(DEVICE_BYTES, b"\0")
    assert report.size_bytes == size_bytes
    assert report.data_bytes + report.zero_bytes == report.verified_bytes == DEVICE_BYTES
    assert report.data_bytes <= sum(length for _, length in extents) + 16 * 4096 * len(extents)


def test_what_the_kernel_cannot_zero_is_written(device: str, disk: Path) -> None:
    ranges = [(0, 5), (4095, 4097), (70_000, 5 * MIB + 3), (11 * MIB + 1, DEVICE_BYTES)]
    found = []
    for can_zero in (True, False):
        with closing(TargetDevice(device)) as target:
            target._can_zero = can_zero
            target.write(OLD[:DEVICE_BYTES], 0)
            for start, end in ranges:
                target.zero(start, end)
            target.sync()
        found.append(disk.read_bytes())
    expected = bytearray(OLD[:DEVICE_BYTES])
    for start, end in ranges:
        expected[start:end] = bytes(end - start)
    assert found == [bytes(expected)] * 2


def test_a_device_that_is_mounted_is_refused_and_stays(tmp_path: Path, device: str) -> None:
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    backed, image = backed_up(tmp_path, MIB, (0, MIB))
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", device, place], check=True)
    try:
        (place / "file").write_text("kept")
        with pytest.raises(DeviceUnusable, match="mounted or otherwise in use"):
            put_back(backed, image, device)
        assert (place / "file").read_text() == "kept"
    finally:
        subprocess.run(["umount", place], check=True)
    subprocess.run(["fsck.ext4", "-fn", device], check=True, capture_output=True)


def test_nobody_can_mount_a_device_that_is_written_to(tmp_path: Path, device: str) -> None:
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    with closing(TargetDevice(device)):
        done = subprocess.run(["mount", device, tmp_path], check=False, capture_output=True)
    assert done.returncode != 0


def test_a_device_that_is_too_small_or_none_is_refused_and_stays(
    tmp_path: Path, device: str, disk: Path
) -> None:
    backed, image = backed_up(tmp_path, DEVICE_BYTES + 1, (0, MIB))
    with pytest.raises(DeviceUnusable, match="12,582,913"):
        put_back(backed, image, device)
    assert disk.read_bytes() == OLD[:DEVICE_BYTES]
    for other in (str(disk), "/dev/null", str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(DeviceUnusable):
            TargetDevice(other)
    point, store = backed.open()
    with pytest.raises(DeviceUnusable, match="no file"):
        image_entry(point, os.fsencode(tmp_path), store)


def test_a_device_whose_restore_did_not_end_shows_nothing(
    tmp_path: Path, device: str, disk: Path
) -> None:
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    backed, image = backed_up(tmp_path, 9 * MIB, (0, 9 * MIB))
    backed.packs()[-1].unlink()
    with pytest.raises(ObjectAbsent):
        put_back(backed, image, device)
    assert disk.read_bytes()[:MIB] == bytes(MIB)
    assert subprocess.run(["blkid", "-p", device], check=False).returncode == 2, "nothing known"


def test_a_device_that_gives_back_other_bytes_is_found_out(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed, image = backed_up(tmp_path, 9 * MIB, (0, 9 * MIB))
    blocks = TargetDevice.blocks

    def flipped(target: TargetDevice) -> Iterator[bytes]:
        target.write(b"\x01", 10 * MIB)  # behind the image, where zeros are promised
        return blocks(target)

    monkeypatch.setattr(TargetDevice, "blocks", flipped)
    with pytest.raises(DeviceDiffers):
        put_back(backed, image, device, verify=True)


def typed(*words: object, answer: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(overland, [str(word) for word in words], input=answer)
    return done.exit_code, done.output


def test_the_command_writes_a_device_only_when_told_twice(
    tmp_path: Path, device: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    backed, image = backed_up(tmp_path, 2 * MIB, (0, MIB))
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE)
    secret.chmod(0o600)
    words: list[object] = ["restore", "newest", image, "--target-device", device]
    words += ["--from", backed.folder(), "--passphrase-file", secret]
    status, said = typed(*words)
    assert status != 0, "nobody is there to ask"
    assert "--yes" in said
    for wrong in (["--target", "x"], ["--resume"], ["--strip", "/a"], ["/second"]):
        status, said = typed(*words, "--yes", *wrong)
        assert (status, "Traceback" in said) == (2, False), wrong
    assert disk.read_bytes() == OLD[:DEVICE_BYTES]
    status, said = typed(*words, "--yes", "--verify", "--json")
    assert status == 0, said
    assert json.loads(said[said.index("{") :])["verified_bytes"] == DEVICE_BYTES
    assert disk.read_bytes() == image.read_bytes().ljust(DEVICE_BYTES, b"\0")
