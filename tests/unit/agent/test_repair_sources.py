"""Single files, images and block devices that a policy names are read again as files are."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.vaulted import Vaulted, with_holes
from tests.unit.agent.test_repack import write
from tests.unit.agent.test_repair import biggest_pack
from tests.unit.agent.test_repair_unindexed import lose_with_index

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import open_point
from overland.agent.points.tree import PointTree
from overland.agent.repair.sourcefile import open_source
from overland.format.tree import KIND_FILE, Entry
from overland.values import PointId

KIB64 = 64 << 10
SIZE = 4 << 20


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    vaulted = Vaulted(tmp_path, pack_bytes=8 << 20)
    write(vaulted.source, "small", 1, 900)
    return vaulted


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image with data at three places, and zeros between."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for number, offset in enumerate((KIB64, 20 * KIB64, 50 * KIB64)):
            file.seek(offset)
            file.write(random.Random(number).randbytes(3 * KIB64))
    return path


@pytest.fixture
def device(image: Path) -> Iterator[Path]:
    """A link to a block device of the image's content."""
    if os.geteuid():
        pytest.skip("only root makes loop devices")
    made = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr}")
    node = made.stdout.strip()
    link = image.parent / "volume"
    link.symlink_to(node)
    try:
        yield link
    finally:
        subprocess.run(["losetup", "--detach", node], check=True)


def stored(vaulted: Vaulted, point_id: PointId, path: Path) -> bytes:
    """Return what a point gives back for a single file."""
    store = ChunkStore(vaulted.objects(), vaulted.keys)
    store.load_index()
    tree = PointTree(open_point(vaulted.objects(), vaulted.keys, point_id), store)
    entry = tree.entry(os.fsencode(path))
    assert entry is not None
    parts = [part for ids in tree.content_ids(entry) for part in store.read(ids)]
    return with_holes(entry, b"".join(parts))


def lose(vaulted: Vaulted, *, with_index: bool) -> None:
    if with_index:
        lose_with_index(vaulted, biggest_pack(vaulted))
    else:
        vaulted.disk.delete(biggest_pack(vaulted))


WITH_INDEX = pytest.mark.parametrize("with_index", [False, True], ids=["indexed", "unindexed"])


@WITH_INDEX
@pytest.mark.parametrize("is_link", [False, True], ids=["file", "link"])
def test_an_image_is_read_again_by_the_path_that_the_policy_names(
    vaulted: Vaulted, image: Path, *, with_index: bool, is_link: bool
) -> None:
    named = image
    if is_link:
        named = image.parent / "newest"
        named.symlink_to(image)
    point_id = vaulted.back_up(images=[named])
    lose(vaulted, with_index=with_index)
    report = vaulted.repair()
    assert report.is_whole, report.lost
    assert report.reread_chunks > 50
    vaulted.keeper.reclaim()
    assert stored(vaulted, point_id, named) == image.read_bytes()
    assert vaulted.check().is_whole


@pytest.mark.root
@WITH_INDEX
def test_a_block_device_is_read_again(
    vaulted: Vaulted, image: Path, device: Path, *, with_index: bool
) -> None:
    before = image.read_bytes()
    point_id = vaulted.back_up(images=[device])
    lose(vaulted, with_index=with_index)
    report = vaulted.repair()
    assert report.is_whole, report.lost
    assert report.reread_chunks > 50
    vaulted.keeper.reclaim()
    assert stored(vaulted, point_id, device) == before
    assert vaulted.check().is_whole


@pytest.mark.root
def test_of_a_device_that_changed_the_rest_comes_back_and_what_is_lost_is_told(
    vaulted: Vaulted, device: Path
) -> None:
    point_id = vaulted.back_up(images=[device])
    with device.open("r+b") as file:
        file.seek(21 * KIB64)
        file.write(bytes(100))
    lose(vaulted, with_index=False)
    report = vaulted.repair()
    assert report.reread_chunks > 50
    [lost] = report.lost[point_id]
    assert lost.path == os.fsencode(device)
    [(offset, length)] = lost.parts
    # In the image's data the second place begins behind the first one's three blocks.
    assert offset < 4 * KIB64 + 100
    assert offset + length > 4 * KIB64


def test_in_a_folder_no_link_is_followed(vaulted: Vaulted, tmp_path: Path) -> None:
    write(vaulted.source, "long", 5, 300_000)
    point_id = vaulted.back_up()
    (vaulted.source / "long").rename(tmp_path / "elsewhere")
    (vaulted.source / "long").symlink_to(tmp_path / "elsewhere")
    lose(vaulted, with_index=False)
    [lost] = vaulted.repair().lost[point_id]
    assert lost.path == os.fsencode(vaulted.source / "long")


@pytest.mark.root
def test_in_a_folder_a_device_is_not_read(device: Path) -> None:
    node = device.resolve()
    entry = entry_of(extents=None)
    with open_source(os.fsencode(node), entry, is_named=False) as file:
        assert file is None
    with open_source(os.fsencode(node), entry, is_named=True) as file:
        assert file is not None


def test_a_pipe_in_the_place_of_a_named_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "absent", "."):
        with open_source(os.fsencode(tmp_path / name), entry_of(None), is_named=True) as file:
            assert file is None


def test_data_is_read_across_holes_as_if_there_were_none(tmp_path: Path) -> None:
    content = random.Random(7).randbytes(2000)
    (tmp_path / "file").write_bytes(content)
    extents = ((10, 5), (100, 1), (101, 300), (900, 600))
    whole = b"".join(content[start : start + length] for start, length in extents)
    with open_source(os.fsencode(tmp_path / "file"), entry_of(extents), is_named=False) as file:
        assert file is not None
        assert file.data_bytes == len(whole)
        for offset in range(len(whole) + 2):
            for length in (0, 1, 7, 301, 2000):
                assert file.read(offset, length) == whole[offset : offset + length]


def entry_of(extents: tuple[tuple[int, int], ...] | None) -> Entry:
    return Entry(
        name=b"file",
        kind=KIND_FILE,
        mode=0o600,
        uid=0,
        gid=0,
        user=None,
        group=None,
        mtime_ns=0,
        size_bytes=2000,
        extents=extents,
    )
