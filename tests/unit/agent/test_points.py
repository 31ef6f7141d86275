"""Recovery points open with the passphrase alone, prove their maker, and list with few reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.simdisk import SimDisk
from tests.support.torture import fast_folder
from typing_extensions import override

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import (
    NoKeyring,
    PointAbsent,
    list_points,
    open_keys,
    open_point,
    read_public,
)
from overland.agent.points.tree import PathAbsent, PointTree
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.crypto.keys import PassphraseWrong
from overland.errors import IntegrityError
from overland.packing.index import Ids
from overland.values import ObjectInfo, PointId, point_name

UNKNOWN = PointId("00000000-0000-0000-0000-00000000ffff")


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        world = BackedUp(folder)
        (world.source / "a" / "b").mkdir(parents=True)
        (world.source / "a" / "b" / "deep.txt").write_bytes(b"deep")
        (world.source / "a" / "shallow.txt").write_bytes(b"shallow")
        (world.source / "c").mkdir()
        (world.source / "c" / "picture.jpg").write_bytes(bytes(100_000))
        for number in range(50):
            (world.source / "c" / f"folder {number}").mkdir()
        world.back_up()
        yield world


def tree_of(backed: BackedUp) -> tuple[PointTree, ChunkStore]:
    point, store = backed.open()
    return PointTree(point, store), store


def inside(backed: BackedUp, path: str) -> bytes:
    return str(backed.source / path).encode()


def test_the_recovery_kit_opens_what_the_passphrase_opens(backed: BackedUp) -> None:
    by_kit = open_keys(backed.objects(), recovery_kit=backed.recovery_kit)
    by_passphrase = open_keys(backed.objects(), passphrase=PASSPHRASE)
    assert by_kit.chunk_id.reveal() == by_passphrase.chunk_id.reveal()


def test_a_wrong_passphrase_opens_nothing(backed: BackedUp) -> None:
    with pytest.raises(PassphraseWrong):
        open_keys(backed.objects(), passphrase="not the right passphrase")


def test_a_place_without_a_keyring_says_so() -> None:
    empty = LayeredObjects([("drive", SeedFolderObjects(SimDisk(), BackedUp.place_id(0)))])
    with pytest.raises(NoKeyring):
        open_keys(empty, passphrase=PASSPHRASE)


def test_a_damaged_keyring_is_passed_over_for_an_older_one(backed: BackedUp) -> None:
    (backed.folder() / "keys" / "00000002.keyring").write_bytes(b"{}")
    open_keys(backed.objects(), passphrase=PASSPHRASE)
    (backed.folder() / "keys" / "00000001.keyring").write_bytes(b"{}")
    with pytest.raises(NoKeyring) as refused:
        open_keys(backed.objects(), passphrase=PASSPHRASE)
    assert refused.value.damaged == 2


def test_points_are_listed_oldest_first_and_damaged_ones_by_name(backed: BackedUp) -> None:
    backed.back_up()
    objects = backed.objects()
    keys = open_keys(objects, passphrase=PASSPHRASE)
    listing = list_points(objects, keys)
    assert [point.kind for point in listing.points] == ["seed", "incremental"]
    assert [point.point_id for point in listing.points] == [r.point_id for r in backed.results]
    name = f"points/{backed.results[1].point_id}.point"
    damaged = bytearray((backed.folder(1) / name).read_bytes())
    damaged[100] ^= 1
    (backed.folder(1) / name).write_bytes(damaged)
    listing = list_points(backed.objects(), keys)
    assert [point.kind for point in listing.points] == ["seed"]
    assert listing.damaged == (name,)


def test_a_point_under_another_points_name_is_refused(backed: BackedUp) -> None:
    points = backed.folder() / "points"
    genuine = points / f"{backed.results[0].point_id}.point"
    (points / f"{UNKNOWN}.point").write_bytes(genuine.read_bytes())
    objects = backed.objects()
    keys = open_keys(objects, passphrase=PASSPHRASE)
    with pytest.raises(IntegrityError):
        read_public(objects, keys, UNKNOWN)


def test_an_unknown_point_is_refused(backed: BackedUp) -> None:
    objects = backed.objects()
    with pytest.raises(PointAbsent):
        open_point(objects, open_keys(objects, passphrase=PASSPHRASE), UNKNOWN)


def test_a_folder_is_listed_without_what_is_below_it(backed: BackedUp) -> None:
    tree, _ = tree_of(backed)
    shown = [(path, entry.kind) for path, entry in tree.list_folder(inside(backed, "a"))]
    assert shown == [
        (inside(backed, "a/b"), "folder"),
        (inside(backed, "a/shallow.txt"), "file"),
    ]
    below = [path for path, _ in tree.list_folder(inside(backed, "a"), recursive=True)]
    assert below == [
        inside(backed, "a/b"),
        inside(backed, "a/b/deep.txt"),
        inside(backed, "a/shallow.txt"),
    ]


def test_above_the_roots_the_roots_are_listed(backed: BackedUp) -> None:
    tree, _ = tree_of(backed)
    assert [path for path, _ in tree.list_folder(b"/")] == [str(backed.source).encode()]


def test_a_file_is_listed_as_itself(backed: BackedUp) -> None:
    tree, _ = tree_of(backed)
    [(path, entry)] = tree.list_folder(inside(backed, "a/b/deep.txt"))
    assert (path, entry.size_bytes) == (inside(backed, "a/b/deep.txt"), 4)


@pytest.mark.parametrize("path", ["x", "a/b/deep.txt/x", "a/x/deep.txt"])
def test_a_path_that_is_not_there_is_refused(backed: BackedUp, path: str) -> None:
    tree, _ = tree_of(backed)
    with pytest.raises(PathAbsent):
        list(tree.list_folder(inside(backed, path)))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"*.txt", ["a/b/deep.txt", "a/shallow.txt"]),
        (b"*/b/*", ["a/b/deep.txt"]),
        (b"picture.???", ["c/picture.jpg"]),
        (b"nothing", []),
    ],
    ids=["name", "path", "one-character", "none"],
)
def test_names_and_paths_are_found(backed: BackedUp, pattern: bytes, expected: list[str]) -> None:
    tree, _ = tree_of(backed)
    assert [path for path, _ in tree.find(pattern)] == [inside(backed, path) for path in expected]


def test_listing_reads_nodes_and_no_content(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, store = tree_of(backed)
    asked: list[int] = []
    read = store.read

    def counting(ids: Ids) -> list[bytes]:
        asked.append(len(ids))
        return read(ids)

    monkeypatch.setattr(store, "read", counting)
    list(tree.list_folder(inside(backed, "a")))
    assert sum(asked) <= 6, "the nodes of the root and of one folder, read twice at most"


def test_chunks_are_found_without_any_index_file(backed: BackedUp) -> None:
    for index in backed.folder().glob("index/*"):
        index.unlink()
    tree, store = tree_of(backed)
    assert len(store.index) == 0
    assert len(list(tree.find(b"*.txt"))) == 2


def test_a_damaged_index_file_is_noted_and_not_needed(backed: BackedUp) -> None:
    [index] = backed.folder().glob("index/*")
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    tree, store = tree_of(backed)
    assert store.damaged == [f"index/{index.name}"]
    assert len(list(tree.find(b"*.txt"))) == 2


def test_walking_chosen_paths_takes_each_once_and_nothing_else(backed: BackedUp) -> None:
    tree, _ = tree_of(backed)
    chosen = [inside(backed, path) for path in ("a/b", "a", "c/picture.jpg")]
    shown = [step.path for step in tree.walk(chosen) if step.action == "entry"]
    assert shown == [
        inside(backed, path) for path in ("a/b/deep.txt", "a/shallow.txt", "c/picture.jpg")
    ]


def test_several_roots_are_walked_and_one_inside_another_once(backed: BackedUp) -> None:
    backed.back_up(backed.source / "a", backed.source / "c", backed.source / "a" / "b")
    tree, _ = tree_of(backed)
    files = [step.path for step in tree.walk() if step.action == "entry"]
    assert files == [
        inside(backed, path) for path in ("a/b/deep.txt", "a/shallow.txt", "c/picture.jpg")
    ]
    assert Path(files[0].decode()).is_relative_to(backed.source)


def test_a_point_that_goes_while_points_are_listed_is_left_out(backed: BackedUp) -> None:
    goes, stays = backed.results[0].point_id, backed.back_up().point_id

    class Emptied(LayeredObjects):
        @override
        def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
            listed = list(super().names(prefix, start_after=start_after))
            (backed.folder(0) / point_name(goes)).unlink()
            return iter(listed)

    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    places = [(f"place {n}", SeedFolderObjects(backed.files, backed.place_id(n))) for n in (0, 1)]
    listing = list_points(Emptied(places), keys)
    assert [public.point_id for public in listing.points] == [stays]
    assert listing.damaged == listing.unproven == ()
