"""A recovery point's file ends where its parts do."""

import pytest
from tests.support.landed import Computer, pack

from overland.format.point import SIGNATURE_BYTES, PointCorrupt, parse
from overland.values import point_name


def test_nothing_but_less_than_a_block_of_zeros_lies_between_the_parts_and_the_signature() -> None:
    point_id, data = Computer().point(1, [pack("one")])
    name = point_name(point_id)
    assert parse(data, name=name).public.point_id == point_id
    signed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    for blocks in (1, 2):
        with pytest.raises(PointCorrupt, match="do not fill the file"):
            parse(signed + bytes(512 * blocks) + signature, name=name)
