import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_TMPFS = Path("/dev/shm")


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    if not _TMPFS.is_dir():
        pytest.skip("no file system in memory here")
    with tempfile.TemporaryDirectory(dir=_TMPFS) as folder:
        yield Path(folder)
