"""The promises of `overland.ports.files.Files`, as tests for any implementation."""

import pytest

from overland.errors import ObjectAbsent
from overland.ports.files import Files

BAD_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/./b",
    "a/../../b",
    "a\0b",
    ".overland-tmp-0",
    "a/.overland-tmp-0",
]


class FilesContract:
    """Derive from it and provide the fixture `files`: an empty folder."""

    def test_what_was_written_is_read_back(self, files: Files) -> None:
        files.write("packs/3f/one.pack", b"content")
        assert files.read("packs/3f/one.pack") == b"content"
        assert files.size_bytes("packs/3f/one.pack") == 7

    def test_an_empty_file_is_a_file(self, files: Files) -> None:
        files.write("READY", b"")
        assert files.read("READY") == b""
        assert list(files.blocks("READY")) == []
        assert [(info.name, info.size_bytes) for info in files.names()] == [("READY", 0)]

    def test_all_kinds_of_buffers_are_appended_in_order(self, files: Files) -> None:
        new = files.create()
        new.write(b"by")
        new.write(bytearray(b"te"))
        new.write(memoryview(b"-s-")[1:2])
        new.write(b"")
        new.publish("a")
        assert files.read("a") == b"bytes"

    def test_a_buffer_may_be_reused_when_write_returns(self, files: Files) -> None:
        new, buffer = files.create(), bytearray(b"first")
        new.write(buffer)
        buffer[:] = b"other"
        new.publish("a")
        assert files.read("a") == b"first"

    @pytest.mark.parametrize("extra", [-1, 0, 1, 4096, 4097])
    def test_large_files_are_whole_whatever_the_sizes_of_their_pieces(
        self, files: Files, extra: int
    ) -> None:
        content = bytes(range(256)) * (20 << 12) + bytes(4096 + extra)
        new, position = files.create(), 0
        for size in [1, 4095, 5 << 20, 4 << 20, 3, len(content)]:
            new.write(memoryview(content)[position : position + size])
            position += size
        new.publish("large")
        assert b"".join(bytes(block) for block in files.blocks("large")) == content
        assert files.read("large") == content

    def test_nobody_sees_a_file_before_it_is_published(self, files: Files) -> None:
        new = files.create()
        new.write(b"half")
        assert list(files.names()) == []
        with pytest.raises(ObjectAbsent):
            files.read("a")
        new.publish("a")
        assert [info.name for info in files.names()] == ["a"]

    def test_an_abandoned_file_never_appears(self, files: Files) -> None:
        new = files.create()
        new.write(b"half")
        new.abandon()
        new.abandon()
        assert list(files.names()) == []
        assert files.sweep() == 0

    def test_abandoning_a_published_file_does_nothing(self, files: Files) -> None:
        new = files.create()
        new.write(b"whole")
        new.publish("a")
        new.abandon()
        assert files.read("a") == b"whole"

    def test_what_is_shown_is_there_at_once(self, files: Files) -> None:
        files.write("d/a", b"longer content")
        for name in ("d/a", "e/f/b"):
            new = files.create()
            new.write(b"new")
            new.settle()
            new.settle()
            new.show(name)
            new.abandon()
            assert files.read(name) == b"new"
        files.settle("e/f/b")
        assert [info.name for info in files.names()] == ["d/a", "e/f/b"]
        assert files.sweep() == 0

    def test_what_was_settled_is_seen_by_nobody_before_it_is_published(self, files: Files) -> None:
        new, other = files.create(), files.create()
        for each in (new, other):
            each.write(b"whole")
            each.settle()
        assert list(files.names()) == []
        new.publish("a")
        other.abandon()
        assert [info.name for info in files.names()] == ["a"]
        assert files.sweep() == 0

    def test_what_is_forgotten_is_gone_at_once(self, files: Files) -> None:
        files.write("d/a", b"")
        for name in ("d/a", "d/a", "d", "nowhere/a", "d/a/b"):
            files.forget(name)
        assert list(files.names()) == []
        files.write("d/a", b"again")
        assert files.read("d/a") == b"again"

    def test_publishing_replaces(self, files: Files) -> None:
        files.write("a", b"longer content")
        files.write("a", b"new")
        assert files.read("a") == b"new"

    def test_a_sweep_leaves_published_files_and_living_writers_alone(self, files: Files) -> None:
        files.write("b", b"published")
        new = files.create()
        new.write(b"still being written")
        assert files.sweep() == 0
        new.publish("a")
        assert files.read("a") == b"still being written"
        assert files.read("b") == b"published"

    def test_many_files_can_be_written_at_once(self, files: Files) -> None:
        writers = [files.create() for _ in range(8)]
        for number, new in enumerate(writers):
            new.write(bytes([number]) * 1000)
        for number, new in enumerate(writers):
            new.publish(f"d/{number}")
        assert [files.read(f"d/{n}") for n in range(8)] == [bytes([n]) * 1000 for n in range(8)]

    def test_a_range_is_shorter_only_at_the_end(self, files: Files) -> None:
        files.write("a", b"0123456789")
        assert files.read_range("a", offset=2, length=3) == b"234"
        assert files.read_range("a", offset=8, length=5) == b"89"
        assert files.read_range("a", offset=10, length=5) == b""
        assert files.read_range("a", offset=99, length=5) == b""
        assert files.read_range("a", offset=0, length=0) == b""

    def test_blocks_are_bounded_and_in_order(self, files: Files) -> None:
        content = bytes(range(256)) * 64
        files.write("a", content)
        blocks = [bytes(block) for block in files.blocks("a", block_bytes=4096)]
        assert b"".join(blocks) == content
        assert len(blocks) == 4

    def test_blocks_may_be_left_early(self, files: Files) -> None:
        files.write("a", bytes(9000))
        first = next(iter(files.blocks("a", block_bytes=4096)))
        assert first[:10] == bytes(10)

    def test_absent_is_its_own_answer(self, files: Files) -> None:
        files.write("folder/file", b"")
        for name in ["a", "folder/b", "nowhere/b", "folder/file/b", "folder"]:
            with pytest.raises(ObjectAbsent):
                files.read(name)
            with pytest.raises(ObjectAbsent):
                files.size_bytes(name)
            with pytest.raises(ObjectAbsent):
                files.read_range(name, offset=0, length=1)
            with pytest.raises(ObjectAbsent):
                next(iter(files.blocks(name)), None)
            files.delete(name)
        assert files.read("folder/file") == b""

    def test_names_go_on_after_any_name(self, files: Files) -> None:
        names = sorted(["a-b", "a/b", "a.b", "b/x/1", "b/x/2", "b/x-1", "b/y/1", "z"])
        for name in names:
            files.write(name, b"")
        for after in ["", *names, "a/", "a/b/", "b", "b/x", "b/x/", "b/x/10", "b/y0", "zz"]:
            found = [info.name for info in files.names(start_after=after)]
            assert found == [name for name in names if name > after], after
            found = [info.name for info in files.names("b/x", start_after=after)]
            wanted = [name for name in names if name > after and name.startswith("b/x")]
            assert found == wanted, after

    def test_names_are_sorted_as_texts_and_chosen_by_prefix(self, files: Files) -> None:
        names = ["a/b", "a-b", "a.b", "a/b.c", "a0", "b/a/c", "b/a0", "ä"]
        for name in names:
            files.write(name, name.encode())
        found = [(info.name, info.size_bytes) for info in files.names()]
        assert found == sorted((name, len(name.encode())) for name in names)
        assert [i.name for i in files.names("a/")] == ["a/b", "a/b.c"]
        assert [i.name for i in files.names("b/a")] == ["b/a/c", "b/a0"]
        assert [i.name for i in files.names("c/d")] == []

    def test_a_deleted_file_is_absent_and_deleting_twice_is_fine(self, files: Files) -> None:
        files.write("d/a", b"")
        files.delete("d/a")
        files.delete("d/a")
        assert list(files.names()) == []
        files.write("d/a", b"again")
        assert files.read("d/a") == b"again"

    def test_a_file_can_be_settled_and_an_absent_one_cannot(self, files: Files) -> None:
        files.write("d/e/a", b"content")
        files.settle("d/e/a")
        assert files.read("d/e/a") == b"content"
        with pytest.raises(ObjectAbsent):
            files.settle("d/e/b")

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_names_that_could_leave_the_folder_are_refused(self, files: Files, name: str) -> None:
        with pytest.raises(ValueError, match="plain parts"):
            files.write(name, b"")
        with pytest.raises(ValueError, match="plain parts"):
            files.read(name)
        with pytest.raises(ValueError, match="plain parts"):
            files.read_range(name, offset=0, length=1)
        with pytest.raises(ValueError, match="plain parts"):
            files.size_bytes(name)
        with pytest.raises(ValueError, match="plain parts"):
            files.delete(name)
        with pytest.raises(ValueError, match="plain parts"):
            files.settle(name)
        with pytest.raises(ValueError, match="plain parts"):
            files.forget(name)
        new = files.create()
        with pytest.raises(ValueError, match="plain parts"):
            new.show(name)
        new.abandon()
        assert list(files.names()) == []

    def test_there_is_room_for_something(self, files: Files) -> None:
        assert files.free_bytes() > 0
