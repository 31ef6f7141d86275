"""What does not hold together is named by a restore, and nothing else is restored in its place."""

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.backed_up import BackedUp

from overland.agent.backup.chain import add_pack
from overland.agent.restore.report import RestoreIncomplete, TargetOccupied
from overland.format.tree import Entry
from overland.packing.writer import PackWriter
from overland.sealing.seal import SegmentSealer
from overland.seeding.subfolder import Subfolder
from overland.source import entries


@pytest.fixture
def backed(tmp_path: Path) -> BackedUp:
    made = BackedUp(tmp_path)
    for folder in ("one", "two", "two/below"):
        (made.source / folder).mkdir(parents=True)
        for number in range(3):
            (made.source / folder / str(number)).write_bytes(os.urandom(20_000))
    return made


@pytest.mark.parametrize("by", [-1, 1], ids=["too short", "too long"])
def test_a_file_whose_chunks_do_not_add_up_to_its_size_is_not_restored(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, by: int
) -> None:
    (backed.source / "wrong").write_bytes(os.urandom(50_000))
    real = entries.Entries.make

    def make(made: entries.Entries, name: bytes, *state: Any, **fields: Any) -> Entry:
        entry = real(made, name, *state, **fields)
        return replace(entry, size_bytes=entry.size_bytes + by) if name == b"wrong" else entry

    with monkeypatch.context() as patched:
        patched.setattr(entries.Entries, "make", make)
        backed.back_up()
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    assert [one.path for one in incomplete.value.report.problems] == [
        os.fsencode(backed.source / "wrong")
    ]
    assert not (backed.target / "wrong").exists()
    assert (backed.target / "two" / "below" / "2").exists()


def test_whatever_pack_is_lost_each_file_that_lacks_is_named_or_a_folder_above_it(
    backed: BackedUp,
) -> None:
    backed.back_up()
    files = {path for path in backed.source.rglob("*") if path.is_file()}
    folders = set[bytes]()
    assert len(backed.packs()) > 1, "folders lie in a pack of their own"
    for number, pack in enumerate(backed.packs()):
        away = pack.rename(pack.with_suffix(".away"))
        target = backed.target / str(number)
        with pytest.raises(RestoreIncomplete) as incomplete:
            backed.restore(target=target)
        away.rename(pack)
        named = {os.fsdecode(one.path) for one in incomplete.value.report.problems}
        folders |= {os.fsencode(path) for path in named if Path(path).is_dir()}
        for file in files:
            if not (target / file.relative_to(backed.source)).exists():
                assert named & {str(file), *map(str, file.parents)}, file
    assert folders, "one of the packs has the folders"


def test_a_pack_that_gives_a_chunk_another_content_is_not_believed(backed: BackedUp) -> None:
    backed.back_up()
    truth = b"the content that was backed up"
    lie = truth[::-1]
    (backed.source / "later").write_bytes(truth)
    backed.back_up()
    files = Subfolder(backed.files, backed.folder(1).name)
    chunk_id = backed.repository.chunk_id(truth)
    for pack in backed.packs(1):
        index = backed.repository.new_index()
        add_pack(
            backed.repository,
            files,
            index,
            name=pack.relative_to(backed.folder(1)).as_posix(),
            size_bytes=pack.stat().st_size,
        )
        if not index.unknown(chunk_id):
            pack.unlink()
    seal = backed.repository.new_pack()
    sealed = SegmentSealer(level=3).seal(memoryview(lie), seal)
    writer = PackWriter(files, header=seal.header)
    writer.append(
        sealed.data,
        raw_bytes=len(lie),
        codec=sealed.codec,
        ids=[chunk_id],
        lengths=[len(lie)],
    )
    writer.finish(seal.seal_directory).publish()
    for index_file in backed.folder(1).glob("index/*"):
        index_file.unlink()
    with pytest.raises(RestoreIncomplete) as incomplete:
        backed.restore()
    assert [one.path for one in incomplete.value.report.problems] == [
        os.fsencode(backed.source / "later")
    ]
    assert not (backed.target / "later").exists()


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_what_is_in_the_way_of_a_folder_is_refused_before_anything_is_changed(
    backed: BackedUp, tmp_path: Path, kind: str
) -> None:
    backed.back_up()
    backed.target.mkdir()
    taken, elsewhere = backed.target / "two", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "file":
        taken.write_bytes(b"mine")
    elif kind == "link":
        taken.symlink_to(elsewhere)
    else:
        os.mkfifo(taken)
    with pytest.raises(TargetOccupied) as occupied:
        backed.restore()
    assert list(occupied.value.paths) == [os.fsencode(backed.source / "two")]
    assert list(backed.target.iterdir()) == [taken]
    assert list(elsewhere.iterdir()) == []
