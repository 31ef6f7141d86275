"""The power fails at every step of a restore onto a device: nobody takes half an image for one."""

import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.support.backed_up import BackedUp
from tests.support.simdisk import PowerCut

from overland.agent.restore.device import (
    DeviceReport,
    TargetDevice,
    image_entry,
    restore_to_device,
)
from overland.errors import IntegrityError
from overland.ports.progress import NullProgress

pytestmark = pytest.mark.crash

MIB: Final = 1 << 20
OLD: Final = b"\xa5" * (4 * MIB)


class SimDevice:
    """A `TargetDevice` in memory that loses power at a step; what was not synced may be lost."""

    path = "/dev/simulated"

    def __init__(self, *, cut_at: int | None = None, seed: int = 0) -> None:
        self.size_bytes, self.steps = len(OLD), 0
        self._cut_at, self._random = cut_at, random.Random(seed)
        self._medium = bytearray(OLD)
        self._pending: list[tuple[int, bytes]] = []

    def write(self, data: bytes | memoryview, offset: int) -> None:
        self._step()
        self._pending.append((offset, bytes(data)))

    def zero(self, start: int, end: int) -> None:
        self._step()
        self._pending.append((start, bytes(max(0, end - start))))

    def sync(self) -> None:
        self._step()
        self._settle(self._pending)

    def blocks(self) -> Iterator[bytes]:
        seen = bytearray(self._medium)
        for offset, data in self._pending:
            seen[offset : offset + len(data)] = data
        yield bytes(seen)

    def after_a_power_cut(self) -> bytes:
        """Return what is on the medium: what was synced, and whatever else got there."""
        self._settle([each for each in self._pending if self._random.random() < 0.5])
        return bytes(self._medium)

    def _settle(self, writes: list[tuple[int, bytes]]) -> None:
        for offset, data in writes:
            self._medium[offset : offset + len(data)] = data
        self._pending = []

    def _step(self) -> None:
        if self.steps == self._cut_at:
            raise PowerCut
        self.steps += 1


@pytest.fixture
def image(tmp_path: Path) -> tuple[BackedUp, Path]:
    """Data in the head, behind it, and at the end, and holes between."""
    backed, path = BackedUp(tmp_path / "backup"), tmp_path / "image.raw"
    numbers = random.Random(1)
    with path.open("wb") as file:
        for offset in (0, MIB - 5000, 2 * MIB, 3 * MIB - 9000):
            file.seek(offset)
            file.write(numbers.randbytes(9000))
    backed.back_up(images=(path,), roots=())
    return backed, path


def put_back(image: tuple[BackedUp, Path], device: Any) -> DeviceReport:  # a model of the real one
    backed, path = image
    point, store = backed.open()
    tree, entry = image_entry(point, os.fsencode(path), store)
    return restore_to_device(
        tree, entry, store=store, device=device, progress=NullProgress(), verify=False
    )


def test_after_a_cut_at_any_step_a_device_is_what_it_was_or_nothing_or_the_image(
    image: tuple[BackedUp, Path],
) -> None:
    whole = image[1].read_bytes().ljust(len(OLD), b"\0")
    put_back(image, counted := SimDevice())
    assert counted.steps > 10
    for step in range(counted.steps + 1):
        for seed in range(6):
            device = SimDevice(cut_at=step, seed=seed)
            try:
                put_back(image, device)
                is_done = True
            except PowerCut:
                is_done = False
            left = device.after_a_power_cut()
            is_harmless = left[:MIB] == bytes(MIB) or left in {OLD, whole}
            assert is_harmless, f"half an image after a cut at {step}"
            is_whole = left == whole
            assert is_whole or not is_done, "it returned, so that the image is durable"


def test_an_image_with_fewer_bytes_than_it_says_is_never_filled_up_with_zeros(
    image: tuple[BackedUp, Path],
) -> None:
    """Its entry and its chunks do not agree: a writer's mistake, and no hole."""
    backed, path = image
    point, store = backed.open()
    tree, entry = image_entry(point, os.fsencode(path), store)
    device: Any = SimDevice()  # a model of the real one
    with pytest.raises(IntegrityError, match="fewer bytes"):
        restore_to_device(
            tree,
            replace(entry, extents=None),
            store=store,
            device=device,
            progress=NullProgress(),
            verify=False,
        )
    assert device.after_a_power_cut()[:MIB] == bytes(MIB)


# -- the device itself ---------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TargetDevice]:
    """A file that passes for a device: what the kernel answers is the test's own."""
    path = tmp_path / "device"
    path.write_bytes(OLD)
    monkeypatch.setattr(stat, "S_ISBLK", lambda _: True)
    made = TargetDevice(str(path))
    yield made
    made.close()


def content(target: TargetDevice) -> bytes:
    return Path(target.path).read_bytes()


def test_a_device_that_refuses_to_zero_is_written_to(target: TargetDevice) -> None:
    """As it does with the first range of all: a file knows no such call."""
    target.zero(0, MIB)
    target.zero(2 * MIB + 5, 3 * MIB)
    assert content(target) == bytes(MIB) + OLD[:MIB] + OLD[:5] + bytes(MIB - 5) + OLD[:MIB]


def test_writes_that_the_device_cuts_short_are_finished(
    target: TargetDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:1000], at))
    target.write(bytes(4500), 77)
    assert content(target)[:5000] == OLD[:77] + bytes(4500) + OLD[: 5000 - 4577]


def test_what_is_verified_comes_from_the_medium(
    target: TargetDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages are dropped from memory before the first is read."""
    said: list[str] = []
    advise, pread = os.posix_fadvise, os.pread

    def advised(fd: int, offset: int, length: int, advice: int) -> None:
        assert (fd, offset, length, advice) == (target.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        said.append("dropped")
        advise(fd, offset, length, advice)

    def read(fd: int, length: int, offset: int) -> bytes:
        said.append("read")
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "pread", read)
    assert b"".join(target.blocks()) == OLD
    assert said[:2] == ["dropped", "read"]
