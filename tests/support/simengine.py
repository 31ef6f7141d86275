"""An engine in memory that runs works as they are started, and can be killed at every border."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from overland.errors import OverlandError
from overland.ports.engine import Run, Step

__all__ = ["Killed", "SimEngine"]


class Killed(BaseException):
    """The process was killed; no handler in the code under test survives it."""


@dataclass(slots=True)
class _Stored:
    """What survives a kill."""

    work: str
    argument: str
    outcomes: list[str | list[str]] = field(default_factory=list)
    run: Run | None = None


class SimEngine:
    """`Engine` that does everything within `start` and `launch`, in the caller's thread.

    `kill_at` names a border, counted from 0: before each step and, so that steps are seen to run
    twice, after it but before its result is kept.  `restart()` returns the next life's engine;
    register the works again, then launch it.
    """

    def __init__(self, *, kill_at: int | None = None) -> None:
        self.borders = 0
        self._kill_at = kill_at
        self._works: dict[str, tuple[Callable[[str], list[str]], Step, Step]] = {}
        self._stored: dict[str, _Stored] = {}
        self._launched = False

    def restart(self, *, kill_at: int | None = None) -> "SimEngine":
        again = SimEngine(kill_at=kill_at)
        again._stored = self._stored
        return again

    def register(
        self, work: str, *, plan: Callable[[str], list[str]], step: Step, finish: Step
    ) -> None:
        assert not self._launched, "works are known before interrupted ones go on"
        assert work not in self._works, "a work is defined once"
        self._works[work] = (plan, step, finish)

    def launch(self) -> None:
        assert not self._launched, "launched once"
        self._launched = True
        for key, stored in list(self._stored.items()):
            if stored.run is None:
                self._go_on(key, stored)

    def start(self, work: str, *, key: str, argument: str) -> None:
        assert self._launched, "launched before"
        assert work in self._works, f"no work {work} was registered"
        if key not in self._stored:
            self._stored[key] = _Stored(work, argument)
            self._go_on(key, self._stored[key])

    def wait(self, key: str, *, timeout_s: float) -> Run:
        assert timeout_s >= 0, "time passes forwards"
        run = self.find(key)
        assert run is not None, f"no run {key} was started"
        return run

    def find(self, key: str) -> Run | None:
        assert self._launched, "launched before"
        stored = self._stored.get(key)
        if stored is None:
            return None
        return stored.run or Run(key=key, state="running", result=None, error=None)

    def close(self) -> None:
        self._launched = False

    def _go_on(self, key: str, stored: _Stored) -> None:
        plan, step, finish = self._works[stored.work]
        try:
            pieces = self._recorded(stored, 0, lambda: plan(stored.argument))
            assert isinstance(pieces, list), "the plan is first"
            for number, piece in enumerate(pieces, start=1):
                self._recorded(stored, number, partial(step, piece))
            result = self._recorded(stored, len(pieces) + 1, lambda: finish(stored.argument))
            assert isinstance(result, str), "a result is a text"
            stored.run = Run(key=key, state="done", result=result, error=None)
        except Exception as error:  # noqa: BLE001 - as the real one: the work fails
            code = error.code if isinstance(error, OverlandError) else type(error).__name__
            stored.run = Run(key=key, state="failed", result=None, error=f"{code}: {error}")

    def _recorded(
        self, stored: _Stored, number: int, call: Callable[[], str | list[str]]
    ) -> str | list[str]:
        if number < len(stored.outcomes):
            return stored.outcomes[number]
        self._border()
        outcome = call()
        self._border()
        stored.outcomes.append(outcome)
        return outcome

    def _border(self) -> None:
        if self.borders == self._kill_at:
            raise Killed(f"killed at border {self.borders}")
        self.borders += 1
