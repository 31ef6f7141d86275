from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore
from tests.conformance.objects_contract import HEALED, ObjectsContract, Spoil
from tests.support.httpserver import data_plane, serving
from tests.support.simdisk import SimDisk
from tests.support.tls import authority

from overland.adapters import objectstore
from overland.adapters.folderobjects import FolderObjects, FolderSpaces
from overland.adapters.httpobjects import HttpObjects
from overland.adapters.objectstore import ObstoreObjects
from overland.adapters.posix import PosixFiles
from overland.ports.objects import Objects


class TestFolderObjects(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return FolderObjects(PosixFiles(tmp_path))

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Spoil:
        return lambda name, data: written(tmp_path / name, data)


class TestFolderObjectsInMemory(ObjectsContract):
    """What other tests use as a store."""

    @pytest.fixture
    def disk(self) -> SimDisk:
        return SimDisk()

    @pytest.fixture
    def objects(self, disk: SimDisk) -> Objects:
        return FolderObjects(disk)

    @pytest.fixture
    def spoil(self, disk: SimDisk) -> Spoil:
        return lambda name, data: rewritten(disk, name, data)


class TestFolderObjectsBelowAPrefix(ObjectsContract):
    @pytest.fixture
    def disk(self) -> SimDisk:
        return SimDisk()

    @pytest.fixture
    def objects(self, disk: SimDisk) -> Objects:
        disk.write("d2/neighbour", b"")
        return FolderObjects(disk, prefix="d/")

    @pytest.fixture
    def spoil(self, disk: SimDisk) -> Spoil:
        return lambda name, data: rewritten(disk, f"d/{name}", data)


class TestFolderSpaces(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        spaces = FolderSpaces(tmp_path)
        neighbour = spaces.open("accounts/harbour/seeds2")
        neighbour.put("a", [], size_bytes=0, sha256=EMPTY)
        return spaces.open("accounts/harbour/seeds")

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Spoil:
        return lambda name, data: written(tmp_path / "accounts/harbour/seeds" / name, data)


class TestHttpObjects(ObjectsContract):
    @pytest.fixture
    def disk(self) -> SimDisk:
        return SimDisk()

    @pytest.fixture
    def spoil(self, disk: SimDisk) -> Spoil:
        return lambda name, data: rewritten(disk, f"computer/{name}", data)

    @pytest.fixture
    def objects(self, disk: SimDisk) -> Iterator[Objects]:
        space = "vaults/9f3c9d5e-0d0b-4a5e-9f5e-0a2b5f0c7a11"
        disk.write("neighbour/a", b"")
        with serving(data_plane(FolderObjects(disk), space), authority()) as endpoint:
            yield HttpObjects(endpoint, space, "computer/", "grant", authority().ca_pem)


class TestObstoreObjects(ObjectsContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def objects(self, store: MemoryStore) -> Objects:
        store.put("d2/neighbour", b"")
        return ObstoreObjects(store, "d/")

    @pytest.fixture
    def spoil(self, store: MemoryStore) -> Spoil:
        return lambda name, data: spoilt(store, f"d/{name}", data)

    def test_long_objects_go_in_parts(
        self, objects: Objects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objectstore, "_ONE_REQUEST_BYTES", 6)
        self.test_content_comes_in_pieces_of_any_kind(objects)
        self.test_putting_the_same_object_again_changes_nothing(objects)
        self.test_an_object_is_never_replaced(objects, b"another")

    @pytest.mark.parametrize("name", HEALED)
    def test_long_objects_heal_too(
        self, objects: Objects, spoil: Spoil, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objectstore, "_ONE_REQUEST_BYTES", 6)
        self.test_right_bytes_take_the_place_of_damaged_ones(objects, spoil, name, b"damaged")

    def test_long_objects_are_healed_by_nothing_else(
        self, objects: Objects, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objectstore, "_ONE_REQUEST_BYTES", 6)
        self.test_only_the_bytes_that_the_name_promises_heal(objects, spoil)

    @pytest.mark.parametrize("content", [[b"conten"], [b"content", b"!"], [b"contenT"]])
    def test_long_content_that_is_not_what_was_announced_is_not_stored(
        self, objects: Objects, content: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objectstore, "_ONE_REQUEST_BYTES", 6)
        self.test_content_that_is_not_what_was_announced_is_not_stored(objects, content)


class TestObstoreObjectsInAFolder(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return ObstoreObjects(LocalStore(tmp_path))

    @pytest.fixture
    def spoil(self, tmp_path: Path) -> Spoil:
        return lambda name, data: written(tmp_path / name, data)


def written(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def rewritten(disk: SimDisk, name: str, data: bytes) -> None:
    disk.delete(name)
    disk.write(name, data)


def spoilt(store: MemoryStore, path: str, data: bytes) -> None:
    store.put(path, data)


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
