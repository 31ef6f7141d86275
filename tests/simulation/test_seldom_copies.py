"""What random stories seldom meet of the copies of recovery points' files in a vault."""

from uuid import UUID

import pytest
from tests.support.landed import VAULT, Computer, MemorySpaces, pack, put
from tests.support.simdisk import SimDisk

from overland.errors import ObjectCorrupt
from overland.format.point import MAX_POINT_BYTES
from overland.values import PointId, point_name
from overland.vault import copies

OWNER = Computer().owner
POINT = PointId(str(UUID(int=1)))
NAME = f"{VAULT}/{OWNER.prefix}{point_name(POINT)}"
COPY = f"{VAULT}/{copies.kept_name(OWNER, POINT)}"


@pytest.fixture
def disk() -> SimDisk:
    """A vault with one point."""
    made = SimDisk()
    _, data = Computer().point(1, [pack("content")])
    put(MemorySpaces(made).open(VAULT), OWNER.prefix + point_name(POINT), data)
    return made


def test_a_damaged_file_is_not_copied(disk: SimDisk) -> None:
    """A copy is made once, and would be wrong for ever."""
    disk.damage(NAME, offset=100)
    copies.keep(MemorySpaces(disk).open(VAULT), OWNER, [POINT])
    assert COPY not in {info.name for info in disk.names()}


def test_a_damaged_copy_takes_nothings_place(disk: SimDisk) -> None:
    """What is left of the file is all that anybody could still look at."""
    store = MemorySpaces(disk).open(VAULT)
    copies.keep(store, OWNER, [POINT])
    disk.damage(NAME, offset=100)
    disk.damage(COPY, offset=100)
    before = disk.read(NAME)
    assert not copies.put_back(store, OWNER, POINT)
    assert disk.read(NAME) == before


def test_what_is_longer_than_any_point_is_not_read(
    disk: SimDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source computer writes these files, and the cloud's memory is not its own."""
    size_bytes = SimDisk.size_bytes
    monkeypatch.setattr(
        SimDisk,
        "size_bytes",
        lambda disk, name: MAX_POINT_BYTES + 1 if name == NAME else size_bytes(disk, name),
    )
    monkeypatch.setattr(SimDisk, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ObjectCorrupt, match="longer"):
        copies.read_file(MemorySpaces(disk).open(VAULT), owner=OWNER, point_id=POINT)
