"""Long work that survives restarts, as a port."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Engine", "Run", "Step"]

Step = Callable[[str], str]
"""One step: takes and returns a short JSON text; is safe to run twice (it may be, after a kill)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the engine knows of one piece of work."""

    key: str
    state: Literal["running", "done", "failed"]
    result: str | None
    error: str | None


class Engine(Protocol):
    """Runs named work durably: each key once, resumed after a kill from its last finished step."""

    def register(
        self, work: str, *, plan: Callable[[str], list[str]], step: Step, finish: Step
    ) -> None:
        """Define a kind of work, before `launch`.

        `plan` turns the argument into step arguments (a few hundred objects a step); every
        `step` runs and its result is kept; `finish` gets the argument of the work and its result
        becomes the result of the work.  All three may run again after a kill.
        """
        ...

    def launch(self) -> None:
        """Open the engine's store and resume interrupted work."""
        ...

    def start(self, work: str, *, key: str, argument: str) -> None:
        """Begin the work in the background; do nothing if a run of this key exists."""
        ...

    def wait(self, key: str, *, timeout_s: float) -> Run:
        """Return when the work has ended, or its present state when the time is over."""
        ...

    def find(self, key: str) -> Run | None:
        """Return the present state of a run, or None if there is none."""
        ...

    def close(self) -> None:
        """Stop; running work is resumed by the next `launch`."""
        ...
