"""What lies in the staging location tells nothing to those without the keys."""

import random
from pathlib import Path

import pytest
from tests.support.backups import make_plan, make_repository, run
from tests.support.simdisk import SimDisk

WINDOW = 8


@pytest.mark.requirement("R66")
def test_neither_content_nor_names_are_found_in_staging_and_it_is_smaller(tmp_path: Path) -> None:
    words = random.Random(3)
    source_bytes = 0
    known = set()
    for number in range(40):
        name = f"ledger-of-harbour-{number:02}.csv"
        line = "".join(words.choices("abcdefghijklmnopqrstuvwxyz ", k=200)) + "\n"
        content = (line * 50).encode()
        (tmp_path / name).write_bytes(content)
        source_bytes += len(content)
        known |= {name.encode(), *(content[at : at + WINDOW] for at in range(len(line) - WINDOW))}
    staging = SimDisk()
    run(make_plan(tmp_path), repository=make_repository(SimDisk()), out=staging)
    staged = {info.name: staging.read(info.name) for info in staging.names()}
    assert sum(map(len, staged.values())) < source_bytes / 2
    for name, stored in staged.items():
        windows = {stored[at : at + WINDOW] for at in range(len(stored) - WINDOW)}
        assert not windows & known, name
        assert not any(each in stored for each in known if len(each) > WINDOW), name
