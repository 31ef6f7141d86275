"""A pack is lost with all that describes it, here too: repair needs no index to know what lacks.

That is what a power cut leaves that takes the saved index of a backup which has just ended, before
the vault loses the pack and its index file.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.backed_up import SMALL_CHUNKS
from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write
from tests.unit.agent.test_repair import biggest_pack, copy_of, mend_source

from overland.agent.data import chunk_sizes
from overland.agent.policy import Policies, Policy
from overland.agent.repair.run import RepairReport, repair
from overland.packing.reader import read_directory
from overland.source.chunker import DEFAULT_SIZES, IMAGE_SIZES, Sizes
from overland.values import PackId, PointId

LONG = 400_000  # a hundred chunks of the size that these backups cut


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    """Two points; a long file, one of one chunk, and one with a hole."""
    vaulted = Vaulted(tmp_path, pack_bytes=1 << 20)
    write(vaulted.source, "long", 1, LONG)
    write(vaulted.source, "short", 2, 900)
    with (vaulted.source / "holes").open("wb") as file:
        for offset in (0, 300_000, 700_000):
            file.seek(offset)
            file.write((vaulted.source / "long").read_bytes()[offset // 7 :][:50_000])
    vaulted.back_up()
    write(vaulted.source, "later", 3, 60_000)
    vaulted.back_up()
    return vaulted


def lose_with_index(vaulted: Vaulted, *packs: str) -> None:
    """Delete packs, all index files, and everything that this computer remembers."""
    for name in packs:
        vaulted.disk.delete(name)
    for info in list(vaulted.disk.names("index/")):
        vaulted.disk.delete(info.name)
    for info in list(vaulted.state.names()):
        vaulted.state.delete(info.name)


def lost_paths(vaulted: Vaulted, report: RepairReport) -> dict[PointId, set[bytes]]:
    prefix = str(vaulted.source).encode() + b"/"
    return {
        point_id: {file.path.removeprefix(prefix) for file in files}
        for point_id, files in report.lost.items()
    }


def chunks_of(vaulted: Vaulted, names: set[str]) -> int:
    """Return how many chunks are in packs of the vault, by their own directories."""
    return sum(
        len(
            read_directory(
                vaulted.vault,
                PackId(name[9:-5]),
                size_bytes=vaulted.disk.size_bytes(name),
                open_pack=vaulted.repository.open_pack,
            ).directory.chunks
        )
        for name in names
    )


def test_copies_in_staging_bring_everything_back(vaulted: Vaulted) -> None:
    staging = copy_of(vaulted.disk)
    before = {info.name: vaulted.disk.read(info.name) for info in vaulted.disk.names()}
    lose_with_index(vaulted, *vaulted.packs())
    mend_source(vaulted)
    report = vaulted.repair(staging=staging)
    assert report.is_whole
    assert set(report.fetched) == {n for n in before if n.startswith(("packs/", "index/"))}
    assert {info.name: vaulted.disk.read(info.name) for info in vaulted.disk.names()} == before


def test_the_source_is_cut_again(vaulted: Vaulted) -> None:
    pack = biggest_pack(vaulted)
    lose_with_index(vaulted, pack)
    before = vaulted.packs()
    report = vaulted.repair()
    assert report.is_whole, report.lost
    assert not report.salvaged_chunks
    assert report.reread_chunks > 50, "more than one can be told by what is left of a file"
    assert report.reread_chunks == chunks_of(vaulted, vaulted.packs() - before)
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole
    assert vaulted.repair().replacement_id is None, "and is repaired once"


def test_a_file_that_grew_in_the_middle_gives_what_it_still_has(vaulted: Vaulted) -> None:
    path = vaulted.source / "long"
    before = path.read_bytes()
    path.write_bytes(before[:200_000] + b"something new" + before[200_000:])
    lose_with_index(vaulted, biggest_pack(vaulted))
    report = vaulted.repair()
    assert report.reread_chunks > 50
    assert all(paths == {b"long"} for paths in lost_paths(vaulted, report).values())
    assert set(report.lost) == set(vaulted.keeper.living())


def test_what_is_nowhere_is_named_file_by_file(vaulted: Vaulted) -> None:
    first, second = vaulted.keeper.living()
    lose_with_index(vaulted, biggest_pack(vaulted))
    mend_source(vaulted)
    report = vaulted.repair()
    assert not report.salvaged_chunks + report.reread_chunks
    lost = {b"long", b"short", b"holes"}
    assert lost_paths(vaulted, report) == {first: lost, second: lost}
    again = vaulted.repair()
    assert again.lost == report.lost, "and named as often as it is asked"
    assert again.replacement_id is None


def test_lost_folders_are_named_and_come_back_with_the_next_backup(vaulted: Vaulted) -> None:
    last = vaulted.last["documents"]
    lose_with_index(vaulted, *vaulted.packs())
    assert lost_paths(vaulted, vaulted.repair())[last] == {str(vaulted.source).encode()}
    vaulted.back_up()
    vaulted.repair()
    assert vaulted.restored(last) == vaulted.contents[last]


def test_without_the_sizes_of_the_policy_only_the_names_are_left(vaulted: Vaulted) -> None:
    """Files that are one chunk need no cutting; the others are named, and nothing wrong is kept."""
    lose_with_index(vaulted, biggest_pack(vaulted))
    shop = vaulted.workshop()
    other = Sizes(min_bytes=2048, mean_bytes=8192, max_bytes=32768)
    assert other != SMALL_CHUNKS
    report = repair(replace(shop, chunk_sizes=[other]), {})
    assert report.reread_chunks
    for paths in lost_paths(vaulted, report).values():
        assert paths <= {b"long", b"holes"}
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable(but=list(report.lost))


def test_files_are_cut_by_the_sizes_of_every_policy_that_can_be_read() -> None:
    disk = SimDisk()
    policies = Policies(disk)
    for name, mean_kib in (("files", 512), ("mail", 256), ("other", 512)):
        policy = Policy(name=name, sources=("/srv",), first_copy="network", mean_chunk_kib=mean_kib)
        policies.save(policy)
    disk.write("policies/broken.policy.json", b"{")
    sizes = chunk_sizes(policies)
    assert sizes == [Sizes.around(512 << 10), IMAGE_SIZES, DEFAULT_SIZES]
    assert Sizes.around(1 << 20) == Sizes(min_bytes=1 << 18, mean_bytes=1 << 20, max_bytes=1 << 22)
