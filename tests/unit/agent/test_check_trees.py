"""What was found whole in one point is not walked in the next, unless more is known to be bad."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.backed_up import BackedUp
from tests.support.torture import fast_folder

from overland.agent.check import trees
from overland.agent.check.trees import TreeChecks
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.agent.points.tree import PointTree
from overland.format.tree import Entry, TreeCorrupt, decode_nodes
from overland.values import PackId


def test_what_was_whole_is_looked_at_again_when_another_pack_turns_out_bad(tmp_path: Path) -> None:
    backed = BackedUp(tmp_path)
    (backed.source / "folder").mkdir(parents=True)
    (backed.source / "folder" / "file").write_bytes(b"content" * 1000)
    backed.back_up()
    point, store = backed.open()
    checks = TreeChecks(store)
    every = {PackId(path.stem) for path in backed.packs()}
    assert checks.problems(point, set()) == []
    [words] = checks.problems(point, every)
    assert "which is damaged" in words
    assert checks.problems(point, set()) == []


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    """Three points in many packs: long files, files of one chunk and of none, links, folders."""
    rng = random.Random(11)
    with fast_folder() as folder:
        world = BackedUp(folder, pack_bytes=1 << 15)
        for number in range(12):
            below = world.source / f"folder {number % 3}" / f"{number}"
            below.mkdir(parents=True)
            for name in range(number):
                (below / f"{name}").write_bytes(rng.randbytes(rng.choice([0, 10, 900, 9_000])))
            (below / "link").symlink_to("nowhere")
        (world.source / "long").write_bytes(rng.randbytes(300_000))
        world.back_up()
        (world.source / "folder 1" / "new").write_bytes(rng.randbytes(5_000))
        world.back_up()
        (world.source / "folder 2" / "2" / "1").write_bytes(rng.randbytes(90_000))
        world.back_up(world.source / "folder 2", world.source / "long")
        yield world


def one_by_one(point: Point, store: ChunkStore, bad: set[PackId]) -> dict[str, str]:
    """What is wrong with each path, each file looked at alone."""
    found: dict[str, str] = {}
    tree = PointTree(point, store)
    for step in tree.walk():
        if step.action == "leave" or step.entry is None or step.entry.kind != "file":
            continue
        for ids in tree.content_ids(step.entry):
            places, is_known = store.find(ids)
            packs = {store.pack_id(row) for row in places["pack"][is_known].tolist()} & bad
            reasons = ["its chunks are in no pack"] * (not is_known.all())
            reasons += [f"needs pack {pack}, which is damaged" for pack in sorted(packs)]
            if reasons:
                found.setdefault(step.path.decode(), " or ".join(reasons))
    return found


@pytest.mark.parametrize("together", [1, 5, 1 << 13])
def test_files_are_named_as_if_each_was_looked_at_alone(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(trees, "_SHOWN", 1000)
    monkeypatch.setattr(trees, "_TOGETHER", together)
    monkeypatch.setattr(trees, "_NODES", 1 + together % 7)
    rng = random.Random(together)
    every = sorted(PackId(path.stem) for number in range(3) for path in backed.packs(number))
    assert len(every) > 4
    seen = 0
    for number in range(3):
        for bad in [set[PackId](), set(every), *({rng.choice(every)} for _ in range(4))]:
            point, store = backed.open(number)
            expected = one_by_one(point, store, bad)
            words = TreeChecks(store).problems(point, bad)
            told = dict(each.removeprefix("'").split("': ", 1) for each in words)
            assert told.keys() == expected.keys()
            assert all(reason in expected[path] for path, reason in told.items())
            seen += len(told)
    assert seen


def test_files_whose_packs_no_index_knows_are_named_and_counted(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_TOGETHER", 7)  # a long file's chunks come in several turns
    point, store = backed.open()
    expected = one_by_one(point, store, set())
    assert not expected
    tree_packs = packs_of_trees(point, store)
    others = [path for number in range(3) for path in backed.packs(number)]
    lost = [path for path in others if PackId(path.stem) not in tree_packs]
    assert lost
    for path in lost:
        path.unlink()
    store.index.forget_packs(PackId(path.stem) for path in lost)
    expected = one_by_one(point, store, set())
    words = TreeChecks(store).problems(point, set())
    assert len(expected) > 10
    assert len(words) == 11
    assert words[-1] == f"and {len(expected) - 10} more"
    assert all("its chunks are in no pack" in each for each in words[:-1])


def packs_of_trees(point: Point, store: ChunkStore) -> set[PackId]:
    """The packs without which no folder can be read."""
    found = set[PackId]()
    tree = PointTree(point, store)
    for step in tree.walk():
        if step.action == "enter" and step.entry is not None:
            for ids in tree.content_ids(step.entry):
                places, _ = store.find(ids)
                found |= {store.pack_id(row) for row in places["pack"].tolist()}
    return found


def test_a_folder_that_cannot_be_read_hides_none_beside_it(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    point, store = backed.open(0)

    def refusing(encoded: Sequence[bytes], *, name: str) -> list[list[Entry]]:
        if any(b"\xc4\x013" in data for data in encoded):  # the entry named "3"
            raise TreeCorrupt(name, check="of this test")
        return decode_nodes(encoded, name=name)

    monkeypatch.setattr("overland.agent.points.tree.decode_nodes", refusing)
    words = TreeChecks(store).problems(point, set())
    refused = {
        each.removeprefix("'").partition("': ")[0].removeprefix(f"{backed.source}/")
        for each in words
        if "of this test" in each
    }
    assert refused == {"folder 0", *(f"folder {n % 3}/{n}" for n in range(4, 12) if n % 3)}
    assert len(words) == len(refused)
