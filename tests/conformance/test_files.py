from pathlib import Path

import pytest
from tests.conformance.files_contract import FilesContract
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import SimDisk

from overland.adapters.posix import PosixFiles
from overland.adapters.volumes import create_folder_volume
from overland.ports.files import Files


class TestPosixFiles(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return PosixFiles(tmp_path)


class TestScratchFiles(FilesContract):
    """Nothing is synced, which only a power cut shows."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return PosixFiles(tmp_path, is_scratch=True)


class TestPosixFilesInMemory(FilesContract):
    """A file system without a medium, which may refuse what others allow."""

    @pytest.fixture
    def files(self, tmpfs: Path) -> Files:
        return PosixFiles(tmpfs)


class TestSimDisk(FilesContract):
    @pytest.fixture
    def files(self) -> Files:
        return SimDisk()


class TestFaultyFilesWithoutFaults(FilesContract):
    @pytest.fixture
    def files(self) -> Files:
        return FaultyFiles(SimDisk())


class TestFilesOfAFolderVolume(FilesContract):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return create_folder_volume(tmp_path, serial="WD-0001", capacity_bytes=1 << 30).files()
