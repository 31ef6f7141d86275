"""A cloud to attack."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path) as local:
        yield local


@pytest.fixture
def journey(cloud: LocalCloud) -> Journey:
    return Journey(cloud=cloud)
