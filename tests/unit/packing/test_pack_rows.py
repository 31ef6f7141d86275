"""The packs of a chunk index are a dictionary with marks, whether they were saved or not."""

import random
import tracemalloc

import numpy as np
import pytest

from overland.packing.packs import Packs
from overland.packing.parts import PACK_ROW
from overland.packing.tables import Piece
from overland.values import PackId

ALIKE = "ab" * 8  # the beginning of ids that differ only behind what is sorted by


def entries(*pack_ids: PackId) -> "np.typing.NDArray[np.void]":
    rows = np.zeros(len(pack_ids), PACK_ROW)
    joined = bytes.fromhex("".join(pack_ids))
    rows["id"] = np.frombuffer(joined, np.uint8).reshape(-1, 32)
    return rows


@pytest.mark.parametrize("recent", [0, 3, 8192])
@pytest.mark.parametrize("seed", range(50))
def test_packs_are_a_dictionary_with_marks(
    seed: int, recent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overland.packing.packs._RECENT", recent)
    choose = random.Random(seed)
    ids = [PackId(choose.randbytes(32).hex()) for _ in range(12)]
    ids += [PackId(ALIKE + choose.randbytes(24).hex()) for _ in range(6)]
    packs, saved = Packs((), lost=np.empty(0, np.uint32)), list[Piece]()
    rows: list[PackId] = []
    kept: dict[PackId, int] = {}
    for _ in range(60):
        pack_id = choose.choice(ids)
        action = choose.choice(["add", "add", "lose", "save"])
        if action == "add" and pack_id not in kept:
            kept[pack_id] = len(rows)
            assert packs.append(entries(pack_id)) == len(rows)
            rows.append(pack_id)
        elif action == "lose" and pack_id in kept:
            packs.lose(kept.pop(pack_id))
        elif action == "save":
            saved.append(packs.new_piece())
            packs = Packs(saved, lost=packs.lost_rows())
        assert {each: packs.row_of(each) for each in ids} == {each: kept.get(each) for each in ids}
        assert list(packs.pack_ids()) == sorted(kept, key=kept.__getitem__)
        assert [packs.pack_id(row) for row in range(len(packs))] == rows
        of_rows = packs.are_kept(np.arange(len(rows)))
        assert np.flatnonzero(of_rows).tolist() == sorted(kept.values())
        assert packs.any_lost or of_rows.all()


def test_many_appended_packs_take_few_bytes_each() -> None:
    count, step = 200_000, 10_000
    tracemalloc.start()
    try:
        packs = Packs((), lost=np.empty(0, np.uint32))
        for at in range(0, count, step):
            rows = np.zeros(step, PACK_ROW)
            rows["id"][:, :8] = np.arange(at, at + step).astype(">u8").view(np.uint8).reshape(-1, 8)
            packs.append(rows)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(list(packs.pack_ids())) == count
    assert taken < 130 * count, "arrays of 61 bytes, which grow ahead, and no dictionary of all"
