"""The promises of `overland.ports.objects.Objects`, as tests for any implementation."""

import hashlib
from collections.abc import Callable, Iterable, Iterator

import pytest

from overland.errors import ObjectAbsent, ObjectCorrupt, ObjectExists
from overland.ports.objects import Objects
from overland.values import ObjectInfo, PackId, index_name, pack_name

NAME = "packs/3f/one.pack"
BAD_NAMES = ["", "/etc/passwd", "a/", "a//b", ".", "../a", "a/../../b", "a\0b"]


def put(objects: Objects, name: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    objects.put(name, [content], size_bytes=len(content), sha256=digest)


Spoil = Callable[[str, bytes], None]
"""Has an object's bytes be these ones, behind the store's back."""

RIGHT = b"what the name promises"
DIGEST = hashlib.sha256(RIGHT).hexdigest()
HEALED = (
    pack_name(PackId(DIGEST)),
    index_name(DIGEST),
    "seed-0b7f3d52-7c56-4b6e-8a55-4a7c5f0f1e22/" + pack_name(PackId(DIGEST)),
)


class ObjectsContract:
    """Derive from it and provide the fixtures.

    `objects` is an empty store, and `spoil` damages what is in it.
    """

    def test_what_was_put_is_read_back(self, objects: Objects) -> None:
        put(objects, NAME, b"content")
        assert objects.read(NAME) == b"content"
        assert objects.head(NAME) == ObjectInfo(name=NAME, size_bytes=7)
        assert b"".join(bytes(block) for block in objects.blocks(NAME)) == b"content"

    def test_an_empty_object_is_an_object(self, objects: Objects) -> None:
        put(objects, NAME, b"")
        assert objects.read(NAME) == b""
        assert objects.read_range(NAME, offset=0, length=10) == b""
        assert list(objects.blocks(NAME)) == []
        assert list(objects.names()) == [ObjectInfo(name=NAME, size_bytes=0)]

    def test_content_comes_in_pieces_of_any_kind(self, objects: Objects) -> None:
        pieces: list[bytes | memoryview] = [b"con", memoryview(b"-tent")[1:], b""]
        digest = hashlib.sha256(b"content").hexdigest()
        objects.put(NAME, iter(pieces), size_bytes=7, sha256=digest)
        assert objects.read(NAME) == b"content"

    def test_content_may_come_out_of_one_reused_buffer(self, objects: Objects) -> None:
        def pieces() -> Iterator[memoryview]:
            buffer = bytearray(1 << 20)
            for number in range(12):
                buffer[:] = bytes([number]) * len(buffer)
                yield memoryview(buffer)

        whole = b"".join(bytes([number]) * (1 << 20) for number in range(12))
        digest = hashlib.sha256(whole).hexdigest()
        objects.put(NAME, pieces(), size_bytes=len(whole), sha256=digest)
        assert objects.read(NAME) == whole
        assert b"".join(bytes(block) for block in objects.blocks(NAME)) == whole

    def test_putting_the_same_object_again_changes_nothing(self, objects: Objects) -> None:
        put(objects, NAME, b"content")
        put(objects, NAME, b"content")
        assert objects.read(NAME) == b"content"

    @pytest.mark.parametrize("other", [b"another", b"longer content", b""])
    def test_an_object_is_never_replaced(self, objects: Objects, other: bytes) -> None:
        put(objects, NAME, b"content")
        with pytest.raises(ObjectExists):
            put(objects, NAME, other)
        assert objects.read(NAME) == b"content"

    @pytest.mark.parametrize("harmed", [b"what the name promisez", b"", b"what", RIGHT + b"!"])
    @pytest.mark.parametrize("name", HEALED)
    def test_right_bytes_take_the_place_of_damaged_ones(
        self, objects: Objects, spoil: Spoil, name: str, harmed: bytes
    ) -> None:
        put(objects, name, RIGHT)
        spoil(name, harmed)
        assert objects.read(name) == harmed
        put(objects, name, RIGHT)
        assert objects.read(name) == RIGHT
        assert objects.head(name).size_bytes == len(RIGHT)
        assert [info.name for info in objects.names()] == [name]

    def test_only_the_bytes_that_the_name_promises_heal(
        self, objects: Objects, spoil: Spoil
    ) -> None:
        name = HEALED[0]
        put(objects, name, RIGHT)
        spoil(name, b"damaged")
        for wrong in (b"other", b"damaged!"):
            with pytest.raises(ObjectExists):
                put(objects, name, wrong)
        with pytest.raises(ObjectCorrupt):
            objects.put(name, [b"!" + RIGHT[1:]], size_bytes=len(RIGHT), sha256=DIGEST)
        with pytest.raises(ObjectCorrupt):
            objects.put(name, [RIGHT[:-1]], size_bytes=len(RIGHT), sha256=DIGEST)
        assert objects.read(name) == b"damaged", "evidence is kept until the right bytes come"

    @pytest.mark.parametrize("name", [NAME, "points/one.point", f"keys/{DIGEST}.keyring"])
    def test_a_damaged_object_whose_name_promises_nothing_stays(
        self, objects: Objects, spoil: Spoil, name: str
    ) -> None:
        put(objects, name, RIGHT)
        spoil(name, b"damaged")
        with pytest.raises(ObjectExists):
            put(objects, name, RIGHT)
        assert objects.read(name) == b"damaged"

    @pytest.mark.parametrize(
        "content",
        [[b"conten"], [b"content", b"!"], [b"contenT"], [b""], []],
        ids=["shorter", "longer", "other", "empty", "nothing"],
    )
    def test_content_that_is_not_what_was_announced_is_not_stored(
        self, objects: Objects, content: Iterable[bytes]
    ) -> None:
        digest = hashlib.sha256(b"content").hexdigest()
        with pytest.raises(ObjectCorrupt):
            objects.put(NAME, content, size_bytes=7, sha256=digest)
        assert list(objects.names()) == []
        put(objects, NAME, b"content")
        assert objects.read(NAME) == b"content"

    def test_nothing_is_stored_when_the_content_fails_on_its_way(self, objects: Objects) -> None:
        class SectorLost(Exception):
            pass

        def failing() -> Iterator[bytes]:
            yield b"con"
            raise SectorLost

        digest = hashlib.sha256(b"content").hexdigest()
        with pytest.raises(SectorLost):
            objects.put(NAME, failing(), size_bytes=7, sha256=digest)
        assert list(objects.names()) == []

    def test_a_range_is_shorter_only_at_the_end(self, objects: Objects) -> None:
        put(objects, NAME, b"0123456789")
        assert objects.read_range(NAME, offset=2, length=3) == b"234"
        assert objects.read_range(NAME, offset=8, length=5) == b"89"
        assert objects.read_range(NAME, offset=10, length=5) == b""
        assert objects.read_range(NAME, offset=99, length=5) == b""
        assert objects.read_range(NAME, offset=3, length=0) == b""

    def test_absent_is_its_own_answer(self, objects: Objects) -> None:
        put(objects, NAME, b"content")
        for name in ["a", "packs/3f", "packs/3f/two.pack", "packs/3f/one.pac"]:
            with pytest.raises(ObjectAbsent) as absent:
                objects.read(name)
            assert absent.value.name == name
            with pytest.raises(ObjectAbsent):
                objects.read_range(name, offset=0, length=1)
            with pytest.raises(ObjectAbsent):
                objects.head(name)
            with pytest.raises(ObjectAbsent):
                next(iter(objects.blocks(name)), None)

    def test_names_are_sorted_as_texts_and_chosen_by_prefix(self, objects: Objects) -> None:
        names = ["a/b", "a-b", "a.b", "a/b.c", "a0", "b/a/c", "b/a0", "c/%41 ?#&+=;ä"]
        for name in names:
            put(objects, name, name.encode())
        found = [(info.name, info.size_bytes) for info in objects.names()]
        assert found == sorted((name, len(name.encode())) for name in names)
        assert [info.name for info in objects.names("a/")] == ["a/b", "a/b.c"]
        assert [info.name for info in objects.names("b/a")] == ["b/a/c", "b/a0"]
        assert [info.name for info in objects.names("d/")] == []
        assert objects.read(names[-1]) == names[-1].encode()

    def test_names_go_on_after_any_name(self, objects: Objects) -> None:
        names = sorted(["a-b", "a/b", "a.b", "b/x/1", "b/x/2", "b/x-1", "b/y/1", "z"])
        for name in names:
            put(objects, name, name.encode())
        for after in ["", *names, "a/", "a/b/", "b", "b/x", "b/x/", "b/x/10", "b/y0", "zz"]:
            found = [info.name for info in objects.names(start_after=after)]
            assert found == [name for name in names if name > after], after
            found = [info.name for info in objects.names("b/x", start_after=after)]
            wanted = [name for name in names if name > after and name.startswith("b/x")]
            assert found == wanted, after

    def test_a_deleted_object_is_absent_and_deleting_twice_is_fine(self, objects: Objects) -> None:
        put(objects, NAME, b"content")
        objects.delete(NAME)
        objects.delete(NAME)
        assert list(objects.names()) == []
        with pytest.raises(ObjectAbsent):
            objects.head(NAME)

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_names_that_could_leave_the_store_are_refused(
        self, objects: Objects, name: str
    ) -> None:
        with pytest.raises(ValueError, match="plain parts"):
            put(objects, name, b"")
        with pytest.raises(ValueError, match="plain parts"):
            objects.read(name)
        with pytest.raises(ValueError, match="plain parts"):
            objects.read_range(name, offset=0, length=1)
        with pytest.raises(ValueError, match="plain parts"):
            objects.head(name)
        with pytest.raises(ValueError, match="plain parts"):
            objects.delete(name)
        assert list(objects.names()) == []
