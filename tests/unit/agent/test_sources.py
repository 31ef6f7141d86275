"""Layers of sources: the first copy that holds serves; absent, damaged and unreachable differ."""

import hashlib
from collections.abc import Callable

import pytest
from tests.support.simdisk import SimDisk
from typing_extensions import override

from overland.agent.sources import LayeredObjects, ReadOnlySource, SeedFolderObjects
from overland.errors import (
    IntegrityError,
    NotAuthorised,
    ObjectAbsent,
    ObjectCorrupt,
    TransientError,
    Unreachable,
)
from overland.ports.objects import Objects
from overland.values import ObjectInfo, PackId, SeedId, pack_name, point_name

GOOD = b"the bytes that were written"
NAME = pack_name(PackId(hashlib.sha256(GOOD).hexdigest()))
SEED = SeedId("00000000-0000-0000-0000-0000000000aa")


def folder(**objects: bytes) -> SeedFolderObjects:
    disk = SimDisk()
    for name, content in objects.items():
        disk.write(f"seed-{SEED}/{name}", content)
    return SeedFolderObjects(disk, SEED)


def holding(content: bytes | None) -> SeedFolderObjects:
    return folder(**({} if content is None else {NAME: content}))


class Failing(SeedFolderObjects):
    """A place that answers every question with an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(SimDisk(), SEED)
        self._error = error

    @override
    def read(self, name: str) -> bytes:
        raise self._error

    @override
    def head(self, name: str) -> ObjectInfo:
        raise self._error


READS: list[Callable[[Objects], bytes]] = [
    lambda objects: objects.read(NAME),
    lambda objects: b"".join(bytes(block) for block in objects.blocks(NAME)),
]


@pytest.mark.parametrize("read", READS, ids=["read", "blocks"])
def test_the_first_layer_that_has_an_object_serves_it(read: Callable[[Objects], bytes]) -> None:
    layers = LayeredObjects(
        [("vault", holding(None)), ("staging", holding(GOOD)), ("drive", holding(GOOD))]
    )
    assert read(layers) == GOOD
    assert {label: served.size_bytes for label, served in layers.served.items()} == {
        "vault": 0,
        "staging": len(GOOD),
        "drive": 0,
    }


def test_a_damaged_copy_is_passed_over_and_remembered() -> None:
    layers = LayeredObjects([("vault", holding(b"other")), ("staging", holding(GOOD))])
    assert layers.read(NAME) == GOOD
    assert layers.served["vault"].damaged == {NAME}
    assert layers.read_range(NAME, offset=4, length=5) == GOOD[4:9]


def test_a_damaged_copy_is_found_at_the_last_block_and_not_served_again() -> None:
    layers = LayeredObjects([("vault", holding(b"other")), ("staging", holding(GOOD))])
    with pytest.raises(ObjectCorrupt):
        list(layers.blocks(NAME))
    assert b"".join(bytes(block) for block in layers.blocks(NAME)) == GOOD


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([holding(None), holding(None)], ObjectAbsent),
        ([holding(b"bad"), holding(None)], IntegrityError),
        ([Failing(Unreachable("no answer")), holding(None)], TransientError),
        ([Failing(Unreachable("no answer")), holding(b"bad")], TransientError),
        ([holding(b"bad"), Failing(NotAuthorised("expired"))], NotAuthorised),
        ([Failing(OSError(5, "I/O error")), holding(None)], OSError),
    ],
    ids=["absent", "damaged", "unreachable", "unreachable-damaged", "not-authorised", "device"],
)
def test_absent_damaged_and_failed_stay_different(
    layers: list[Objects], expected: type[Exception]
) -> None:
    layered = LayeredObjects([(str(number), layer) for number, layer in enumerate(layers)])
    with pytest.raises(expected):
        layered.read(NAME)


def test_a_layer_that_fails_does_not_hide_a_good_copy() -> None:
    layered = LayeredObjects(
        [("vault", Failing(Unreachable("no answer"))), ("drive", holding(GOOD))]
    )
    assert layered.read(NAME) == GOOD
    assert layered.head(NAME).size_bytes == len(GOOD)


def test_what_a_check_refuses_is_looked_for_elsewhere() -> None:
    layered = LayeredObjects([("vault", holding(b"bad")), ("drive", holding(GOOD))])

    def proven(layer: Objects) -> bytes:
        data = layer.read_range(NAME, offset=0, length=100)
        if data != GOOD:
            raise ObjectCorrupt(NAME, check="the caller's own")
        return data

    assert layered.first(NAME, proven) == GOOD
    assert layered.served["vault"].damaged == {NAME}


def test_names_of_all_layers_are_merged_each_once_and_sorted() -> None:
    point = point_name
    ids = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(4)]
    one = folder(**{point(ids[0]): b"", point(ids[2]): b""})  # type: ignore[arg-type]  # ids
    two = folder(**{point(ids[1]): b"", point(ids[2]): b"", point(ids[3]): b""})  # type: ignore[arg-type]  # ids
    names = [info.name for info in LayeredObjects([("1", one), ("2", two)]).names("points/")]
    assert names == [f"points/{point_id}.point" for point_id in ids]


@pytest.mark.parametrize(
    "objects", [holding(GOOD), LayeredObjects([("drive", holding(GOOD))])], ids=["folder", "layers"]
)
def test_a_source_is_never_changed(objects: Objects) -> None:
    with pytest.raises(ReadOnlySource):
        objects.delete(NAME)
    with pytest.raises(ReadOnlySource):
        objects.put(NAME, [GOOD], size_bytes=len(GOOD), sha256="")
    assert objects.read(NAME) == GOOD


def test_a_seed_folder_shows_objects_only() -> None:
    place = folder(**{NAME: GOOD, "seed.json": b"{}", "manifest.json": b"{}", "READY": b""})
    assert [info.name for info in place.names()] == [NAME]
    with pytest.raises(ObjectAbsent):
        place.read("seed.json")
    with pytest.raises(ObjectAbsent):
        place.read("../manifest.json")
