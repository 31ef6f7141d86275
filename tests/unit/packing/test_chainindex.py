"""A chain's index is loaded once, and only if a chunk or a pack is asked for."""

import weakref

import pytest
from tests.unit.packing.test_chunk_index import chunks, ids, pack
from tests.unit.packing.test_hints import made

from overland.packing.chainindex import ChainIndex
from overland.packing.index import ChunkIndex
from overland.values import PackId


class Loads:
    def __init__(self) -> None:
        self.count = 0
        self.index = made(pack(1, chunks(3)))

    def __call__(self) -> ChunkIndex:
        self.count += 1
        return self.index


def test_the_epoch_is_known_without_loading() -> None:
    loads = Loads()
    chain = ChainIndex(loads, epoch=b"from the head")
    assert chain.epoch == b"from the head"
    assert chain.loaded is None
    assert loads.count == 0


def test_the_first_question_loads_the_index_and_the_others_ask_it() -> None:
    loads = Loads()
    chain = ChainIndex(loads, epoch=loads.index.epoch)
    joined = ids(*chunks(3), *chunks(2, 5)).tobytes()
    assert chain.unknown(joined) == [3, 4]
    assert chain.has_pack(PackId(f"{1:064x}"))
    chain.add(pack(2, chunks(2, 5)))
    assert chain.unknown(joined) == []
    assert loads.count == 1
    assert chain.loaded is loads.index
    loads.index.forget_packs([PackId(f"{1:064x}")])
    assert chain.epoch == loads.index.epoch, "of the index, when there is one"


def test_an_index_in_memory_counts_as_loaded() -> None:
    index = made(pack(1, chunks(3)))
    assert ChainIndex.of(index).loaded is index


def test_an_index_that_was_let_go_leaves_its_epoch_and_no_memory() -> None:
    chain = ChainIndex.of(made(pack(1, chunks(3))))
    assert chain.loaded is not None
    epoch, index = chain.epoch, weakref.ref(chain.loaded)
    chain.let_go()
    assert index() is None
    assert chain.epoch == epoch
    with pytest.raises(AssertionError, match="nobody asks"):
        chain.has_pack(PackId(f"{1:064x}"))
