"""What disk preparation asks the operator, as a port.

The commands answer from a terminal or from options; tests answer from a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from overland.errors import RefusedError
from overland.ports.volume import Content
from overland.seeding.staging import FoundSeed

__all__ = ["DrivePlan", "Questions", "Remaining"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What is not on a drive yet."""

    object_count: int
    object_bytes: int
    finished_drives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrivePlan:
    """What is about to happen to a drive."""

    serial: str
    path: str
    capacity_bytes: int
    content: Content
    object_count: int
    object_bytes: int


class Questions(Protocol):
    """The operator of the copy computer."""

    def choose_seed(self, seeds: Sequence[FoundSeed]) -> str:
        """Return the id of the one of several seeds that these drives are for (R77)."""
        ...

    def named_drive(self) -> str | None:
        """Return the path of a drive that was named beforehand, once; nothing is asked.

        Drives that are named so are filled side by side.
        """
        ...

    def next_drive(self, remaining: Remaining) -> str | None:
        """Return the path of a drive to fill next, or None if there is none now (R83)."""
        ...

    def try_another(self, refusal: RefusedError) -> bool:
        """Show why a drive was refused; return whether to ask for another."""
        ...

    def may_erase(self, plan: DrivePlan) -> bool:
        """Return whether the drive may be made blank and filled (R79).

        For a drive that holds data the operator has to repeat its serial number.
        """
        ...

    def tell(self, text: str) -> None:
        """Tell the operator something."""
        ...
