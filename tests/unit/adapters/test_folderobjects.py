import hashlib
import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import PowerCut, SimDisk

from overland.adapters.folderobjects import FolderObjects, FolderSpaces
from overland.errors import ObjectExists, OutOfSpace

EMPTY = hashlib.sha256().hexdigest()


@pytest.mark.parametrize(
    "space",
    [
        "",
        "accounts",
        "accounts/harbour",
        "accounts/harbour/",
        "accounts/../vaults",
        "accounts/harbour/..",
        "accounts/harbour/seeds/deeper",
        "Accounts/harbour/seeds",
        "accounts/har bour/seeds",
        "vaults/9F3C9D5E-0D0B-4A5E-9F5E-0A2B5F0C7A11",
        "vaults/1",
        "/vaults/9f3c9d5e-0d0b-4a5e-9f5e-0a2b5f0c7a11",
    ],
)
def test_a_space_has_one_of_two_forms(tmp_path: Path, space: str) -> None:
    with pytest.raises(ValueError, match="space"):
        FolderSpaces(tmp_path).open(space)


def test_a_space_comes_into_being_with_its_first_object(tmp_path: Path) -> None:
    space = FolderSpaces(tmp_path).open("accounts/harbour/seeds")
    assert list(space.names()) == []
    assert list(tmp_path.iterdir()) == []
    space.put("a", [], size_bytes=0, sha256=EMPTY)
    assert [
        each.name for each in FolderSpaces(tmp_path).open("accounts/harbour/seeds").names()
    ] == ["a"]


def test_a_name_is_a_blob_or_a_folder_and_the_first_one_stays(tmp_path: Path) -> None:
    space = FolderSpaces(tmp_path).open("accounts/harbour/$root")
    space.put("a", [], size_bytes=0, sha256=EMPTY)
    space.put("b/c", [], size_bytes=0, sha256=EMPTY)
    for name in ("a/below", "b"):
        with pytest.raises(ObjectExists):
            space.put(name, [], size_bytes=0, sha256=EMPTY)
    space.delete("b")
    assert [each.name for each in space.names()] == ["a", "b/c"]


def test_a_full_store_is_told_and_keeps_what_it_had() -> None:
    disk = SimDisk(capacity_bytes=10)
    objects = FolderObjects(disk)
    content = b"123456"
    sha256 = hashlib.sha256(content).hexdigest()
    objects.put("a", [content], size_bytes=6, sha256=sha256)
    with pytest.raises(OutOfSpace):
        objects.put("b", [content], size_bytes=6, sha256=sha256)
    assert [info.name for info in objects.names()] == ["a"]
    assert disk.free_bytes() == 4, "nothing is left behind"


def test_content_of_an_object_that_is_there_is_not_asked_for() -> None:
    objects = FolderObjects(SimDisk())
    objects.put("a", [], size_bytes=0, sha256=EMPTY)

    class Unread:
        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("not needed")

    objects.put("a", Unread(), size_bytes=0, sha256=EMPTY)


def test_of_two_that_put_one_name_at_a_time_the_first_stays() -> None:
    both_checked = threading.Barrier(2)
    seen: set[int] = set()

    def meet(operation: str, _name: str) -> None:
        # Each looks for the object, finds none, begins to write: only then may they publish.
        if operation == "write" and threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            both_checked.wait(120)

    objects = FolderObjects(FaultyFiles(SimDisk(), on_call=meet))
    outcomes: list[str] = []

    def put(content: bytes) -> None:
        try:
            sha256 = hashlib.sha256(content).hexdigest()
            objects.put("a", [content], size_bytes=len(content), sha256=sha256)
        except ObjectExists:
            outcomes.append("exists")
        else:
            outcomes.append(content.decode())

    threads = [threading.Thread(target=put, args=(content,)) for content in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) in (["exists", "one"], ["exists", "two"])
    assert objects.read("a").decode() in outcomes


CONTENT = b"pack" * 128
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PACK = f"packs/{DIGEST[:2]}/{DIGEST}.pack"


def put(objects: FolderObjects, name: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    objects.put(name, [content], size_bytes=len(content), sha256=digest)


@pytest.mark.parametrize("name", [PACK, f"computer/{PACK}", f"computer/index/{DIGEST}.index"])
@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], b"P" + CONTENT[1:]], ids=len)
def test_the_right_bytes_take_the_place_of_damaged_ones(name: str, damaged: bytes) -> None:
    disk = SimDisk()
    objects = FolderObjects(disk)
    disk.write(name, damaged)
    with pytest.raises(ObjectExists):
        put(objects, name, b"others")
    assert objects.read(name) == damaged
    put(objects, name, CONTENT)
    assert objects.read(name) == CONTENT


@pytest.mark.parametrize("name", ["points/one.point", f"keys/{DIGEST}", "packs/3f/one.pack"])
def test_what_is_not_named_by_its_digest_is_never_replaced(name: str) -> None:
    disk = SimDisk()
    disk.write(name, b"damaged")
    with pytest.raises(ObjectExists):
        put(FolderObjects(disk), name, CONTENT)
    assert disk.read(name) == b"damaged"


def test_healing_leaves_the_damaged_or_the_right_bytes_at_every_power_cut() -> None:
    for step in itertools.count():
        disk = SimDisk()
        disk.write(PACK, b"damaged")
        disk = disk.restart(cut_at=step)
        try:
            put(FolderObjects(disk), PACK, CONTENT)
        except PowerCut:
            finished = False
        else:
            finished = True
        seen = disk.restart().read(PACK)
        assert seen == CONTENT if finished else seen in {b"damaged", CONTENT}
        if finished:
            break


def test_a_long_block_is_its_owners_again_only_when_it_was_hashed_and_written() -> None:
    disk, buffer, digest = SimDisk(), bytearray(8 << 20), hashlib.sha256()
    blocks = [random.Random(number).randbytes(len(buffer)) for number in range(3)]
    for block in blocks:
        digest.update(block)

    def content() -> Iterator[memoryview]:
        for block in blocks:
            buffer[:] = block
            yield memoryview(buffer)

    size_bytes = len(blocks) * len(buffer)
    store = FolderObjects(disk)
    store.put("a", content(), size_bytes=size_bytes, sha256=digest.hexdigest())

    assert store.read("a") == b"".join(blocks)
