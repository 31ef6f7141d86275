"""The first incremental after a seed: all changes since its snapshot, and nothing but them."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk

from overland.values import ObjectInfo

FILES, FILE_BYTES = 100, 40_000


@pytest.mark.requirement("R123", "R124", "R125")
@pytest.mark.parametrize("lost_hints", [False, True], ids=["hints kept", "hints lost"])
def test_five_percent_changed_is_five_percent_stored(tmp_path: Path, *, lost_hints: bool) -> None:
    content = random.Random(7)
    for number in range(FILES):
        (tmp_path / f"{number:03}").write_bytes(content.randbytes(FILE_BYTES))
    staging, vault, state = SimDisk(), SimDisk(), SimDisk()
    seed = run(make_plan(tmp_path), repository=make_repository(state), out=staging)
    assert seed.statistics.stored_bytes >= FILES * FILE_BYTES
    for number in range(0, FILES, 20):
        (tmp_path / f"{number:03}").write_bytes(content.randbytes(FILE_BYTES))
    if lost_hints:  # as a change journal that was overwritten while the drives travelled
        state = SimDisk()

    repository = make_repository(state)
    first = run(
        make_plan(tmp_path, number=2), repository=repository, out=vault, stored=[staging, vault]
    )

    share = first.statistics.stored_bytes / (FILES * FILE_BYTES)
    assert 0.05 <= share < 0.06
    both = _Both(vault, staging)
    tree = Tree(both, make_repository(SimDisk()), point_id(2))
    for path, restored in tree.contents.items():
        assert Path(os.fsdecode(path)).read_bytes() == restored
    assert len(tree.contents) == FILES


class _Both:
    """Objects of two places, as a restore from vault and staging has them."""

    def __init__(self, *places: SimDisk) -> None:
        self._places = places

    def names(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for place in self._places:
            yield from place.names(prefix)

    def _place(self, name: str) -> SimDisk:
        return next(place for place in self._places if any(place.names(name)))

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._place(name).read_range(name, offset=offset, length=length)

    def read(self, name: str) -> bytes:
        return self._place(name).read(name)
