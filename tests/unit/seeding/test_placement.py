"""Objects on drives: nothing twice, nothing lost, no drive too full."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import staged

from overland.format.drive_xml import PageRange, write_manifest
from overland.seeding.copying import RANGE_BYTES, Digests
from overland.seeding.drive import blob_for
from overland.seeding.placement import cost_bytes, fill


@dataclass(frozen=True)
class Item:
    size_bytes: int


SIZES = st.lists(st.integers(1, 1 << 30).map(Item), max_size=60)
ROOMS = st.lists(st.integers(0, 4 << 30), max_size=12)


@given(objects=SIZES, rooms=ROOMS)
def test_every_object_is_on_one_drive_or_waits_for_the_next(
    objects: list[Item], rooms: list[int]
) -> None:
    waiting, placed = list(range(len(objects))), list[int]()
    for room_bytes in rooms:
        taken = fill(objects, waiting, room_bytes=room_bytes)
        assert taken == sorted(taken)
        assert sum(cost_bytes(objects[number].size_bytes) for number in taken) <= room_bytes
        waiting = [number for number in waiting if number not in taken]
        placed += taken
    assert sorted(placed + waiting) == list(range(len(objects)))


@given(objects=SIZES, room_bytes=st.integers(0, 4 << 30))
def test_what_waits_does_not_fit_any_more(objects: list[Item], room_bytes: int) -> None:
    taken = fill(objects, range(len(objects)), room_bytes=room_bytes)

    left_bytes = room_bytes - sum(cost_bytes(objects[number].size_bytes) for number in taken)

    others = set(range(len(objects))) - set(taken)
    assert all(cost_bytes(objects[number].size_bytes) > left_bytes for number in others)


def test_small_objects_close_the_gap_that_a_large_one_leaves() -> None:
    objects = [Item(10_000_000), Item(10_000_000), Item(500)]

    assert fill(objects, range(3), room_bytes=cost_bytes(10_000_000) + 8192) == [0, 2]


@pytest.mark.parametrize("size_bytes", [512, RANGE_BYTES, RANGE_BYTES + 512, 20 * RANGE_BYTES])
def test_the_cost_of_an_object_covers_its_lines_in_the_manifest(size_bytes: int) -> None:
    content = bytes(size_bytes)
    item = staged.manifest_object(f"points/{staged.POINT_ID}.point", content)
    ranges = -(-size_bytes // RANGE_BYTES)
    digests = Digests(size_bytes=size_bytes, sha256=item.sha256, range_md5=("A" * 32,) * ranges)
    lines = bytearray()

    class Sink:
        def write(self, data: bytes, /) -> None:
            lines.extend(data)

    blob = blob_for(item, digests, seed_id=staged.SEED_ID, container="c" * 63)
    write_manifest(Sink(), "S" * 64, [blob])

    assert blob.page_ranges is not None
    assert blob.page_ranges[-1] == PageRange(
        (ranges - 1) * RANGE_BYTES, size_bytes - (ranges - 1) * RANGE_BYTES, "A" * 32
    )
    assert size_bytes + len(lines) <= cost_bytes(size_bytes) + 400, "the frame is reserved apart"
