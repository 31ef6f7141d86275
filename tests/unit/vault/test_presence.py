"""What a store is said to lack does not depend on how many objects are asked for."""

import pytest
from tests.support.landed import put
from tests.support.simdisk import SimDisk

from overland.adapters.folderobjects import FolderObjects
from overland.vault import presence


@pytest.mark.parametrize("count", [4, 300], ids=["asked one by one", "listed"])
def test_what_is_not_there_or_has_another_size_is_absent(count: int) -> None:
    store = FolderObjects(SimDisk(), prefix="vault/")
    wanted = {f"packs/{number:04}": 1 + number for number in range(count)}
    for name, size_bytes in wanted.items():
        put(store, f"mine/{name}", bytes(size_bytes))
    assert presence.absent(store, prefix="mine/", wanted=wanted) == []

    gone, cut, longer, elsewhere = list(wanted)[:3] + list(wanted)[-1:]
    for name in (gone, cut, longer, elsewhere):
        store.delete(f"mine/{name}")
    put(store, f"mine/{cut}", bytes(wanted[cut] - 1))
    put(store, f"mine/{longer}", bytes(wanted[longer] + 1))
    put(store, f"theirs/{elsewhere}", bytes(wanted[elsewhere]))

    assert presence.absent(store, prefix="mine/", wanted=wanted) == sorted(
        [gone, cut, longer, elsewhere]
    )
