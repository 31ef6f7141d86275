"""Copying reads once, and lets nothing through that is not what it should be."""

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import SimDisk

from overland.errors import ObjectAbsent, ObjectCorrupt, OutOfSpace
from overland.ports.progress import NullProgress
from overland.seeding import copying
from overland.seeding.copying import ObjectCopier


@pytest.fixture
def copier() -> Iterator[ObjectCopier]:
    with ObjectCopier(NullProgress()) as made:
        yield made


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_copy_is_equal_and_staging_is_read_once(copier: ObjectCopier) -> None:
    content = bytes(range(256)) * 100
    calls = list[str]()
    source = FaultyFiles(SimDisk(), on_call=lambda operation, _: calls.append(operation))
    source.write("a", content)
    calls.clear()
    target = SimDisk()

    copier.copy("a", source=source, target=target, size_bytes=len(content), sha256=sha256(content))

    assert target.read("a") == content
    assert calls == ["blocks"]


def test_damage_in_the_source_leaves_nothing_in_the_target(copier: ObjectCopier) -> None:
    content, target = bytes(10_000), SimDisk()
    source = FaultyFiles(SimDisk())
    source.write("a", content)
    source.flipped["a"] = {5000}

    with pytest.raises(ObjectCorrupt):
        copier.copy("a", source=source, target=target, size_bytes=10_000, sha256=sha256(content))

    assert list(target.names()) == []


def test_a_short_source_is_refused(copier: ObjectCopier) -> None:
    source, target = SimDisk(), SimDisk()
    source.write("a", b"short")

    with pytest.raises(ObjectCorrupt):
        copier.copy("a", source=source, target=target, size_bytes=6, sha256=sha256(b"short"))
    with pytest.raises(ObjectAbsent):
        copier.copy("b", source=source, target=target, size_bytes=6, sha256=sha256(b""))

    assert list(target.names()) == []


def test_a_full_target_is_told_apart(copier: ObjectCopier) -> None:
    source, target = SimDisk(), SimDisk(capacity_bytes=4)
    source.write("a", b"12345")

    with pytest.raises(OutOfSpace):
        copier.copy("a", source=source, target=target, size_bytes=5, sha256=sha256(b"12345"))


def test_reading_back_finds_a_flipped_bit(copier: ObjectCopier) -> None:
    medium = SimDisk()
    medium.write("a", bytes(1000))
    medium.damage("a", offset=999)

    with pytest.raises(ObjectCorrupt):
        copier.read_back("a", medium=medium, size_bytes=1000, sha256=sha256(bytes(1000)))


@given(blocks=st.lists(st.binary(min_size=1, max_size=40)))
def test_range_digests_do_not_depend_on_how_blocks_are_cut(blocks: list[bytes]) -> None:
    content = b"".join(blocks)
    with pytest.MonkeyPatch.context() as patch, ObjectCopier(NullProgress()) as copier:
        patch.setattr(copying, "RANGE_BYTES", 16)
        found = copier.digests("a", [memoryview(block) for block in blocks])

    pieces = [content[start : start + 16] for start in range(0, len(content), 16)]
    assert found.range_md5 == tuple(hashlib.md5(piece).hexdigest().upper() for piece in pieces)
    assert (found.size_bytes, found.sha256) == (len(content), sha256(content))
