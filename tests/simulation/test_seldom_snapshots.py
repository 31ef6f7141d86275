"""What random stories seldom meet of snapshots that nobody can ask about any more."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overland.ports.programs import Finished, Running
from overland.source.logicalvolumes import LogicalVolumes


class Failing:
    """Programs that all end badly."""

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        del argv, timeout_s
        return Finished(status=5, output=b"", errors=b"the lock file cannot be opened")

    def start(self, argv: Sequence[str]) -> Running:
        raise AssertionError(f"{argv[0]} is not started")


def test_a_snapshot_whose_state_cannot_be_asked_is_not_relied_upon(tmp_path: Path) -> None:
    """It may have been given up while it was read, and no point is made of such a one."""
    volumes = LogicalVolumes(Failing(), folder=tmp_path, percent=10, mounts=list)
    mount: Any = None  # it does not come to that
    loss = volumes.loss(b"/data", mount, "overland-1")
    assert loss is not None
    assert "its state is not known" in loss
