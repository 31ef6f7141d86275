"""What every test shares."""

import gc
import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

# A deadline measures the machine's neighbours; the blob lets a failure in CI be replayed here.
settings.register_profile("overland", deadline=None, print_blob=True)
settings.load_profile("overland")

_GROWTH_BYTES: Final = 128 << 20
_KNOWN_BYTES: Final = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Take the collected tests, a million objects, out of Python's search for garbage.

    Each search would pass over them, and Python puts off the next one until a quarter as many are
    new: meanwhile, what tests leave behind would pile up to gigabytes.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # so that Python no longer counts on what was frozen
    session.config.stash[_KNOWN_BYTES] = _resident_bytes()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Search for garbage when much memory is in use: Python counts objects, and not their size."""
    stash = item.config.stash
    if _resident_bytes() > stash[_KNOWN_BYTES] + _GROWTH_BYTES:
        gc.collect()
        stash[_KNOWN_BYTES] = _resident_bytes()


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
