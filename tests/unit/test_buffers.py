"""Buffers for the system to fill."""

import ctypes

from overland.buffers import new_buffer


def test_a_buffer_is_zeros_begins_at_a_page_and_can_be_filled() -> None:
    buffer = new_buffer(5 << 20)
    assert len(buffer) == 5 << 20
    assert not any(buffer[:: 4096 - 1])
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % 4096 == 0
    buffer[-1:] = b"x"
    assert buffer[-1:] == b"x"
