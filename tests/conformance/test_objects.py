from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore
from tests.conformance.objects_contract import ObjectsContract
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


class TestFolderObjectsInMemory(ObjectsContract):
    """What other tests use as a store."""

    @pytest.fixture
    def objects(self) -> Objects:
        return FolderObjects(SimDisk())


class TestFolderObjectsBelowAPrefix(ObjectsContract):
    @pytest.fixture
    def objects(self) -> Objects:
        disk = SimDisk()
        disk.write("d2/neighbour", b"")
        return FolderObjects(disk, prefix="d/")


class TestFolderSpaces(ObjectsContract):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        spaces = FolderSpaces(tmp_path)
        neighbour = spaces.open("accounts/harbour/seeds2")
        neighbour.put("a", [], size_bytes=0, sha256=EMPTY)
        return spaces.open("accounts/harbour/seeds")


class TestHttpObjects(ObjectsContract):
    @pytest.fixture
    def objects(self) -> Iterator[Objects]:
        space = "vaults/9f3c9d5e-0d0b-4a5e-9f5e-0a2b5f0c7a11"
        disk = SimDisk()
        disk.write("neighbour/a", b"")
        with serving(data_plane(FolderObjects(disk), space), authority()) as endpoint:
            yield HttpObjects(endpoint, space, "computer/", "grant", authority().ca_pem)


class TestObstoreObjects(ObjectsContract):
    @pytest.fixture
    def objects(self) -> Objects:
        store = MemoryStore()
        store.put("d2/neighbour", b"")
        return ObstoreObjects(store, "d/")

    def test_long_objects_go_in_parts(
        self, objects: Objects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objectstore, "_ONE_REQUEST_BYTES", 6)
        self.test_content_comes_in_pieces_of_any_kind(objects)
        self.test_putting_the_same_object_again_changes_nothing(objects)
        self.test_an_object_is_never_replaced(objects, b"another")

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


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
