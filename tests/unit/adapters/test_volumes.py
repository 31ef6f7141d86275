import os
from pathlib import Path

import pytest

from overland.adapters.volumes import (
    DriveAbsent,
    DriveUnusable,
    FolderVolume,
    FolderVolumes,
    create_folder_volume,
)
from overland.errors import OutOfSpace

SEED = "seed-9f3c9d5e-0d0b-4a5e-9f5e-0a2b5f0c7a11"


@pytest.fixture
def volume(tmp_path: Path) -> FolderVolume:
    return create_folder_volume(tmp_path / "drive", serial="WD-0001", capacity_bytes=1000)


def test_a_drive_is_opened_with_what_it_was_made_with(volume: FolderVolume) -> None:
    again = FolderVolumes().open(volume.path)
    assert (again.serial, again.capacity_bytes) == ("WD-0001", 1000)
    assert again.content() == "blank"
    assert list(again.files().names()) == []


def test_a_path_without_a_drive_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DriveAbsent):
        FolderVolumes().open(str(tmp_path / "nothing"))
    with pytest.raises(DriveUnusable, match="not set up"):
        FolderVolumes().open(str(tmp_path))
    (tmp_path / ".overland-volume.json").write_text('{"serial": "a b", "capacity_bytes": 1}')
    with pytest.raises(DriveUnusable, match="damaged"):
        FolderVolumes().open(str(tmp_path))


def test_a_folder_with_content_is_not_taken_for_a_new_drive(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("")
    with pytest.raises(DriveUnusable, match="not empty"):
        create_folder_volume(tmp_path, serial="WD-0001", capacity_bytes=1000)


@pytest.mark.parametrize(("serial", "capacity_bytes"), [("", 1), ("a b", 1), ("A", 0), ("A", -1)])
def test_serials_without_blanks_and_real_capacities_only(
    tmp_path: Path, serial: str, capacity_bytes: int
) -> None:
    with pytest.raises(DriveUnusable):
        create_folder_volume(tmp_path, serial=serial, capacity_bytes=capacity_bytes)
    assert list(tmp_path.iterdir()) == []


def test_content_tells_our_drives_from_somebody_elses(volume: FolderVolume) -> None:
    root = Path(volume.path)
    (root / "lost+found").mkdir()
    (root / ".overland-tmp-0123").write_text("interrupted")
    assert volume.content() == "blank"
    volume.files().write(f"{SEED}/packs/3f/one.pack", b"1")
    assert volume.content() == "overland"
    (root / "thesis.doc").write_text("")
    assert volume.content() == "foreign"


def test_writing_past_the_capacity_is_refused_and_space_comes_back(volume: FolderVolume) -> None:
    files = volume.files()
    files.write("a", bytes(600))
    assert files.free_bytes() == 400
    with pytest.raises(OutOfSpace) as refused:
        files.write("b", bytes(401))
    assert (refused.value.needed_bytes, refused.value.free_bytes) == (401, 400)
    assert [info.name for info in files.names()] == ["a"]
    files.write("b", bytes(400))
    assert files.free_bytes() == 0
    files.delete("b")
    files.write("a", bytes(300))
    assert files.free_bytes() == 700
    new = files.create()
    new.write(bytes(700))
    assert files.free_bytes() == 0
    new.abandon()
    assert files.free_bytes() == 700


def test_what_is_on_the_drive_counts_when_it_is_opened_again(volume: FolderVolume) -> None:
    volume.files().write("a", bytes(600))
    assert FolderVolumes().open(volume.path).files().free_bytes() == 400


def test_the_label_is_not_among_the_files(volume: FolderVolume) -> None:
    files, label = volume.files(), ".overland-volume.json"
    with pytest.raises(ValueError, match="label"):
        files.read(label)
    with pytest.raises(ValueError, match="label"):
        files.delete(label)
    with pytest.raises(ValueError, match="label"):
        files.write(label, b"")
    assert FolderVolumes().open(volume.path).serial == "WD-0001"


def test_a_drive_holds_what_lies_on_it_and_what_it_lies_in(
    volume: FolderVolume, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(volume.path)
    assert volume.holds(volume.path)
    assert volume.holds(f"{volume.path}/staging")
    assert volume.holds(str(link / "staging"))
    assert volume.holds(str(tmp_path))
    assert not volume.holds(str(tmp_path / "staging"))
    assert not volume.holds(str(tmp_path / "drive2"))


def test_the_system_is_not_a_drive(
    volume: FolderVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not volume.is_system()
    monkeypatch.setenv("HOME", str(Path(volume.path) / "home"))
    assert volume.is_system()
    monkeypatch.setenv("HOME", volume.path)
    assert volume.is_system()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not volume.is_system(), "a drive's folder may lie in somebody's home"


def test_erasing_removes_everything_on_the_drive_and_nothing_beside_it(
    volume: FolderVolume, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    root = Path(volume.path)
    volume.files().write(f"{SEED}/packs/3f/one.pack", bytes(900))
    (root / "file").symlink_to(outside / "precious")
    (root / "folder").symlink_to(outside)
    (root / SEED / "deep").symlink_to(outside)
    os.mkfifo(root / "fifo")
    volume.erase()
    assert [entry.name for entry in root.iterdir()] == [".overland-volume.json"]
    assert (outside / "precious").read_text() == "stays"
    assert volume.content() == "blank"
    assert volume.files().free_bytes() == 1000
