"""A part of a folder keeps the promises of a folder."""

from pathlib import Path

import pytest
from tests.conformance.files_contract import FilesContract
from tests.support.simdisk import SimDisk

from overland.adapters.posix import PosixFiles
from overland.ports.files import Files
from overland.seeding.subfolder import Subfolder


class TestSubfolderOfPosixFiles(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return Subfolder(PosixFiles(tmp_path), "seed-1/part")


class TestSubfolderOfSimDisk(FilesContract):
    @pytest.fixture
    def files(self) -> Files:
        return Subfolder(SimDisk(), "seed-1")


def test_neighbours_are_out_of_sight_and_out_of_reach() -> None:
    disk = SimDisk()
    disk.write("seed-10/a", b"neighbour")
    disk.write("b", b"above")
    part = Subfolder(disk, "seed-1")

    part.write("a", b"own")

    assert [info.name for info in part.names()] == ["a"]
    assert disk.read("seed-1/a") == b"own"
    for name in ("../b", "/b", "", "a/../../b"):
        with pytest.raises(ValueError, match="relative name"):
            part.read(name)
