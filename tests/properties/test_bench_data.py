"""The benchmark's data: the same for the same seed, and like what it stands for."""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pytest
from bench.data import DATA_SETS, generate, modify

SCALE: Final = 0.001
BLOCK: Final = 4096


def contents(folder: Path) -> dict[str, str]:
    """Every file's path and the digest of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def both_versions(name: str, folder: Path, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    generate(name, folder, scale=SCALE, seed=seed)
    first = contents(folder)
    modify(name, folder, scale=SCALE, seed=seed)
    return first, contents(folder)


@pytest.mark.parametrize("name", list(DATA_SETS))
def test_the_same_seed_gives_the_same_bytes_in_another_process(name: str, tmp_path: Path) -> None:
    here = both_versions(name, tmp_path / "here", 1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert here == pool.submit(both_versions, name, tmp_path / "there", 1).result()
    assert here[0] != here[1], "the second version is another one"
    assert here[0] != both_versions(name, tmp_path / "other", 2)[0]


@pytest.mark.parametrize("name", list(DATA_SETS))
def test_a_data_set_has_about_the_size_that_it_says(name: str, tmp_path: Path) -> None:
    generate(name, tmp_path / "data", scale=SCALE, seed=1)
    size = sum(path.stat().st_size for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert 0.6 < size / (DATA_SETS[name].size_bytes * SCALE) < 1.6


def test_source_files_are_many_and_no_copies(tmp_path: Path) -> None:
    generate("SRC", tmp_path / "data", scale=SCALE, seed=1)
    found = contents(tmp_path / "data")
    assert len(found) == 80
    assert len(set(found.values())) == 80


def test_a_file_server_holds_copies(tmp_path: Path) -> None:
    generate("FS", tmp_path / "data", scale=0.002, seed=1)
    found = contents(tmp_path / "data")
    assert len(set(found.values())) < len(found)


def test_an_image_is_sparse_and_its_second_version_shares_most_blocks(tmp_path: Path) -> None:
    image = tmp_path / "data" / "disk.img"
    generate("VM", tmp_path / "data", scale=0.004, seed=1)
    old, allocated = image.read_bytes(), image.stat().st_blocks * 512
    assert allocated < len(old) * 0.9
    modify("VM", tmp_path / "data", scale=0.004, seed=1)
    new = image.read_bytes()
    assert len(new) > len(old), "blocks came in"
    assert image.stat().st_blocks * 512 < len(new) * 0.9, "holes stay holes"
    shared = blocks(new) & blocks(old)
    assert 0.95 < len(shared) / len(blocks(new)) < 1


def blocks(image: bytes) -> set[bytes]:
    return {image[at : at + BLOCK] for at in range(0, len(image), BLOCK)}


def test_a_day_edits_adds_deletes_and_moves_files(tmp_path: Path) -> None:
    generate("SRC", tmp_path / "data", scale=0.01, seed=1)
    before = contents(tmp_path / "data")
    modify("SRC", tmp_path / "data", scale=0.01, seed=1)
    after = contents(tmp_path / "data")
    names = [Path(path).name for path in after]
    assert any(name.startswith("new ") for name in names)
    assert any(name.startswith("moved ") for name in names)
    assert set(before.values()) - set(after.values()), "edited or deleted"
    assert any("renamed " in path for path in after)
    assert len(set(before.values()) & set(after.values())) > 0.9 * len(before)
