"""Programs of the system, as a port: run to their end, or read while they work.

Arguments are lists, never text for a shell.  A program gets this process's environment, so that
secrets reach it without standing in an argument; what it says on standard error goes to ours.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from overland.errors import RefusedError

__all__ = ["Finished", "ProgramAbsent", "Programs", "Running"]


class ProgramAbsent(RefusedError):
    """A program that is needed is not installed, or may not be run."""

    code = "program-absent"

    def __init__(self, program: str, *, problem: str) -> None:
        super().__init__(
            f"the program {program} cannot be run: {problem}; install it, or give its full path"
        )
        self.program = program


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended; a negative status is the signal that killed it."""

    status: int
    output: bytes
    errors: bytes


class Running(Protocol):
    """A program at work."""

    @property
    def fd(self) -> int:
        """The descriptor that its standard output is read from."""
        ...

    def finish(self, *, timeout_s: float) -> int | None:
        """Return its exit status, negative for a signal; None if it still runs after the time."""
        ...

    def close(self) -> None:
        """Kill it and its children if they still run, and close the descriptor."""
        ...


class Programs(Protocol):
    """What starts programs."""

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        """Run a program to its end; one that takes longer is killed, with status -9.

        Raises:
            ProgramAbsent: It cannot be started.
        """
        ...

    def start(self, argv: Sequence[str]) -> Running:
        """Start a program with nothing on its standard input.

        Raises:
            ProgramAbsent: It cannot be started.
        """
        ...
