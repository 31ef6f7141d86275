"""A large file of which most is stored is cut by comparing; its chunks are those of its content."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk

from overland.source.chunker import Chunker


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the chunks that were cut by content."""
    found: list[int] = []
    lengths = Chunker.lengths

    def counted(self: Chunker, data: memoryview) -> Iterator[int]:
        for length in lengths(self, data):
            found.append(length)
            yield length

    monkeypatch.setattr(Chunker, "lengths", counted)
    return found


@pytest.mark.parametrize("size", [2 << 20, 24 << 20], ids=["by a worker", "in pieces"])
@pytest.mark.parametrize("reads_all", [True, False])
def test_a_changed_or_moved_file_is_hardly_cut_by_content(
    tmp_path: Path, cut: list[int], *, size: int, reads_all: bool
) -> None:
    source, out, state = tmp_path / "source", SimDisk(), SimDisk()
    source.mkdir()
    data = random.Random(1).randbytes(size)

    def back_up(number: int) -> bytes:
        cut.clear()
        plan = make_plan(source, number=number, reads_all=reads_all)
        run(plan, repository=make_repository(state), out=out, stored=[out])
        tree = Tree(out, make_repository(SimDisk()), point_id(number))
        (content,) = [each for path, each in tree.contents.items() if path.endswith(b"file")]
        (entry,) = [each for path, each in tree.entries.items() if path.endswith(b"file")]
        assert content == (data if number == 1 else changed)
        return entry.content + bytes([entry.levels])

    (source / "file").write_bytes(data)
    back_up(1)
    by_content = len(cut)
    assert sum(cut) >= size
    place = size // 2
    changed = data[:place] + b"x" * 4096 + data[place:] + os.urandom(1000)
    (source / "file").write_bytes(changed)
    kept = back_up(2)
    assert len(cut) < by_content / 5
    (source / "file").rename(source / "a moved file")
    assert back_up(3) == kept
    assert len(cut) < by_content / 5


def test_files_of_one_batch_keep_their_own_chunks(tmp_path: Path) -> None:
    source, out, state = tmp_path / "source", SimDisk(), SimDisk()
    source.mkdir()
    rng = random.Random(2)
    for number in (1, 2, 3):
        for name in "abcdef":
            old = (source / name).read_bytes() if number > 1 else rng.randbytes(400_000)
            at = rng.randrange(len(old))
            (source / name).write_bytes(old[:at] + rng.randbytes(number) + old[at:])
        plan = make_plan(source, number=number)
        run(plan, repository=make_repository(state), out=out, stored=[out])
        found = Tree(out, make_repository(SimDisk()), point_id(number)).contents
        there = {os.fsencode(path): path.read_bytes() for path in source.iterdir()}
        assert found == there
