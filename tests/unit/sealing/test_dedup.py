import threading

from overland.sealing.dedup import Dedup


def chunk(number: int) -> bytes:
    return b"%032d" % number


class Known:
    """Knows the chunks that it is told."""

    def __init__(self, *ids: bytes) -> None:
        self.ids = set(ids)

    def unknown(self, joined: bytes) -> list[int]:
        ids = [joined[at : at + 32] for at in range(0, len(joined), 32)]
        return [number for number, chunk_id in enumerate(ids) if chunk_id not in self.ids]


def test_a_chunk_is_new_once() -> None:
    dedup = Dedup(Known(chunk(1)))
    assert dedup.claim(chunk(1) + chunk(2) + chunk(3) + chunk(2)) == [1, 2]
    assert dedup.claim(chunk(2) + chunk(4)) == [1]


def test_a_chunk_that_arrived_is_known_by_the_index() -> None:
    known = Known()
    dedup = Dedup(known)
    assert dedup.claim(chunk(1)) == [0]
    with dedup.lock:
        known.ids.add(chunk(1))
        dedup.arrived(chunk(1))
    assert dedup.claim(chunk(1)) == []
    known.ids.clear()
    assert dedup.claim(chunk(1)) == [0], "what the index lost is stored again"


def test_only_stored_chunks_count_as_known() -> None:
    dedup = Dedup(Known(chunk(1)))
    dedup.claim(chunk(2))
    assert dedup.knows_all(chunk(1))
    assert not dedup.knows_all(chunk(1) + chunk(2)), "on its way is not stored"


def test_of_many_threads_one_stores_a_chunk() -> None:
    dedup = Dedup(Known())
    joined = b"".join(chunk(number) for number in range(500))
    won: list[int] = []

    def claim() -> None:
        won.extend(dedup.claim(joined))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(500))
