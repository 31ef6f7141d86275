from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.docked import Dock


@pytest.fixture
def make_dock(tmp_path: Path) -> Iterator[Callable[..., Dock]]:
    made: list[Dock] = []

    def make(**options: Any) -> Dock:  # as Dock takes them
        folder = tmp_path / f"dock-{len(made)}"
        folder.mkdir()
        made.append(Dock(folder, **options))
        return made[-1]

    yield make
    for dock in made:
        dock.close()
