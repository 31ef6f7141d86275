"""`@azure/arm-storageimportexport` 2.1.0, as Microsoft published it, against our served cloud."""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.clients.conftest import Served
from tests.support.nodejs import PACKAGES, Node, node

pytestmark = pytest.mark.slow

PROGRAM: Final = (PACKAGES / "operations.mjs").read_text(encoding="utf-8")
AFTER_THE_STATION: Final = "an ended job shows its return and is deleted"


def promises() -> list[str]:
    return re.findall(r'^  async "([^"]+)"\(\)', PROGRAM, re.MULTILINE)


def keep(served: Served, program: Node, folder: Path, names: list[str]) -> None:
    folder.mkdir()
    more = {"NODE_EXTRA_CA_CERTS": served.ca, "PROMISES": "; ".join(names)}
    done = program.run(PROGRAM, folder=folder, environment=served.environment() | more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"kept: {name}" for name in names]


def test_every_operation_works_with_microsofts_client_for_node(
    served: Served, tmp_path: Path
) -> None:
    found, program = promises(), node()
    assert found.pop() == AFTER_THE_STATION
    keep(served, program, tmp_path / "before", found)
    served.take_in("js-shipped", "SERIAL-js-shipped")
    keep(served, program, tmp_path / "after", [AFTER_THE_STATION])
