"""Ids of many chunks are those of each alone."""

import random

from overland.crypto.ids import CHUNK_ID_BYTES, chunk_id, chunk_ids
from overland.crypto.secrets import Secret


def test_many_chunks_have_the_ids_of_each_alone() -> None:
    rng = random.Random(5)
    key, data = Secret(rng.randbytes(32)), rng.randbytes(300_000)
    # Of every length about BLAKE3's borders, overlapping, empty, and one more than once.
    lengths = [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 8192, 20_000, 131_073]
    places = [(rng.randrange(100_000), length) for length in lengths * 2]
    places += [places[3], (0, len(data)), (len(data), 0)]
    rng.shuffle(places)
    every = chunk_ids(key, memoryview(data), iter(places))
    assert every == b"".join(chunk_id(key, data[at : at + length]) for at, length in places)
    assert len(every) == CHUNK_ID_BYTES * len(places)
    assert chunk_ids(key, memoryview(data), []) == b""
    assert chunk_ids(Secret(bytes(32)), memoryview(data), places) != every
