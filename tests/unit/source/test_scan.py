import os
import socket
from pathlib import Path

import pytest

from overland.source.entries import Entries, link_of, read_xattrs, read_xattrs_at
from overland.source.scan import kind_of, list_folder, open_folder, reason_of


def test_names_come_sorted_as_bytes_whatever_they_hold(tmp_path: Path) -> None:
    names = [b"b", b"B", b"\xff\xfe", b"two\nlines", b"n" * 255, "é".encode()]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    listing = list_folder(fd)
    os.close(fd)
    assert listing.names == sorted(names)
    assert len(listing.stats) == len(names)
    assert not listing.failed


def test_an_entry_that_vanishes_during_the_listing_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(os, "listdir", lambda _: ["gone", "stays"])
    listing = list_folder(fd)
    os.close(fd)
    assert listing.names == [b"stays"]
    assert listing.failed == []


def test_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match=r"(?i)not a directory|symbolic"):
        open_folder(b"link", parent_fd=fd)
    os.close(fd)


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert kind_of((tmp_path / "s").stat().st_mode) == "a socket"
    assert kind_of(Path("/dev/null").stat().st_mode) == "a character device"


def test_reasons_are_words_for_the_operator() -> None:
    assert reason_of(PermissionError(13, "x")) == "permission denied"
    assert reason_of(FileNotFoundError(2, "x")) == "vanished while the backup ran"
    assert reason_of(OSError(5, "x")) == "cannot be read: Input/output error"


def test_all_names_of_a_file_are_one_group(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert link_of((tmp_path / "a").stat()) == b""
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"x")
    (tmp_path / "d").hardlink_to(tmp_path / "c")
    links = [link_of((tmp_path / name).stat()) for name in "abcd"]
    assert links[0] == links[1] != links[2] == links[3]
    assert len(links[0]) == 16


def test_attributes_come_sorted_from_files_and_from_what_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    (tmp_path / "link").symlink_to("f")
    try:
        os.setxattr(path, "user.b", b"2")
        os.setxattr(path, "user.a", b"\0\xff")
    except OSError:
        pytest.skip("the file system of the tests has no user attributes")
    fd = os.open(path, os.O_RDONLY)
    assert read_xattrs(fd)[:2] == ((b"user.a", b"\0\xff"), (b"user.b", b"2"))
    os.close(fd)
    folder = os.open(tmp_path, os.O_RDONLY)
    assert read_xattrs_at(b"f", parent_fd=folder)[:2] == ((b"user.a", b"\0\xff"), (b"user.b", b"2"))
    assert (b"user.b", b"2") not in read_xattrs_at(b"link", parent_fd=folder)
    os.close(folder)


def test_an_owner_without_a_name_has_none(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    real = (tmp_path / "f").stat()
    fields = (real.st_mode, 1, 1, 1, 3_999_999_999, 3_999_999_998, 0, 0, 0, 0)
    state = os.stat_result(fields, {"st_mtime_ns": 0})
    entry = Entries().make(b"f", state)
    assert (entry.user, entry.group) == (None, None)
    assert (entry.uid, entry.gid) == (3_999_999_999, 3_999_999_998)
